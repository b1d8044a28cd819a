"""Recipes of rows: published counts, the published shuffle, messages that teach."""

from fractions import Fraction

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldata.errors import RecipeError
from smoltrain.post.recipe import PHASES, load_rows_recipe, mixed_order, read_rows_recipe, shares, taken

PUBLISHED = {"mid": 4_779_894, "sft": 3_383_242, "apo": 446_886}
"""Rows of each configuration, summed in the reference table and on the card of HuggingFaceTB/smoltalk2."""


@pytest.mark.parametrize("phase", PHASES)
def test_published_rows_are_all_there(phase: str) -> None:
    assert sum(subset.rows or 0 for subset in load_rows_recipe(phase).subsets) == PUBLISHED[phase]


def test_sft_takes_the_published_numbers_of_rows_and_tokens() -> None:
    rows: dict[str, int] = {}
    tokens: dict[str, Fraction] = {}
    for share in shares(load_rows_recipe("sft")):
        mode = share.subset.mode
        rows[mode] = rows.get(mode, 0) + (share.taken or 0)
        tokens[mode] = tokens.get(mode, Fraction(0)) + (share.tokens or 0)
    assert rows == {"no_think": 1_244_421, "think": 199_663}
    assert {mode: round(count / 10**5) for mode, count in tokens.items()} == {
        "no_think": 10_062,
        "think": 8_840,
    }


def test_apo_takes_the_published_number_of_pairs() -> None:
    assert sum(share.taken or 0 for share in shares(load_rows_recipe("apo"))) == 169_346


@pytest.mark.parametrize("phase", PHASES)
def test_floats_of_the_published_code_give_the_same_counts(phase: str) -> None:
    for share in shares(load_rows_recipe(phase)):
        assert share.taken == int((share.rows or 0) * float(share.subset.weight))


def test_exact_where_floats_are_not() -> None:
    assert int(100 * 0.29) == 28
    assert taken(100, Fraction("0.29")) == 29


@settings(deadline=None, max_examples=8)
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from([1.0, 0.5, 0.25, 0.3, 0.02])), min_size=1, max_size=4
    ),
    st.integers(0, 5),
)
def test_the_order_is_that_of_the_published_code(subsets: list[tuple[int, float]], seed: int) -> None:
    whole = [
        datasets.Dataset.from_dict({"subset": [number] * rows, "row": list(range(rows))})
        for number, (rows, _) in enumerate(subsets)
    ]
    kept = [
        one.shuffle(seed=seed).select(range(int(len(one) * weight))) if len(one) else one
        for one, (_, weight) in zip(whole, subsets, strict=True)
    ]
    wanted = datasets.concatenate_datasets([one for one in kept if len(one)] or [kept[0]])
    wanted = wanted.shuffle(seed=seed) if len(wanted) else wanted
    order = mixed_order([rows for rows, _ in subsets], [Fraction(str(w)) for _, w in subsets], seed)
    assert order.tolist() == [list(pair) for pair in zip(wanted["subset"], wanted["row"], strict=True)]
    assert order.dtype == np.int64


GOOD = """format_version: 1
name: mine
unit: rows
kind: conversations
template: chat
dataset: me/data
config: SFT
subsets:
  one: {weight: 50%, mode: think}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("50%", "1.5", "line 9: one has weight 1.5: a weight is the share of rows kept, at most 1"),
        ("50%", "half", "line 9: one: 'half' is not a weight"),
        ("kind: conversations", "knd: conversations", "unknown key 'knd'"),
        ("config: SFT\n", "", "`config` is missing"),
        ("unit: rows", "unit: windows", "line 3: unit is 'windows'"),
        ("mode: think", "mode: thinking", "line 9: subsets.one.mode is 'thinking'"),
    ],
)
def test_a_wrong_recipe_is_refused_by_line(old: str, new: str, message: str) -> None:
    assert read_rows_recipe(GOOD, "mine.yaml").subsets[0].weight == Fraction(1, 2)
    with pytest.raises(RecipeError, match=message):
        read_rows_recipe(GOOD.replace(old, new), "mine.yaml")


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(RecipeError, match="mid, sft, apo"):
        load_rows_recipe("sftt")
