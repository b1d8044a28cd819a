"""Retraction on real shards: planted ids out of a plan, its bundle, its catalog and what a trainer reads."""

import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from smoldata.errors import InputError, IntegrityError
from smolmix.cli import app
from smolmix.order_sql import install_order_macros
from smolmix.plan import Plan, load_plan
from smolmix.staging import shard_sizes, timetable

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

STEP, BATCH, LENGTH = 5, 6, 65
FROM = {"email": 3, "idlelib": 10, "json": 0}
IDS: list[str] = []
"""Of each source the first training document from that number on: texts differ between Pythons."""


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture(scope="module")
def house(small_house: "SmallHouse", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the small house's build folder that this module may change."""
    build = tmp_path_factory.mktemp("retract") / "build" / "sample"
    shutil.copytree(small_house.build, build)
    held = {
        (source, row["id"])
        for (source, _), rows in sidecars(build / "plans" / "trial").items()
        for row in rows
    }
    for source, number in FROM.items():
        found = next(f"{source}/{at}" for at in range(number, 1000) if (source, f"{source}/{at}") in held)
        IDS.append(f"idlelib\t{found}" if source == "idlelib" else found)
    return build


@pytest.fixture(scope="module")
def certified(house: Path) -> dict[str, Any]:
    ids = house / "ids.txt"
    ids.write_text("\n".join(IDS) + "\n\n", encoding="utf-8")
    answer = run("retract", ids, "--plan", house / "plans" / "trial", "--at-step", STEP, "--json")
    return dict(json.loads(answer))


@pytest.fixture(scope="module")
def retracted(house: Path, certified: dict[str, Any]) -> Plan:
    assert certified["new_lock"]
    return load_plan(house / "plans" / f"trial-retracted-{STEP}")


@cache
def sidecars(folder: Path) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Return what each shard of a plan holds, by source and ordinal."""
    columns = ["begin", "end", "id"]
    return {
        (row["source"], row["ordinal"]): pq.read_table(
            f"{folder / row['path']}.docs.parquet", columns=columns
        ).to_pylist()
        for row in pq.read_table(folder / "shards.parquet").to_pylist()
    }


def documents(plan: Plan, index: int) -> Iterator[tuple[str, str]]:
    """Yield (source, id) of the documents with a token in the window of a sample index, by brute force."""
    sample = plan.at(index)
    assert plan.folder is not None
    begin, end = sample.window * LENGTH, (sample.window + 1) * LENGTH
    for row in sidecars(plan.folder)[sample.source, sample.shard]:
        if row["begin"] < end and row["end"] > begin:
            yield sample.source, row["id"]


def wanted(source: str, document: str) -> bool:
    return document in IDS or f"{source}\t{document}" in IDS


def test_the_certificate_lists_what_was_read_and_what_is_not(
    house: Path, certified: dict[str, Any], retracted: Plan
) -> None:
    old = load_plan(house / "plans" / "trial")
    told = [
        (row["index"], one["source"], one["id"], row["pass"])
        for one in certified["documents"]
        for row in (*one["read_before"], *one["would_have_been_read"])
    ]
    brute = [
        (index, *document, old.at(index).pass_)
        for index in range(old.windows)
        for document in documents(old, index)
        if wanted(*document)
    ]
    assert sorted(told) == sorted(brute)
    before = {row["index"] for one in certified["documents"] for row in one["read_before"]}
    after = {row["index"] for one in certified["documents"] for row in one["would_have_been_read"]}
    assert before
    assert after
    assert max(before) < STEP * BATCH <= min(after)
    assert {row["index"] for row in certified["windows_replaced"]} == after
    assert certified["old_lock"] == old.lock.hash
    assert certified["new_lock"] == retracted.lock.hash != old.lock.hash
    assert {one["id"] for one in certified["documents"]} == {one.split("\t")[-1] for one in IDS}
    folder = house / "plans" / f"trial-retracted-{STEP}"
    assert json.loads((folder / "certificate.json").read_text("utf-8")) == certified
    text = (folder / "certificate.txt").read_text("utf-8")
    assert all(one["id"] in text for one in certified["documents"])


def test_the_past_stays_and_the_future_is_clean(
    house: Path, certified: dict[str, Any], retracted: Plan
) -> None:
    old = load_plan(house / "plans" / "trial")
    swapped = {row["index"] for row in certified["windows_replaced"]}
    for index in range(old.windows):
        assert (retracted.at(index) == old.at(index)) is (index not in swapped)
        if index >= STEP * BATCH:
            assert not any(wanted(*document) for document in documents(retracted, index))


def test_the_trainer_reads_the_replacements(house: Path, certified: dict[str, Any], retracted: Plan) -> None:
    from smolmix.verify import verify_bundle
    from smoltrain.loader import open_loader

    assert retracted.folder is not None
    bundle = house / "bundles" / "clean"
    run("bundle", retracted.folder, "--into", bundle, "--recipe", house / "trial.yaml")
    assert verify_bundle(bundle).ok
    assert f"3 documents are retracted from step {STEP} on" in (bundle / "README.md").read_text("utf-8")
    loader = open_loader(bundle)
    shards = {(row["source"], row["ordinal"]): row["path"] for row in retracted.shards().to_pylist()}
    for row in certified["windows_replaced"]:
        batch, place = loader.batch(row["step"]), row["index"] % BATCH
        path = retracted.folder / shards[row["source"], row["after"]["shard"]]
        begin = row["after"]["window"] * LENGTH
        tokens = np.fromfile(path, "<u2")[begin : begin + LENGTH - 1]
        assert np.array_equal(batch.ids[place], tokens)
    needed = {
        (r["source"], r["ordinal"]): r["first_step"]
        for r in pq.read_table(bundle / "shards.parquet").to_pylist()
    }
    opened: dict[tuple[str, int], int] = {}
    for index in range(retracted.windows):
        sample = retracted.at(index)
        opened.setdefault((sample.source, sample.shard), index // BATCH)
    assert {place: step for place, step in needed.items() if step is not None} == opened
    (bundle / "plan" / "replacements.parquet").unlink()
    with pytest.raises(IntegrityError, match="its tables cannot be read"):
        open_loader(bundle).batch(STEP)


def test_the_same_ids_give_the_same_bytes(house: Path, retracted: Plan) -> None:
    assert retracted.folder is not None
    again = house / "plans" / "again"
    run("retract", house / "ids.txt", "--plan", house / "plans" / "trial", "--at-step", STEP, "--into", again)
    names = sorted(path.name for path in again.iterdir())
    assert names == sorted(path.name for path in retracted.folder.iterdir())
    assert all((again / name).read_bytes() == (retracted.folder / name).read_bytes() for name in names)
    shutil.rmtree(again)


def test_plans_that_follow_the_old_lock_are_named(own_build: Path) -> None:
    plans = own_build / "sample" / "plans"
    (own_build / "ids").write_text("dclm\tdecoder.py\n", "utf-8")
    arguments = ["retract", str(own_build / "ids"), "--plan", str(plans / "stage1-blog"), "--at-step", "39"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert (plans / "stage1-blog-retracted-39" / "certificate.txt").is_file()
    told = " ".join(result.stderr.split())
    assert "stage2-blog was planned after the old lock" in told
    assert "--done 40 --recipe" in told


def test_elsewhere_the_shards_are_still_found(house: Path, tmp_path: Path) -> None:
    run("retract", house / "ids.txt", "--plan", house / "plans" / "trial", "--into", tmp_path / "new")
    moved = load_plan(tmp_path / "new")
    assert all((tmp_path / "new" / row["path"]).is_file() for row in moved.shards().to_pylist())


def test_the_rest_of_a_retracted_run_is_bundled_without_the_documents(house: Path, retracted: Plan) -> None:
    recipe = house / "rest.yaml"
    text = (house / "trial.yaml").read_text("utf-8").replace("name: trial\n", "name: rest\n")
    recipe.write_text(text.replace("{email: 30%, idlelib: 40%}", "{email: 40%, idlelib: 30%}"), "utf-8")
    run("replan", retracted.folder, "--recipe", recipe, "--done", 40, "--into", house / "plans" / "rest")
    rest = load_plan(house / "plans" / "rest")
    assert rest.follows is not None
    assert rest.follows.lock == f"{retracted.lock.hash}@40"
    assert rest.start_step == 40
    assert rest.windows == retracted.windows - 40 * BATCH
    for index in range(rest.windows):
        assert not any(wanted(*document) for document in documents(rest, index))
    seen = [retracted.at(index) for index in range(40 * BATCH)] + [
        rest.at(index) for index in range(rest.windows)
    ]
    assert len(set(seen)) == len(seen)
    run("bundle", house / "plans" / "rest", "--into", house / "bundles" / "rest", "--recipe", recipe)
    stages = yaml.safe_load((house / "bundles" / "rest" / "nanotron.yaml").read_text("utf-8"))["data_stages"]
    assert [stage["start_training_step"] for stage in stages] == [1, 41]


def test_bad_lists(house: Path, tmp_path: Path) -> None:
    plan = house / "plans" / "trial"
    for content, message in ((f"{IDS[0]}\nno such\n", "1 of 2 documents"), ("\n", "names no document")):
        (tmp_path / "ids").write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            run("retract", tmp_path / "ids", "--plan", plan)
    (tmp_path / "ids").write_text(f"{IDS[0]}\nno such\n", encoding="utf-8")
    text = run("retract", tmp_path / "ids", "--plan", plan, "--allow-missing", "--into", tmp_path / "new")
    assert "Not in the training shards: no such" in text
    with pytest.raises(InputError, match="holds the plan before"):
        run("retract", house / "ids.txt", "--plan", plan, "--into", plan)
    with pytest.raises(InputError, match="cannot read the list"):
        run("retract", tmp_path / "nothing", "--plan", plan)


def test_the_same_order_in_sql(house: Path, certified: dict[str, Any], retracted: Plan) -> None:
    old, label = load_plan(house / "plans" / "trial"), f"trial-retracted-{STEP}"
    with duckdb.connect() as connection:
        install_order_macros(connection, [old, retracted])
        for plan, name in ((old, "trial"), (retracted, label)):
            rows = connection.execute("FROM order_at(?, 0, ?)", [name, plan.windows]).fetchall()
            assert rows == [(index, *plan.at(index)) for index in range(plan.windows)]
        ask = "SELECT order_index(?, ?, ?, ?, ?)"
        for row in certified["windows_replaced"][:4]:
            for which, wanted_index in (("before", None), ("after", row["index"])):
                place = [row["source"], *(row[which][key] for key in ("pass", "shard", "window"))]
                assert connection.execute(ask, [label, *place]).fetchall() == [(wanted_index,)]
        for index in range(0, retracted.windows, retracted.windows // 8):
            assert connection.execute(ask, [label, *retracted.at(index)]).fetchall() == [(index,)]


def test_every_shard_that_stands_in_is_staged(retracted: Plan) -> None:
    assert retracted.folder is not None
    found = timetable(retracted, shard_sizes(retracted.folder, retracted), nodes=3)
    there = [
        (node, found.names[source], shard, range(first, last + 1))
        for node, source, shard, first, last in zip(
            *(
                column.tolist()
                for column in (found.node, found.source, found.shard, found.first_step, found.last_step)
            ),
            strict=True,
        )
    ]
    for index in range(retracted.windows):
        sample, (step, row) = retracted.at(index), divmod(index, BATCH)
        place = (row // 2, sample.source, sample.shard)
        assert any(where == place and step in steps for *where_, steps in there for where in [tuple(where_)])
