"""A real small model on real items, through lighteval and through lm-eval."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]


def test_the_packaged_model_agrees_on_real_boolq_and_piqa(tmp_path: Path) -> None:
    """93 MB are fetched; a minute of CPU, so it runs in the system lane."""
    words = ["compare", "--tasks", "boolq_cf,piqa_cf", "--profile", "packaged", "--limit", "6", "--json"]
    seen = subprocess.run(
        [sys.executable, "-m", "smoleval", *words, "--max-length", "1024", "--build", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "cannot fetch" in seen.stderr or "pip's client ended" in seen.stderr:
        pytest.skip(f"the package index cannot be reached: {seen.stderr[-300:]}")
    assert seen.returncode == 0, seen.stderr[-3000:]
    found = json.loads(seen.stdout)
    assert [one["task"] for one in found] == ["boolq_cf", "piqa_cf"]
    for one in found:
        assert one["items"] == 6
        # Measured 8e-6 of it: float32's rounding, which differs from one processor to another.
        assert one["largest_difference"] < 5e-5 * one["mean_length"]
        assert one["other_picks"] == 0
        assert one["lighteval"]["acc"] == pytest.approx(one["lm_eval"]["acc"], abs=0.34)
