"""The planner's commands, as a user runs them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from smoldata.errors import InputError, IntegrityError
from smoldata.registry import load_registry
from smolmix.plan import load_plan
from smolmix.plan_files import load_chain, plan_folder_name, write_plan
from smolmix.planner import chain, plan_stage
from smolmix.planner_cli import add_planner_commands
from smolmix.recipe import load_recipe
from smolmix.sources import names_of, supply_from_registry

app = typer.Typer()
add_planner_commands(app)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plans")
    last = load_recipe("3")
    supply = supply_from_registry(last, names_of(s.recipe for s in chain(last)), load_registry())
    for preset in ("blog", "released"):
        for plan in plan_stage(last, supply, preset=preset, profile="full"):
            write_plan(plan, folder / plan_folder_name(plan.name, plan.preset))
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_reconcile_finds_the_whole_chain(plans: Path) -> None:
    text = run("reconcile", plans / "stage3-released")
    assert "1.00565" in text
    assert "11.06 %" in text
    data = json.loads(run("reconcile", plans / "stage3-blog", "--json"))
    assert {share["stage"] for share in data["shares"]} == {"stage1", "stage2", "stage3"}


def test_reconcile_judges_a_ledger(plans: Path, tmp_path: Path) -> None:
    plan = load_plan(plans / "stage2-blog")
    samples = plan.at_many(np.arange(4000))
    names = [samples.names[number] for number in samples.source]
    pq.write_table(pa.table({"source": names}), tmp_path / "true.parquet")
    run("reconcile", plans / "stage2-blog", "--ledger", f"stage2={tmp_path / 'true.parquet'}")
    names[:40] = ["wiki"] * 40
    pq.write_table(pa.table({"source": names}), tmp_path / "false.parquet")
    with pytest.raises(IntegrityError, match="not the plan's first 4,000"):
        run("reconcile", plans / "stage2-blog", "--ledger", f"stage2={tmp_path / 'false.parquet'}")
    with pytest.raises(InputError, match="write STAGE=FILE"):
        run("reconcile", plans / "stage2-blog", "--ledger", "ledger.parquet")


def test_a_chain_whose_earlier_plan_changed(plans: Path, tmp_path: Path) -> None:
    write_plan_copy(plans / "stage2-blog", tmp_path / "stage2-blog")
    write_plan_copy(plans / "stage1-released", tmp_path / "stage1-released")
    with pytest.raises(InputError, match="follows 'stage1' with lock"):
        load_chain(tmp_path / "stage2-blog")
    write_plan_copy(plans / "stage1-blog", tmp_path / "stage1-blog")
    assert [plan.name for plan in load_chain(tmp_path / "stage2-blog")] == ["stage1", "stage2"]


def write_plan_copy(source: Path, target: Path) -> None:
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


def test_diff(plans: Path) -> None:
    assert "same plan" in run("diff", plans / "stage1-blog", plans / "stage1-blog")
    text = run("diff", plans / "stage2-blog", plans / "stage2-released")
    assert "lock parts that differ: follows, recipe" in text
    data = json.loads(
        run("diff", plans / "stage2-blog", plans / "stage2-released", "--speed", "14066", "--json")
    )
    assert data["steps"] == [847_710, 748_000]


def test_init_writes_once(tmp_path: Path) -> None:
    run("init", "mine", "--budget", "7 steps", "--source", "wiki", "--folder", tmp_path)
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert (recipe.name, set(recipe.preset().tree.weights())) == ("mine", {"wiki"})
    with pytest.raises(InputError, match="exists; choose another name"):
        run("init", "mine", "--folder", tmp_path)


def test_schema() -> None:
    assert json.loads(run("schema"))["title"] == "smolmix recipe"


def test_replan_goes_on_from_a_step(plans: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "rest.yaml"
    run("init", "rest", "--source", "dclm", "--source", "wiki", "--folder", tmp_path)
    plan = load_plan(plans / "stage2-blog")
    samples = plan.at_many(np.arange(3 * 576))
    ledger = {
        "step": np.arange(3 * 576) // 576, "index": np.arange(3 * 576),
        "source": [samples.names[n] for n in samples.source], "pass": samples.pass_, "shard": samples.shard,
        "window": samples.window,
    }  # fmt: skip
    pq.write_table(pa.table(ledger), tmp_path / "ledger.parquet", row_group_size=1000)
    common = (
        "replan",
        plans / "stage2-blog",
        "--recipe",
        recipe,
        "--into",
        plans / "rest",
        "--budget",
        "5 steps",
    )
    text = run(*common, "--done", 3, "--ledger", tmp_path / "ledger.parquet")
    assert "5 steps after step 3,390,845" in text
    assert run(*common, "--ledger", tmp_path / "ledger.parquet") == text
    rest = load_plan(plans / "rest")
    assert (
        rest.source("wiki").offset_windows
        == plan.source("wiki").offset_windows + plan.order.drawn_before(1728)["wiki"]
    )
    with pytest.raises(IntegrityError, match="not the ledger of the first 4 steps"):
        run(*common, "--done", 4, "--ledger", tmp_path / "ledger.parquet")
    with pytest.raises(InputError, match="say how many steps"):
        run(*common)
    ledger["window"] = np.where(ledger["index"] == 1200, ledger["window"] + 1, ledger["window"])
    pq.write_table(pa.table(ledger), tmp_path / "ledger.parquet", row_group_size=1000)
    with pytest.raises(IntegrityError, match="sample 1,200 has window"):
        run(*common, "--ledger", tmp_path / "ledger.parquet")
    pq.write_table(pa.table(ledger).slice(0, 600), tmp_path / "ledger.parquet")
    with pytest.raises(InputError, match="600 windows, which is not a whole number of steps"):
        run(*common, "--ledger", tmp_path / "ledger.parquet")
    with pytest.raises(InputError, match="must lie beside"):
        run(*common[:5], tmp_path / "elsewhere", "--done", 3)
