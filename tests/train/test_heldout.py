"""Held-out losses of checkpoints beside the log: the reference trainer's own numbers, once each, watched."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from smoldata.errors import InputError
from smoltrain import heldout
from smoltrain.bundle import Bundle, open_bundle
from smoltrain.cli import app
from smoltrain.convert import hf_to_nanotron
from smoltrain.nanotron.checkpoints import seal
from smoltrain.run import RunFolder, Settings
from smoltrain.runlog import Row, append_row, read_log, truncate_log
from smoltrain.train import train
from smoltrain.watch import Watch

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

STEPS, BEFORE, ASKED = 4, 20, heldout.Asked(windows=2, device="cpu")
"""Steps of the run; steps of the stages before it in nanotron's count."""


@pytest.fixture(scope="module")
def bundle(small_house: "SmallHouse") -> Bundle:
    return open_bundle(small_house.bundle)


@pytest.fixture(scope="module")
def reference(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Train four steps, a checkpoint and held-out losses every second."""
    run = RunFolder(tmp_path_factory.mktemp("reference") / "run")
    settings = Settings(
        bundle.plan.lock.hash, "tiny", STEPS, 2, 2, 1e-2, 5e4, 6, heldout_every=2, heldout_windows=2
    )
    train(bundle, settings, run.path)
    return run


@pytest.fixture
def stage(bundle: Bundle, reference: RunFolder, tmp_path: Path) -> RunFolder:
    """Return a stage's folder as a launch of nanotron leaves it: the same weights in nanotron's form."""
    run = RunFolder(tmp_path / "run/small")
    run.path.mkdir(parents=True)
    place = Path(os.path.relpath(bundle.folder, run.path)).as_posix()
    facts = {"format_version": 1, "bundle": place, "settings": {"lock": bundle.plan.lock.hash}}
    run.facts.write_text(json.dumps(facts), "utf-8")
    values = {
        "checkpoints": {"checkpoints_path": "checkpoints/small"},
        "data_stages": [{"start_training_step": 1}, {"start_training_step": BEFORE + 1}],
        "tokens": {"train_steps": BEFORE + STEPS},
    }
    (run.path / heldout.CONFIGURATION).write_text(yaml.safe_dump(values), "utf-8")
    add(run, reference, 2)
    add(run, reference, 4)
    return run


def add(stage: RunFolder, reference: RunFolder, steps: int) -> Path:
    """Put a checkpoint of the reference trainer into the stage's folder in nanotron's form, on two ranks."""
    folder = stage.path.parent / f"checkpoints/small/{BEFORE + steps}"
    hf_to_nanotron(reference.checkpoints / f"step-{steps:07d}", folder, ranks=2)
    seal(folder)
    return folder


def logged(reference: RunFolder) -> dict[int, Row]:
    """Return the held-out losses that the reference trainer wrote while it trained, by step."""
    rows = {
        row["step"]: {key: one for key, one in row.items() if key.startswith("heldout/")}
        for row in read_log(reference.log)
    }
    return {step: row for step, row in rows.items() if row}


def test_checkpoints_of_either_form_have_the_losses_of_the_trainer_itself(
    bundle: Bundle, reference: RunFolder, stage: RunFolder
) -> None:
    wanted = logged(reference)
    assert list(wanted) == [1, 3]
    for run in (reference, stage):
        rows = heldout.score(run, bundle, ASKED)
        assert [row["step"] for row in rows] == [1, 3]
        for row in rows:
            got = {key: one for key, one in row.items() if key.startswith("heldout/")}
            assert got == pytest.approx(wanted[row["step"]], rel=1e-6)


def test_each_is_scored_once_and_half_a_checkpoint_never(
    bundle: Bundle, stage: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = stage.path.parent / f"checkpoints/small/{BEFORE + 4}"
    next(half.rglob("*.safetensors")).unlink()
    assert [row["step"] for row in heldout.score(stage, bundle, ASKED)] == [1]
    before = stage.heldout.read_bytes()
    monkeypatch.setattr(heldout, "evaluator", None)  # whoever scores again fails
    heldout.score(stage, bundle, ASKED)
    assert stage.heldout.read_bytes() == before
    monkeypatch.undo()
    [row] = heldout.score(stage, bundle, heldout.Asked(windows=1, device="cpu"))
    assert row["heldout_windows"] == 1  # another measure takes the row's place


def test_a_trainer_that_goes_back_drops_the_rows_of_steps_that_run_again(
    bundle: Bundle, stage: RunFolder
) -> None:
    heldout.score(stage, bundle, ASKED)
    truncate_log(stage.heldout, 2)
    assert [row["step"] for row in read_log(stage.heldout)] == [1]
    assert [row["step"] for row in heldout.score(stage, bundle, ASKED)] == [1, 3]


def test_following_scores_checkpoints_as_they_appear_and_ends_with_the_last(
    bundle: Bundle, reference: RunFolder, stage: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = stage.path.parent / f"checkpoints/small/{BEFORE + 4}"
    (last / "smoltrain.json").unlink()
    next(last.rglob("*.safetensors")).rename(last / "gone")
    waited: list[float] = []

    def finish(seconds: float) -> None:
        waited.append(seconds)
        (last / "model_config.json").unlink()
        last.rename(last.with_name("old"))
        add(stage, reference, 4)

    monkeypatch.setattr(time, "sleep", finish)
    rows = heldout.follow(stage, bundle, ASKED, every=7.0)
    assert next(rows)["step"] == 1
    assert not waited
    assert [row["step"] for row in rows] == [3]
    assert waited == [7.0]


def test_a_checkpoint_that_the_trainer_removes_is_left_out(
    bundle: Bundle, reference: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain: Callable[[RunFolder], list[heldout.Saved]] = heldout.saved

    def with_one_gone(run: RunFolder) -> list[heldout.Saved]:
        return [heldout.Saved(run.checkpoints / "step-0000001", 1), *plain(run)]

    monkeypatch.setattr(heldout, "saved", with_one_gone)
    rows = heldout.score(reference, bundle, ASKED)
    assert [row["step"] for row in rows] == [1, 3]
    assert "step-0000001 was removed before it was scored" in capsys.readouterr().err


def test_weights_are_tied_and_another_vocabulary_is_refused(bundle: Bundle, stage: RunFolder) -> None:
    folder = stage.path.parent / f"checkpoints/small/{BEFORE + 2}"
    config = folder / "model_config.json"
    facts = json.loads(config.read_text("utf-8"))
    model = heldout.load_nanotron(folder)
    assert facts["vocab_size"] == bundle.vocab_size == model.config.vocab_size  # type: ignore[union-attr]
    assert model.lm_head.weight is model.model.embed_tokens.weight  # type: ignore[union-attr]
    rotary = model.model.rotary_emb.inv_freq  # type: ignore[union-attr]
    assert rotary[0] == 1.0  # made, not left as memory happened to be
    assert rotary.isfinite().all()
    with pytest.raises(InputError, match=f"vocabulary of {bundle.vocab_size:,}, the bundle's tokenizer"):
        heldout.evaluator(folder, replace(bundle, vocab_size=bundle.vocab_size + 1), "cpu")


def test_the_command_adds_rows_that_watch_shows(
    bundle: Bundle, stage: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    app(["heldout", str(stage.path), "--windows", "2", "--device", "cpu", "--json"], standalone_mode=False)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == read_log(stage.heldout)
    facts = {"loss": 5.0, "learning_rate": 1e-3, "grad_norm": None, "tokens": 6 * 64}
    for step in range(3):
        append_row(stage.log, {"step": step, **facts, "seconds": 1.0, "tokens_per_second": 9.0})
    state = Watch(bundle, stage.log, STEPS, stage.heldout).look()
    assert state is not None
    shown = {one.source: one.heldout_loss for one in state.sources if one.heldout_loss is not None}
    assert shown == {key.split("/")[1]: one for key, one in rows[1].items() if key.startswith("heldout/")}
    app(["watch", str(stage.path), "--json"], standalone_mode=False)
    printed = json.loads(capsys.readouterr().out)
    assert {one["source"]: one["heldout_loss"] for one in printed["sources"]}.items() >= shown.items()


def test_a_run_without_checkpoints_says_so(stage: RunFolder, tmp_path: Path) -> None:
    (stage.path.parent / "checkpoints").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="no whole checkpoint yet"):
        app(["heldout", str(stage.path)], standalone_mode=False)
