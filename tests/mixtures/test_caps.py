"""Caps on passes: an error with numbers, or exact redistribution that no cap survives being passed."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldata.errors import RecipeError
from smolmix.caps import Room, apply_caps
from smolmix.groups import Node, read_members, resolve
from smolmix.recipe import Caps


def root(weights: object) -> Node:
    return resolve(read_members(weights, "here"), "here").root


FLAT = {"g": {"a": "40%", "b": "20%"}, "h": {"c": "30%", "d": "10%"}}


def weights_of(node: Node) -> dict[str, Fraction]:
    return {leaf.name: leaf.weight for leaf in node.leaves()}


def rooms(**capacity: int | None) -> list[Room]:
    return [Room(name, windows, Fraction(0)) for name, windows in capacity.items()]


def test_within_the_caps_nothing_changes() -> None:
    node = root(FLAT)
    weights, findings = apply_caps(node, weights_of(node), 100, Caps(Fraction(4)), rooms(a=10, b=5, c=8, d=3))
    assert (weights, findings) == (weights_of(node), [])


def test_error_names_source_and_numbers() -> None:
    node = root(FLAT)
    with pytest.raises(RecipeError, match=r"'a' would give 40 windows, its cap allows 36"):
        apply_caps(node, weights_of(node), 100, Caps(Fraction(4)), rooms(a=9, b=50))


def test_surplus_goes_to_the_group_first() -> None:
    node = root(FLAT)
    caps = Caps(Fraction(4), None, "redistribute")
    weights, findings = apply_caps(node, weights_of(node), 100, caps, rooms(a=5, b=50, c=50, d=50))
    assert weights == {
        "a": Fraction(20, 100),
        "b": Fraction(40, 100),
        "c": Fraction(30, 100),
        "d": Fraction(10, 100),
    }
    assert [finding.source for finding in findings] == ["a"]


def test_a_full_group_gives_to_its_siblings() -> None:
    node = root(FLAT)
    caps = Caps(Fraction(1), None, "redistribute")
    weights, _ = apply_caps(node, weights_of(node), 100, caps, rooms(a=20, b=10, c=500, d=500))
    assert weights == {
        "a": Fraction(20, 100),
        "b": Fraction(10, 100),
        "c": Fraction(525, 1000),
        "d": Fraction(175, 1000),
    }


def test_the_curriculum_cap_counts_the_passes_before() -> None:
    node = root({"a": "50%", "b": "50%"})
    room = [Room("a", 10, Fraction(3)), Room("b", 1000, Fraction(0))]
    caps = Caps(None, Fraction(4), "redistribute")
    weights, _ = apply_caps(node, weights_of(node), 100, caps, room)
    assert weights == {"a": Fraction(1, 10), "b": Fraction(9, 10)}


def test_all_at_their_caps() -> None:
    node = root({"a": "50%", "b": "50%"})
    with pytest.raises(RecipeError, match="together they allow 20 windows, the budget has 100"):
        apply_caps(node, weights_of(node), 100, Caps(Fraction(1), None, "redistribute"), rooms(a=10, b=10))


def test_unknown_sizes_have_no_cap() -> None:
    node = root({"a": "50%", "b": "50%"})
    weights, _ = apply_caps(
        node, weights_of(node), 100, Caps(Fraction(1), None, "redistribute"), rooms(a=None, b=10)
    )
    assert weights == {"a": Fraction(9, 10), "b": Fraction(1, 10)}


@given(st.lists(st.integers(0, 60), min_size=4, max_size=4), st.integers(1, 200), st.fractions(1, 5))
def test_redistribution_passes_no_cap_and_sums_to_one(sizes: list[int], total: int, cap: Fraction) -> None:
    node = root(FLAT)
    room = [Room(name, size, Fraction(0)) for name, size in zip("abcd", sizes, strict=True)]
    caps = Caps(cap, None, "redistribute")
    most = {one.name: one.most(caps) or 0 for one in room}
    try:
        weights, _ = apply_caps(node, weights_of(node), total, caps, room)
    except RecipeError:
        assert sum(most.values()) < total
        return
    assert sum(weights.values()) == 1
    assert all(weights[name] * total <= most[name] for name in most)
