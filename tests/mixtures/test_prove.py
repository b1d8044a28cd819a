"""The proof of a plan: right on small orders by simple code, at full size on all stages, and it can fail."""

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from smoldata.errors import InputError, IntegrityError
from smoldata.registry import load_registry
from smolmix import prove as prove_module
from smolmix.cli import app
from smolmix.order import Order
from smolmix.plan import Plan, load_plan
from smolmix.planner import chain, plan_stage
from smolmix.prove import check_bound, prove
from smolmix.recipe import load_recipe
from smolmix.sequence import Sequence, source_key
from smolmix.sources import names_of, supply_from_registry


def order_of(counts: dict[str, int]) -> Order:
    return Order([Sequence(name, source_key(6, name), None, 0, count) for name, count in counts.items()])


def naive(order: Order, counts: dict[str, int]) -> Fraction:
    """Return the largest error of any source at any prefix, one position after the other."""
    drawn, worst, total = dict.fromkeys(counts, 0), Fraction(0), sum(counts.values())
    for k in range(total):
        drawn[order.at(k).source] += 1
        worst = max(worst, *(abs(drawn[n] - Fraction(c * (k + 1), total)) for n, c in counts.items()))
    return worst


@given(st.lists(st.integers(0, 40), min_size=1, max_size=7).filter(any), st.integers(1, 300))
def test_every_position_is_looked_at(sizes: list[int], block: int) -> None:
    counts = {f"s{number}": size for number, size in enumerate(sizes)}
    order = order_of(counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prove_module, "_BLOCK", block)
        checked, worst, source = check_bound(order, 10**6)
    assert checked == order.windows
    assert worst == naive(order, counts)
    assert source in counts


@given(st.integers(1, 10**6), st.integers(1, 10**5))
def test_stretches_hold_the_positions_asked_for(windows: int, positions: int) -> None:
    stretches = list(prove_module._stretches(windows, positions))
    assert sum(end - begin for begin, end in stretches) == min(windows, positions)
    assert stretches[0][0] == 0
    assert all(0 <= begin <= end <= windows for begin, end in stretches)
    if len(stretches) > 1:
        assert stretches[-1][1] == windows


@pytest.fixture(scope="module")
def released() -> list[Plan]:
    recipe = load_recipe("64k")
    supply = supply_from_registry(recipe, names_of(s.recipe for s in chain(recipe)), load_registry())
    return plan_stage(recipe, supply, preset="released", profile="full")


# The largest error seen and the bound, of 10**7 positions: `smolmix prove` prints the rest.
SEEN = {
    "stage1": (0.9, 1.06), "stage2": (0.9, 1.12), "stage3": (1.05, 1.39),
    "long_context_32k": (1.0, 1.15), "long_context_64k": (1.0, 1.17),
}  # fmt: skip


@pytest.mark.parametrize("number", range(5))
def test_the_bound_holds_at_positions_of_every_full_size_stage(released: list[Plan], number: int) -> None:
    plan = released[number]
    proof = prove(plan, 200_000, 2000)
    assert proof.positions == 200_000
    low, high = SEEN[plan.name]
    assert low < proof.worst <= proof.bound == plan.prefix_bound < high


def test_arithmetic_that_would_pass_63_bits() -> None:
    counts = {"a": 3 * 10**14, "b": 5 * 10**13 + 1, "c": 10**9 + 7, "d": 1}
    order = order_of(counts)
    checked, worst, _ = check_bound(order, 4000)
    assert checked == 4000
    wanted = Fraction(0)
    for begin, end in prove_module._stretches(order.windows, 4000):
        drawn = order.drawn_before(begin)
        for k in range(begin, end + 1):
            if k > begin:
                drawn[order.at(k - 1).source] += 1
            wanted = max(wanted, *(abs(drawn[n] - Fraction(c * k, order.windows)) for n, c in counts.items()))
    assert worst == wanted


def test_a_broken_plan_is_found(small_house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = load_plan(small_house.build / "plans/trial")
    assert prove(plan, 100).positions == 100
    first, *others = plan.sources
    heavier = replace(first, weight=first.weight + Fraction(1, 7))
    with pytest.raises(IntegrityError, match="weights sum to 8/7"):
        prove(replace(plan, sources=(heavier, *others)))
    lighter = replace(others[0], weight=others[0].weight - Fraction(1, 7))
    with pytest.raises(IntegrityError, match=r"has .* windows, its weight"):
        prove(replace(plan, sources=(heavier, lighter, *others[1:])))
    with pytest.raises(IntegrityError, match=r"the plan promises at most 0\.1"):
        prove(replace(plan, prefix_bound=Fraction(1, 10)))
    with pytest.raises(InputError, match="prove nothing"):
        prove(plan, 0)
    monkeypatch.setattr("smolmix.prove.prefix_bounds", lambda _tree: {})
    with pytest.raises(IntegrityError, match="windows off its share near window"):
        prove(plan)


def test_an_inverse_that_disagrees_is_found(small_house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = load_plan(small_house.build / "plans/trial")
    monkeypatch.setattr(Order, "indices_of_drawn", lambda _self, _source, j: np.asarray(j) + 1)
    with pytest.raises(IntegrityError, match="the order and its inverse disagree"):
        prove(plan)


def test_the_command(small_house: Any) -> None:
    folder = str(small_house.build / "plans/trial")
    (row,) = json.loads(CliRunner().invoke(app, ["prove", folder, "--json"]).output)
    plan = load_plan(folder)
    assert row["positions"] == row["windows"] == plan.windows
    assert Fraction(row["worst"]) <= Fraction(row["bound"]) == plan.prefix_bound
    assert "both directions agree" in CliRunner().invoke(app, ["prove", folder]).output
