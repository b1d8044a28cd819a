"""Two plans: what changes, in tokens, shards, bytes and hours."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from smolmix.plan import Plan, load_plan
from smolmix.plan_diff import diff_plans
from smolmix.plan_files import write_plan
from smolmix.planner import plan_stage
from smolmix.recipe import read_recipe
from smolmix.supply import SourceSupply, Supply, TokenizerFacts

TEXT = """\
format_version: 1
name: one
sequence_length: 9
batch_windows: 10
budget: 2 steps
weights: {a: 50%, b: rest}
"""


def supply(shards: dict[str, list[int]], *, hashed: bool = True) -> Supply:
    sources = {}
    for name, tokens in shards.items():
        rows = len(tokens)
        files = {
            "xxh3_128": pa.array([f"{name}{i}" if hashed else "" for i in range(rows)]),
            "bytes": pa.array([4 * t for t in tokens]),
        }
        sources[name] = SourceSupply(name, np.array(tokens, np.int64), files=files)
    return Supply(sources, TokenizerFacts("llama-3.2", token_width=4))


def plan(text: str, shards: dict[str, list[int]]) -> Plan:
    return plan_stage(read_recipe(text, Path("one.yaml")), supply(shards), profile="hub")[0]


SHARDS = {"a": [50, 50, 50, 50], "b": [50, 50, 50, 50]}


def test_a_plan_does_not_differ_from_itself(tmp_path: Path) -> None:
    one = plan(TEXT, SHARDS)
    write_plan(one, tmp_path)
    got = diff_plans(one, load_plan(tmp_path))
    assert (got.sources, got.lock_parts) == ((), ())


def test_numbers_by_hand() -> None:
    # Shards of 5 windows. 10 windows of each source open 2 shards; 15 and 5 open 3 and 1.
    got = diff_plans(plan(TEXT, SHARDS), plan(TEXT.replace("50%", "75%"), SHARDS), tokens_per_gpu_second=10)
    by_name = {one.source: one for one in got.sources}
    assert by_name["a"].tokens == (90, 135)
    assert by_name["a"].passes == (Fraction(10, 20), Fraction(15, 20))
    assert (by_name["a"].new_shards, by_name["a"].new_bytes) == (1, 200)
    assert (by_name["b"].new_shards, by_name["b"].weights) == (0, (Fraction(1, 2), Fraction(1, 4)))
    assert got.lock_parts == ("recipe",)
    assert got.gpu_hours == (Fraction(180, 36_000), Fraction(180, 36_000))


def test_a_new_source_is_all_new() -> None:
    more = {**SHARDS, "c": [50]}
    got = diff_plans(plan(TEXT, SHARDS), plan(TEXT.replace("b: rest", "b: 30%, c: rest"), more))
    one = next(one for one in got.sources if one.source == "c")
    assert one.weights == (None, Fraction(1, 5))
    assert (one.new_shards, one.new_bytes) == (1, 200)
    assert set(got.lock_parts) == {"recipe", "shards"}


@pytest.mark.parametrize("hashed", [True, False])
def test_shards_are_told_apart_with_and_without_hashes(hashed: bool) -> None:
    recipe = read_recipe(TEXT, Path("one.yaml"))
    small, large = (
        plan_stage(recipe, supply(SHARDS, hashed=hashed), profile="hub", budget=budget)[0]
        for budget in ("1 step", "4 steps")
    )
    assert {one.source: one.new_shards for one in diff_plans(small, large).sources} == {"a": 3, "b": 3}
    assert {one.new_shards for one in diff_plans(large, small).sources} == {0}
