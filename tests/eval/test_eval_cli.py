"""The command line: light help, one-line errors, a file of scores and a table."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import SmallHouse


def run(*arguments: str, entry: str = "smoleval.cli") -> subprocess.CompletedProcess[str]:
    code = f"import sys; from {entry} import main; sys.argv[0] = '{entry.partition('.')[0]}'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_help_is_light_and_has_an_example() -> None:
    seen = run("heldout", "--help")
    assert seen.returncode == 0
    assert "Example: smoleval heldout" in " ".join(seen.stdout.split())
    code = "import sys, smoleval.cli; print(sorted({'torch', 'numpy', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_usage_errors_exit_2(small_house: "SmallHouse") -> None:
    assert run("heldout").returncode == 2
    seen = run("heldout", "nowhere", "--bundle", str(small_house.build))
    assert seen.returncode == 2
    assert "is not a bundle" in seen.stderr
    assert "Traceback" not in seen.stderr


def test_a_trained_run_is_scored(small_house: "SmallHouse", tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")
    import pyarrow.parquet as pq

    bundle, out = str(small_house.bundle), tmp_path / "run"
    trained = run("train", "--bundle", bundle, "--steps", "2", "--out", str(out), entry="smoltrain.cli")
    assert trained.returncode == 0, trained.stderr
    assert "not nanotron" in trained.stderr
    seen = run("heldout", str(out), "--bundle", bundle, "--max-tokens", "300")
    assert seen.returncode == 0, seen.stderr
    assert "(mixture)" in seen.stdout
    assert "no bits per byte: " in seen.stderr
    table = pq.read_table(out / "scores" / "heldout-step-0000002.parquet")
    assert set(table.column("subset").to_pylist()) == {"asyncio", "email", "idlelib", "json", "(mixture)"}
