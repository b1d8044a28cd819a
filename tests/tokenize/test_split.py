"""The split rule: exact, a function of the text alone."""

from fractions import Fraction

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from smoldata.errors import RecipeError
from smoltok.split import divide, threshold

SHARES = st.fractions(0, 1, max_denominator=10**12)


@given(SHARES, st.text(st.characters(exclude_categories=["Cs"])))
def test_the_integer_rule_equals_the_rational_one(share: Fraction, text: str) -> None:
    held_out = Fraction(xxhash.xxh3_64_intdigest(text.encode())) < share * 2**64
    assert divide([text], threshold(share)) == (([], [0]) if held_out else ([0], []))


@given(SHARES, st.integers(0, 2**64 - 1))
def test_threshold_is_exact_at_its_border(share: Fraction, value: int) -> None:
    assert (value < threshold(share)) == (value < share * 2**64)


def test_extremes() -> None:
    texts = [str(i) for i in range(100)]
    assert divide(texts, threshold(Fraction(0))) == (list(range(100)), [])
    assert divide(texts, threshold(Fraction(1))) == ([], list(range(100)))


def test_copies_fall_on_the_same_side() -> None:
    texts = [str(i % 50) for i in range(500)]
    train, validation = divide(texts, threshold(Fraction(1, 2)))
    assert validation
    assert not {texts[i] for i in train} & {texts[i] for i in validation}


@pytest.mark.parametrize("share", [Fraction(-1, 100), Fraction(3, 2)])
def test_a_share_that_is_none_is_refused(share: Fraction) -> None:
    with pytest.raises(RecipeError, match="from 0 to 1"):
        threshold(share)
