"""A plan's licences and remainders: counted from the files by simple code."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from smoldata.errors import RecipeError
from smoldata.registry import load_registry
from smolmix.cli import app
from smolmix.plan import Plan, load_plan
from smolmix.plan_lint import examined, lint_plan, of_documents, of_licences, of_remainders
from smolmix.recipe import Recipe, load_recipe, read_recipe

RECIPE = "format_version: 1\nname: a\nsequence_length: 8\nbatch_windows: 1\nbudget: 1K\nweights: {dclm: 1}\n"


@pytest.fixture
def plan(small_house: Any) -> Plan:
    return load_plan(small_house.build / "plans/trial")


def test_remainders_are_those_of_the_shards(plan: Plan) -> None:
    rows = plan.shards().to_pylist()
    lost = dict.fromkeys(plan.order.names, 0)
    for row in rows:
        lost[row["source"]] += row["tokens"] % 65
    tokens = sum(row["tokens"] for row in rows)
    found = {one.source: one.message for one in of_remainders(plan)}
    assert f"{sum(lost.values()):,} of {tokens:,} tokens" in found[None]
    assert f"at the ends of {len(rows)} shards and fill no window of 65" in found[None]
    held = {name: sum(row["tokens"] for row in rows if row["source"] == name) for name in lost}
    much = {name for name in lost if 100 * lost[name] > held[name]}
    assert {source for source in found if source} == much


def test_virtual_shards_have_none() -> None:
    from smolmix.planner import plan_stage
    from smolmix.sources import names_of, supply_from_registry

    recipe = load_recipe("1")
    supply = supply_from_registry(recipe, names_of([recipe]), load_registry())
    (made,) = plan_stage(recipe, supply, profile="full")
    assert of_remainders(made) == []
    seen = examined(made, load_registry(), ["non-commercial"])
    assert seen.lock == made.lock
    codes = {one.code for one in seen.findings} - {one.code for one in made.findings}
    assert (
        codes == {one.code for one in of_licences(made, _stated(), ["non-commercial"])} >= {"licence-unknown"}
    )


def _stated() -> dict[str, str | None]:
    return {name: source.licence for name, source in load_registry().sources.items()}


def test_licences_are_weighed_by_windows(plan: Plan) -> None:
    stated = {"email": "mit", "idlelib": "cc-by-nc-4.0", "json": "mit"}
    found = {one.code: one for one in of_licences(plan, stated, ["unknown"])}
    windows = {one.name: one.windows for one in plan.sources}
    assert f"{windows['idlelib']:,} of {plan.windows:,} windows" in found["licence-non-commercial"].message
    assert found["licence-forbidden"].source == "asyncio"
    assert f"{windows['asyncio']:,} windows are unknown" in found["licence-forbidden"].message


def test_licences_of_documents(small_house: Any, tmp_path: Path) -> None:
    build = Path(shutil.copytree(small_house.build, tmp_path / "build"))
    file = build / "documents/json/00000.parquet"
    table = pq.read_table(file)
    names = ["GPL-3.0-only", *["MIT"] * (table.num_rows - 1)]
    column = table.schema.get_field_index("license")
    pq.write_table(table.set_column(column, table.schema.field(column), [names]), file)
    total = sum(pq.read_metadata(path).num_rows for path in build.glob("documents/*/0*.parquet"))
    for folder in (build / "plans/trial", build / "bundles/trial/plan"):
        found = {one.code: one for one in of_documents(load_plan(folder), ["copyleft"])}
        assert "json: 1 documents are copyleft (GPL-3.0-only)" in found["licence-forbidden"].message
        assert f"{total - table.num_rows:,} of {total:,} documents" in found["licence-unknown"].message
    run = CliRunner()
    folder = str(build / "plans/trial")
    assert run.invoke(app, ["lint", folder]).exit_code == 0
    refused = run.invoke(app, ["lint", folder, "--forbid", "copyleft", "--json"])
    assert refused.exit_code == 1
    assert [one["severity"] for one in json.loads(refused.output)].count("error") == 1
    shutil.rmtree(build / "documents")
    assert lint_plan(build / "plans/trial", ["copyleft"]) == list(load_plan(build / "plans/trial").findings)


def recipe(text: str, tmp_path: Path) -> Recipe:
    return read_recipe(RECIPE + text, tmp_path / "a.yaml")


def test_a_recipe_forbids_classes(tmp_path: Path) -> None:
    assert recipe("", tmp_path).forbidden_licences == ()
    forbidden = recipe("licences: {forbid: [unknown, non-commercial]}\n", tmp_path).forbidden_licences
    assert forbidden == ("unknown", "non-commercial")
    with pytest.raises(RecipeError, match=r"line 7.*unknown key 'licences.forbidden'; did you mean 'forbid'"):
        recipe("licences: {forbidden: [unknown]}\n", tmp_path)
    with pytest.raises(RecipeError, match="Input should be 'unknown', 'proprietary', 'non-commercial'"):
        recipe("licences: {forbid: [nc]}\n", tmp_path)
