"""The replay of nanotron's blend beside a plan: counted by hand on few windows, by simple code on many."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from smoldata.errors import InputError
from smolmix.cli import app
from smolmix.nanotron_blend import blend
from smolmix.nanotron_ledger import StageRun
from smolmix.nanotron_lint import runs_of
from smolmix.nanotron_replay import replay
from smolmix.nanotron_schema import load_config
from smolmix.plan import Plan, load_plan

RUN = StageRun("a", 100, ("s3/x", "s3/y/"), (0.75, 0.25), 128)


def test_steps_in_the_middle_are_those_of_the_whole() -> None:
    whole, part = replay(RUN, 4, range(100)), replay(RUN, 4, range(30, 40))
    assert list(part.rows()) == list(whole.rows())[120:160]
    assert [row[0] for row in part.rows()] == [step for step in range(30, 40) for _ in range(4)]
    seen = blend(RUN.weights, 400)
    assert whole.folder.tolist() == seen.folder.tolist()
    assert whole.window.tolist() == seen.place.tolist()
    assert whole.difference is None


@pytest.mark.parametrize("steps", [range(5, 5), range(7, 3), range(101), range(100, 101)])
def test_steps_that_are_not_there(steps: range) -> None:
    with pytest.raises(InputError, match="it has steps 0 to 99"):
        replay(RUN, 4, steps)


@pytest.fixture
def bundle(catalogued: Path) -> Path:
    return catalogued / "sample/bundles/stage2-blog"


def naive(plan: Plan, run: StageRun, samples: int) -> tuple[int | None, int]:
    """Return first difference and largest drift, sample by sample in plain Python."""
    theirs = [run.folders[n].rpartition("/")[2] for n in blend(run.weights, samples).folder.tolist()]
    ours = [plan.at(k).source for k in range(samples)]
    first = next((k for k in range(samples) if theirs[k] != ours[k]), None)
    drift = max(
        abs(theirs[: k + 1].count(name) - ours[: k + 1].count(name))
        for k in range(samples)
        for name in plan.order.names
    )
    return first, drift


def test_the_comparison_is_that_of_simple_code(bundle: Path) -> None:
    config, plan = load_config(bundle / "nanotron.yaml"), load_plan(bundle / "plan")
    run = runs_of(config)[-1]
    seen = replay(run, config.batch_windows, range(plan.steps), plan)
    assert seen.difference is not None
    assert seen.difference.samples == plan.windows
    assert (seen.difference.first, seen.difference.drift) == naive(plan, run, plan.windows)
    # Both drift less than their proved bounds from the weights, so less than the sum from each other.
    assert seen.difference.drift < 1 + len(run.folders) + plan.prefix_bound


def test_blocks_change_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, plan = load_config(bundle / "nanotron.yaml"), load_plan(bundle / "plan")
    run = runs_of(config)[-1]
    whole = replay(run, config.batch_windows, range(3, plan.steps), plan)
    monkeypatch.setattr("smolmix.nanotron_replay._BLOCK", 7)
    parts = replay(run, config.batch_windows, range(3, plan.steps), plan)
    assert parts.difference == whole.difference
    assert np.array_equal(parts.folder, whole.folder)
    assert np.array_equal(parts.window, whole.window)


def test_another_runs_folders_are_refused(bundle: Path) -> None:
    plan = load_plan(bundle / "plan")
    with pytest.raises(InputError, match="2 folders are of no source of plan stage2: x, y"):
        replay(RUN, plan.batch_windows, range(1), plan)
    with pytest.raises(InputError, match="4 windows a step, plan stage2 8"):
        replay(RUN, 4, range(1), plan)


def test_the_command(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "replay.parquet"
    run = CliRunner()
    told = run.invoke(app, ["lint", str(bundle), "--replay", "--steps", "2:4", "--json", "--out", str(out)])
    values = json.loads(told.output[told.output.index("{") :])
    rows = pq.read_table(out).to_pylist()
    assert [row["index"] for row in rows] == list(range(16, 32))
    assert values["replay"]["difference"]["samples"] == 32
    shown = run.invoke(app, ["lint", str(bundle), "--replay", "--steps", "2:4"])
    assert "largest drift in 32 windows" in shown.output
    plain = json.loads(run.invoke(app, ["lint", str(bundle), "--json"]).output)
    assert [one["code"] for one in values["findings"]] == [one["code"] for one in plain]
    assert {"blend-bound", "absent-source"} <= {one["code"] for one in plain}  # configuration and plan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replay", "--steps", "5"], "write A:B"),
        (["--replay", "--steps", "0:99999"], "it has steps 0 to 19"),
        (["--replay", "--stage", "stage7"], "there is no stage 'stage7'; the file has stage1, stage2"),
        (["--steps", "0:9"], "belong to --replay"),
        (["--forbid", "noncommercial"], "did you mean non-commercial"),
        (["--replay", "--plan", "nowhere"], "there is no plan at nowhere"),
    ],
)
def test_wrong_arguments(bundle: Path, arguments: list[str], message: str) -> None:
    told = CliRunner().invoke(app, ["lint", str(bundle), *arguments])
    assert isinstance(told.exception, InputError)
    assert message in str(told.exception)


def test_a_plan_alone(catalogued: Path, tmp_path: Path) -> None:
    folder = catalogued / "sample/plans/stage2-blog"
    told = CliRunner().invoke(app, ["lint", str(folder), "--json"])
    assert [one["code"] for one in json.loads(told.output)] == ["absent-source"]
    for place, message in ((folder, "no nanotron configuration"), (tmp_path, "neither plan.json nor")):
        refused = CliRunner().invoke(app, ["lint", str(place), "--replay"])
        assert message in str(refused.exception)
