"""Watching a run: the plan's arithmetic against the log; new lines only; passes end as the order has it."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from smoltrain.bundle import Bundle, open_bundle
from smoltrain.cli import app
from smoltrain.run import RunFolder, Settings
from smoltrain.runlog import Tail, append_row, truncate_log
from smoltrain.watch import RunState, Watch, picture, states

if TYPE_CHECKING:
    from tests.conftest import SmallHouse


@pytest.fixture(scope="module")
def bundle(small_house: "SmallHouse") -> Bundle:
    return open_bundle(small_house.bundle)


def row(bundle: Bundle, step: int, **more: Any) -> dict[str, Any]:
    """Return the row that a run in the order of the plan writes after ``step``."""
    places = bundle.places(np.arange((step + 1) * bundle.batch_windows))
    counts = np.bincount(places.source, minlength=len(bundle.sources))
    drawn = {
        f"data/{name}/tokens": int(count) * bundle.sequence_length
        for name, count in zip(bundle.sources, counts, strict=True)
        if count
    }
    facts = {"loss": 5.0 - step / 100, "learning_rate": 1e-3, "grad_norm": 1.0, "embedding_norm": 2.0}
    tokens = (step + 1) * bundle.batch_windows * bundle.sequence_length
    return {
        "step": step,
        **facts,
        "tokens": tokens,
        **drawn,
        "seconds": 0.5,
        "tokens_per_second": 768,
        **more,
    }


def seen(bundle: Bundle, log: Path, steps: int) -> RunState:
    state = Watch(bundle, log, steps).look()
    assert state is not None
    return state


def test_a_run_in_order_is_within_the_plans_bound(bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    for step in (0, 6, bundle.steps - 1):
        append_row(log, row(bundle, step))
        state = seen(bundle, log, bundle.steps)
        assert all(abs(one.drift_windows) < state.bound_windows for one in state.sources)
        assert sum(one.consumed_tokens for one in state.sources) == state.tokens
    assert all(one.planned_tokens == one.consumed_tokens for one in state.sources)
    assert state.seconds_left == 0


def test_a_pass_ends_where_the_order_begins_the_next(bundle: Bundle, tmp_path: Path) -> None:
    """The step that is told in advance is that of the first window of the next pass, to a step."""
    log = tmp_path / "log.jsonl"
    append_row(log, row(bundle, 9))
    places = bundle.places(np.arange(bundle.steps * bundle.batch_windows))
    checked = 0
    for one in seen(bundle, log, bundle.steps).sources:
        mine = places.source == bundle.sources.index(one.source)
        second = np.flatnonzero(mine & (places.pass_ == places.pass_[mine][0] + 1))
        if len(second):
            assert one.ends_at_step is not None
            assert abs(one.ends_at_step - second[0] // bundle.batch_windows) <= 2
            checked += 1
        else:
            assert one.ends_at_step is None or one.ends_at_step >= bundle.steps - 2
    assert checked


def test_the_last_held_out_losses_stay(bundle: Bundle, tmp_path: Path) -> None:
    log, name = tmp_path / "log.jsonl", bundle.sources[0]
    append_row(log, row(bundle, 0, **{f"heldout/{name}/loss": 4.5}))
    append_row(log, row(bundle, 1, mfu=0.5))
    state = seen(bundle, log, 10)
    assert {one.source: one.heldout_loss for one in state.sources}[name] == 4.5
    assert (state.steps_done, state.mfu, state.seconds_left) == (2, 0.5, pytest.approx(4.0))


def test_only_new_lines_are_read_and_a_cut_log_is_noticed(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    tail = Tail(log)
    assert tail.read() == ([], False)
    append_row(log, {"step": 0})
    append_row(log, {"step": 1})
    with log.open("a") as file:
        file.write('{"step": 2')
    assert tail.read() == ([{"step": 0}, {"step": 1}], False)
    assert tail.read() == ([], False)
    with log.open("a") as file:
        file.write("}\n")
    assert tail.read() == ([{"step": 2}], False)
    truncate_log(log, 1)
    assert tail.read() == ([{"step": 0}], True)


def test_following_ends_with_the_run(bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    append_row(log, row(bundle, 2))
    following = states(Watch(bundle, log, 4), every=0.0)
    assert next(following).steps_done == 3
    append_row(log, row(bundle, 3))
    assert [state.steps_done for state in following] == [4]


def test_the_command_prints_the_state(
    bundle: Bundle, small_house: "SmallHouse", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "run")
    settings = Settings(bundle.plan.lock.hash, "tiny", 8, 2, 5, 1e-2, 5e4, 6)
    run.path.mkdir()
    run.prepare(settings, small_house.bundle, {})
    append_row(run.log, row(bundle, 3))
    app(["watch", str(run.path), "--json"], standalone_mode=False)
    printed = json.loads(capsys.readouterr().out)
    assert (printed["steps_done"], printed["steps"]) == (4, 8)
    assert {one["source"] for one in printed["sources"]} == set(bundle.sources)
    assert len(picture(seen(bundle, run.log, 8)).renderables) == 2


def test_a_run_of_nanotron_is_watched_as_well(
    bundle: Bundle, small_house: "SmallHouse", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its run.json has no number of steps, its log neither embedding norms nor, unclipped, gradient norms."""
    place = Path(os.path.relpath(small_house.bundle, tmp_path)).as_posix()
    facts = {"format_version": 1, "bundle": place, "settings": {"lock": bundle.plan.lock.hash}}
    (tmp_path / "run.json").write_text(json.dumps(facts), "utf-8")
    line = row(bundle, 3) | {"grad_norm": None}
    append_row(tmp_path / "log.jsonl", {key: one for key, one in line.items() if key != "embedding_norm"})
    app(["watch", str(tmp_path), "--json"], standalone_mode=False)
    printed = json.loads(capsys.readouterr().out)
    assert (printed["steps_done"], printed["steps"], printed["grad_norm"]) == (4, bundle.steps, None)
    head, _ = picture(seen(bundle, tmp_path / "log.jsonl", bundle.steps)).renderables
    assert "gradient" not in str(head)
