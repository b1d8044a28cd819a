"""The order in SQL equals Python's: sample-sized plans whole, full-size plans in places, both ways."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from smoldata.registry import load_registry
from smolmix import order_sql
from smolmix.order_sql import install_order_macros
from smolmix.permutation import permute
from smolmix.plan import Plan
from smolmix.planner import chain, plan_stage
from smolmix.recipe import load_recipe, read_recipe
from smolmix.sequence import Sequence
from smolmix.sources import names_of, supply_from_registry
from smolmix.supply import SourceSupply, Supply, TokenizerFacts

SMALL = """\
format_version: 1
name: small
sequence_length: 4
batch_windows: 12
budget: 30 steps
weights: {a: 40%, b: 25%, c: 20%, d: 14%, e: rest}
"""


def small_plan() -> Plan:
    sizes = {"a": [52, 0, 23, 91], "b": [999, 3], "c": None, "d": [5], "e": [70, 70]}
    sources = {n: SourceSupply(n, None if t is None else np.array(t, np.int64)) for n, t in sizes.items()}
    supply = Supply(sources, TokenizerFacts("llama-3.2"))
    return plan_stage(read_recipe(SMALL, Path("small.yaml")), supply, profile="hub")[0]


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    last = load_recipe("64k")
    names = names_of(stage.recipe for stage in chain(last))
    made = plan_stage(
        last, supply_from_registry(last, names, load_registry()), preset="released", profile="full"
    )
    return {f"{plan.name}-{plan.preset}": plan for plan in made} | {"small": small_plan()}


@pytest.fixture(scope="module")
def shell(plans: dict[str, Plan], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a bare, read-only connection to a file that another connection filled."""
    path = tmp_path_factory.mktemp("catalog") / "catalog.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.begin()
        install_order_macros(connection, plans.values())
        connection.commit()
    with duckdb.connect(str(path), read_only=True) as connection:
        yield connection


def ask(shell: Any, plan: str, profile: str, first: int, amount: int) -> list[tuple[Any, ...]]:
    question = "SELECT * FROM order_at(?, ?, ?, which_profile := ?)"
    return list(shell.execute(question, [plan, first, amount, profile]).fetchall())


def expected(plan: Plan, first: int, amount: int) -> list[tuple[Any, ...]]:
    many = plan.at_many(np.arange(first, min(first + amount, plan.windows)))
    return [(first + row, *many.sample(row)) for row in range(len(many))]


def test_a_small_plan_at_every_index_and_back(shell: Any, plans: dict[str, Plan]) -> None:
    plan = plans["small"]
    rows = ask(shell, "small", "hub", 0, plan.windows)
    assert rows == expected(plan, 0, plan.windows)
    question = (
        "SELECT order_index('small', s, p, h, w, which_profile := 'hub') FROM (SELECT ? s, ? p, ? h, ? w)"
    )
    for index, *place in rows[::7]:
        assert shell.execute(question, place).fetchall() == [(index,)]


@pytest.mark.parametrize("name", ["stage1-released", "stage3-released", "long_context_64k-released"])
def test_full_size_plans(shell: Any, plans: dict[str, Plan], name: str) -> None:
    plan = plans[name]
    for first in (0, plan.windows // 3, plan.windows - 40):
        rows = ask(shell, name, "full", first, 100)
        assert rows == expected(plan, first, 100)
        index, *place = rows[17]
        question = "SELECT order_index(?, ?, ?, ?, ?, which_profile := 'full')"
        assert shell.execute(question, [name, *place]).fetchall() == [(index,)]


def test_a_step_is_a_batch(shell: Any, plans: dict[str, Plan]) -> None:
    question = "SELECT * FROM order_of_step('small', 3, which_profile := 'hub')"
    assert shell.execute(question).fetchall() == expected(plans["small"], 36, 12)


@pytest.mark.parametrize(
    "place", [("a", 99, 0, 0), ("a", 0, 1, 0), ("nothing", 0, 0, 0), ("b", 0, 0, 10**9), ("c", 0, 0, 10**6)]
)
def test_what_is_not_read_has_no_index(shell: Any, place: tuple[Any, ...]) -> None:
    question = "SELECT order_index('small', ?, ?, ?, ?, which_profile := 'hub')"
    assert shell.execute(question, place).fetchall() in ([(None,)], [])


def test_outside_the_stage_there_are_no_rows(shell: Any) -> None:
    assert ask(shell, "small", "hub", 360, 5) == []
    assert ask(shell, "nowhere", "hub", 0, 5) == []


@pytest.mark.parametrize("size", [1, 7, 2**31, 2**32 - 1, 2**32, 10**12])
def test_the_bijection_at_any_size(shell: Any, size: int) -> None:
    question = """
      WITH keys AS (SELECT ?::UBIGINT AS n, order_keys_a(?::UBIGINT) AS a, order_keys_b(?::UBIGINT) AS b),
        lists AS (SELECT n, order_reflections(a, b, n) AS k, b FROM keys)
      SELECT y, order_unpermute(k, b, n, y) FROM (
        SELECT *, order_permute(k, b, n, x::UBIGINT) AS y FROM lists, unnest(?::BIGINT[]) AS wanted(x))
      ORDER BY x
    """
    places = sorted({0, 1 % size, size // 2, size - 1})
    got = shell.execute(question, [size, 123, 456, places]).fetchall()
    assert got == [(permute((123, 456), size, x), x) for x in places]


@pytest.mark.parametrize("rows_at_a_time", [1, 9, 2**20])
def test_passes_computed_together_are_the_passes_one_by_one(
    rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Little text under a large budget has many passes: the first and the last are read in part."""
    sequence = Sequence("a", (7, 11), np.array([3, 0, 2, 4], np.int64), start=13, count=400)
    monkeypatch.setattr(order_sql, "_ROWS_AT_A_TIME", rows_at_a_time)
    made = [row for batch in order_sql._opened(sequence, 5) for row in batch.to_pylist()]
    wanted = []
    for pass_ in range(1, 46):
        table = sequence.table(pass_)
        for slot, shard in zip(table.begins.tolist(), table.shards.tolist(), strict=True):
            windows = (3, 0, 2, 4)[shard]
            number = pass_ * 9 + slot
            if windows and number < 413 and number + windows > 13:
                wanted.append({"number": 5, "pass": pass_, "slot": slot, "shard": shard, "windows": windows})
    assert made == wanted


def test_passes_go_from_the_first_step_that_reads_them_to_the_last() -> None:
    """Of ``small``, source d is read whole ten times; the last passes of a, b and e are cut off."""
    plan = small_plan()
    with duckdb.connect() as connection:
        install_order_macros(connection, [plan])
        connection.execute("CREATE SCHEMA store; CREATE TABLE store.stages AS FROM orders.stages")
        sql = resources.files("smolmix").joinpath("sql/lookups.sql").read_text("utf-8")
        connection.execute(sql[sql.index("CREATE MACRO passes_of") :])
        seen = connection.execute("FROM passes_of('small', which_profile := 'hub')").fetchall()
    read: dict[tuple[str, int], list[int]] = {}
    for index in range(plan.windows):
        one = plan.at(index)
        if one.source != "c":  # of unknown size: it has no passes
            read.setdefault((one.source, one.pass_), []).append(index // plan.batch_windows)
    sizes = {"a": 10 + 4 + 18, "b": 199, "d": 1, "e": 28}
    wanted = [
        (*key, steps[0], steps[-1], len(steps), len(steps) == sizes[key[0]])
        for key, steps in sorted(read.items())
    ]
    assert seen == wanted
    assert {whole for *_, whole in wanted} == {True, False}
