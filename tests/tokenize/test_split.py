"""The split rule: exact, a function of the text alone."""

from fractions import Fraction

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from smoldata.errors import RecipeError
from smoltok.split import divide, is_validation, threshold

SHARES = st.fractions(0, 1, max_denominator=10**12)


@given(SHARES, st.text(st.characters(exclude_categories=["Cs"])))
def test_the_integer_rule_equals_the_rational_one(share: Fraction, text: str) -> None:
    digest = xxhash.xxh3_64_intdigest(text.encode())
    held_out = Fraction(digest) < share * 2**64
    assert is_validation(text, share) == held_out
    assert divide([digest], threshold(share)) == (([], [0]) if held_out else ([0], []))


@given(SHARES, st.integers(0, 2**64 - 1))
def test_threshold_is_exact_at_its_border(share: Fraction, value: int) -> None:
    assert (value < threshold(share)) == (value < share * 2**64)


@given(st.lists(st.integers(0, 2**64 - 1)), SHARES)
def test_every_text_is_on_one_side_and_copies_on_the_same(digests: list[int], share: Fraction) -> None:
    doubled = [*digests, *digests]
    train, validation = divide(doubled, threshold(share))
    assert sorted([*train, *validation]) == list(range(len(doubled)))
    assert not {doubled[i] for i in train} & {doubled[i] for i in validation}
    if share in {0, 1}:
        assert not (validation if share == 0 else train)


@pytest.mark.parametrize("share", [Fraction(-1, 100), Fraction(3, 2)])
def test_a_share_that_is_none_is_refused(share: Fraction) -> None:
    with pytest.raises(RecipeError, match="from 0 to 1"):
        threshold(share)
