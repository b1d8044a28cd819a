"""The whole way on a model of 30,000 weights: a stop in the middle, nothing done twice, the page."""

import json
import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from smoldata.errors import InputError
from smoltrain.post import pipeline
from smoltrain.post.adapters import Adapter
from smoltrain.post.cli import newest_merged
from smoltrain.post.page import PAGE, render_page
from smoltrain.post.pipeline import FACTS, Asked, posttrain

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]


def test_from_base_to_merge_stopped_and_gone_on_with(
    base: Path, raw_rows: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(
        tmp_path,
        base,
        steps=2,
        rows=raw_rows,
        tokenizer=tokenizer,
        measured_rows=3,
        validation=Fraction(1, 3),
    )
    run_phase = pipeline.run_phase

    def stopping(job: Any) -> Any:
        if job.phase.name == "apo":
            raise KeyboardInterrupt
        return run_phase(job)

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "run_phase", stopping)
        with pytest.raises(KeyboardInterrupt):
            posttrain(asked)
    done = {name: _made(asked.run / name / "final") for name in ("mid", "sft")}
    assert not (asked.run / FACTS).exists()

    facts = posttrain(asked)
    assert {name: _made(asked.run / name / "final") for name in done} == done
    assert json.loads((asked.run / FACTS).read_bytes()) == facts
    assert list(facts["measures"]) == ["base", "mid", "sft", "apo", "soup", "merged"]
    assert newest_merged(tmp_path) == asked.run / "merged"
    assert (asked.run / "merged" / "tokenizer.json").is_file()
    _check_merge(asked.run)
    shares = [one["soup_weight"] for one in facts["sweep"]]
    assert shares == ["0/1", "1/4", "1/2", "3/4", "9/10", "19/20", "1/1"]
    at_nine = next(one for one in facts["sweep"] if one["soup_weight"] == "9/10")
    assert at_nine["heldout"] == facts["measures"]["merged"]["heldout"]
    assert {one["mode"] for one in at_nine["heldout"]} == {"no_think", "think"}
    assert [one["pairs"] for one in at_nine["wins"]] == [3]

    merged = _made(asked.run / "merged")
    assert posttrain(asked) == facts
    assert _made(asked.run / "merged") == merged
    _check_page(asked.run / PAGE, facts)


def _made(folder: Path) -> int:
    return (folder / "model.safetensors").stat().st_mtime_ns


def _check_merge(run: Path) -> None:
    steps = sorted((run / "apo" / "steps").glob("checkpoint-*"))
    assert len(steps) == 2
    parts = [load_file(folder / "model.safetensors") for folder in steps]
    mid = load_file(run / "mid" / "final" / "model.safetensors")
    merged = load_file(run / "merged" / "model.safetensors")
    for name, tensor in merged.items():
        wanted = 0.9 * (parts[0][name].double() + parts[1][name].double()) / 2 + 0.1 * mid[name].double()
        assert torch.allclose(tensor.double(), wanted, rtol=0, atol=2e-7), name  # two roundings near 1


def _check_page(path: Path, facts: dict[str, Any]) -> None:
    page = path.read_text(encoding="utf-8")
    assert page == render_page(facts)
    assert page.count("<svg") == 6
    assert not re.search(r"<script|src=|https?://(?!www\.w3\.org)", page)
    for name in ("mid", "sft", "apo"):
        assert f"{facts['phases'][name]['log'][0]['loss']:.4f}" in page


def test_with_adapters_and_dpo_beside_it(base: Path, raw_rows: Path, tokenizer: Path, tmp_path: Path) -> None:
    asked = Asked(
        tmp_path,
        base,
        steps=2,
        rows=raw_rows,
        tokenizer=tokenizer,
        measured_rows=1,
        loss="sigmoid",
        adapter=Adapter(rank=2, alpha=4),
    )
    facts = posttrain(asked)
    assert asked.run.name.endswith("-sigmoid-lora2")
    assert facts["phases"]["apo"]["log"][0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    soup, final = (load_file(asked.run / name / "model.safetensors") for name in ("soup", "apo/final"))
    assert all(torch.equal(soup[name], final[name]) for name in final)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make train"):
        posttrain(Asked(tmp_path, tmp_path))
