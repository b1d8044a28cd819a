"""Nested groups: exact weights that sum to one, `rest`, `normalise`, `proportions`, redistribution."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldata.errors import RecipeError
from smolmix.groups import WeightTree, fill_proportions, read_members, redistribute, resolve


def tree_of(weights: Any) -> WeightTree:
    return resolve(read_members(weights, "here"), "here")


NESTED = {
    "web": {
        "share": "75%",
        "members": {
            "english": {"share": "rest", "normalise": "true", "members": {"a": "0.3", "b": "0.1"}},
            "other": {"share": "12/75", "members": {"c": "1/2", "d": "rest"}},
        },
    },
    "code": {"e": "20%"},
    "f": "rest",
}


def test_nested_weights_by_hand() -> None:
    tree = tree_of(NESTED)
    assert tree.weights() == {
        "a": Fraction(63, 100) * Fraction(3, 4),
        "b": Fraction(63, 100) / 4,
        "c": Fraction(6, 100),
        "d": Fraction(6, 100),
        "e": Fraction(1, 5),
        "f": Fraction(1, 20),
    }


@st.composite
def nested(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    """Draw a tree in which every level is normalised, so that any literals are right."""
    prefix = draw(st.uuids()).hex[:8]
    members: dict[str, Any] = {}
    for i in range(draw(st.integers(1, 4))):
        share = f"{draw(st.integers(1, 10**6))}/{draw(st.integers(1, 10**4))}"
        kind = draw(st.sampled_from(("leaf", "share", "open"))) if depth < 3 else "leaf"
        below = draw(nested(depth + 1)) if kind != "leaf" else {}
        if kind == "leaf":
            members[f"{prefix}{i}"] = share
        elif kind == "share":
            members[f"{prefix}{i}"] = {"share": share, "normalise": "true", "members": below}
        else:
            members[f"{prefix}{i}"] = below
    return members


@given(nested())
def test_weights_sum_to_exactly_one_and_factors_multiply(members: dict[str, Any]) -> None:
    tree = tree_of({"normalise": "true", "members": members})
    assert sum(tree.weights().values()) == 1
    assert all(weight > 0 for weight in tree.weights().values())
    for name, weight in tree.weights().items():
        product = Fraction(1)
        for node in tree.root.find(name)[1:]:
            product *= 1 if node.literal == "sum" else node.factor
        assert product == weight


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=20), st.integers(1, 10**6))
def test_scaling_all_weights_changes_nothing(parts: list[int], factor: int) -> None:
    once = {"normalise": "true", "members": {f"s{i}": str(p) for i, p in enumerate(parts)}}
    more = {"normalise": "true", "members": {f"s{i}": str(p * factor) for i, p in enumerate(parts)}}
    assert tree_of(once).weights() == tree_of(more).weights()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": "50%", "b": "49%"}, r"sum to 0\.99 \(99/100\), not 1: 0\.01 \(1/100\) missing"),
        ({"a": "0.5", "b": "0.50005"}, r"sum to 1\.00005 \(20001/20000\).*too much"),
        ({"a": "rest", "b": "rest"}, "2 members are `rest`"),
        ({"a": "rest", "b": "100%"}, "nothing is left for 'a'"),
        ({"normalise": "true", "members": {"a": "rest", "b": "1"}}, "no meaning with `normalise`"),
        ({"g": {"share": "1", "member": {"a": "1"}}}, "settings but no `members`"),
        ({"g": {"share": "1", "members": {"a": "1"}, "normalize": "true"}}, "did you mean 'normalise'"),
        ({"g": {"a": "0.5"}, "h": {"a": "0.5"}}, "'a' stands in g and in h"),
        ({"../x": "1"}, "is no name"),
        ({"a": "1e-3"}, "is not a weight"),
        ({"a": ["1"]}, "needs a weight such as 12%"),
        ({"g": {}}, "needs a weight such as 12%"),
        ({"g": {"normalise": "true", "members": {"a": "1"}}}, "needs a `share`"),
    ],
)
def test_what_is_wrong_is_said_with_its_number(weights: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        tree_of(weights)


def test_normalised_levels_report_their_sum() -> None:
    tree = tree_of({"normalise": "true", "members": {"a": "0.5", "b": "0.50005"}})
    assert [finding.code for finding in tree.findings] == ["weights-normalised"]
    assert "1.00005" in tree.findings[0].message


def test_proportions_take_the_same_group_of_another_preset() -> None:
    other = {"normalise": "true", "members": {"web": {"x": {"a": "3", "b": "1"}}, "code": {"c": "7"}}}
    data = {
        "web": {"share": "40%", "members": {"x": {"share": "rest", "proportions": "p"}}},
        "code": {"share": "60%", "proportions": "p"},
    }
    weights = tree_of(fill_proportions(data, {"p": other}, "here")).weights()
    assert weights == {"a": Fraction(3, 10), "b": Fraction(1, 10), "c": Fraction(3, 5)}


@pytest.mark.parametrize(("preset", "group"), [("q", "web"), ("p", "wib")])
def test_proportions_of_what_is_not_there(preset: str, group: str) -> None:
    with pytest.raises(RecipeError, match="has no group"):
        fill_proportions({group: {"share": "1", "proportions": preset}}, {"p": {"web": {"a": "1"}}}, "here")


def test_absent_sources_give_their_weight_to_their_group() -> None:
    root = tree_of(NESTED).root
    weights = redistribute(root, frozenset("abdef"))
    assert weights["c"] == 0
    assert weights["d"] == Fraction(12, 100)
    assert weights["a"] == tree_of(NESTED).weights()["a"]


def test_an_absent_group_gives_its_weight_to_its_siblings() -> None:
    weights = redistribute(tree_of(NESTED).root, frozenset("abef"))
    assert weights["a"] + weights["b"] == Fraction(75, 100)
    assert weights["a"] == 3 * weights["b"]


@given(nested(), st.data())
def test_redistribution_sums_to_one_and_keeps_proportions(
    members: dict[str, Any], data: st.DataObject
) -> None:
    tree = tree_of({"normalise": "true", "members": members})
    names = sorted(tree.weights())
    present = frozenset(data.draw(st.lists(st.sampled_from(names), min_size=1)))
    weights = redistribute(tree.root, present)
    assert sum(weights.values()) == 1
    assert {name for name, weight in weights.items() if weight} == present
    assert redistribute(tree.root, frozenset(names)) == tree.weights()
    for parent in {leaf.path[:-1] for leaf in tree.root.leaves()}:
        here = [leaf for leaf in tree.root.leaves() if leaf.path[:-1] == parent and leaf.name in present]
        assert len({weights[leaf.name] / leaf.weight for leaf in here}) <= 1
