"""Literals are exact, and what is no literal is refused with an example."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldata.errors import RecipeError
from smolmix.literals import decimal_text, fraction_text, parse_budget, parse_fraction, parse_share


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("85%", Fraction(17, 20)),
        ("0.333", Fraction(333, 1000)),
        ("12/75", Fraction(4, 25)),
        ("0.1", Fraction(1, 10)),
        ("18707.9", Fraction(187079, 10)),
        ("12.5 %", Fraction(1, 8)),
        ("0.0000448", Fraction(448, 10**7)),
    ],
)
def test_share_literals_are_exact(text: str, value: Fraction) -> None:
    assert parse_share(text) == value


@pytest.mark.parametrize(
    "text", ["", "1e-3", "-5%", "nan", "0x1", "1/0", "0", "0%", "85 percent", "1_0", ".5", "9" * 99]
)
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(RecipeError):
        parse_share(text)


@given(st.decimals(min_value="0.000001", max_value="10000", places=6))
def test_a_decimal_keeps_every_digit(value: Decimal) -> None:
    assert parse_share(f"{value:f}") == Fraction(value)


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("2T", "tokens", 2 * 10**12),
        ("1.1T", "tokens", 1_100_000_000_000),
        ("100B tokens", "tokens", 10**11),
        ("748000 steps", "steps", 748_000),
        ("1 step", "steps", 1),
        ("5,000 windows", "windows", 5000),
        ("175860.5M", "tokens", 175_860_500_000),
    ],
)
def test_budgets_are_whole_numbers_of_their_unit(text: str, unit: str, amount: int) -> None:
    budget = parse_budget(text)
    assert (budget.unit, budget.amount) == (unit, amount)


@pytest.mark.parametrize("text", ["", "0", "1.5 steps", "2T rows", "-1B", "1e9", "2 T T", "1,00"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="budget"):
        parse_budget(text)


def test_the_three_units_of_a_budget_agree() -> None:
    wanted = 7 * 576 * 4096
    assert {
        parse_budget(text).tokens(4096, 576) for text in ("7 steps", f"{7 * 576} windows", str(wanted))
    } == {wanted}


@given(st.fractions())
def test_fractions_survive_their_text(value: Fraction) -> None:
    assert parse_fraction(fraction_text(value)) == value


@given(st.fractions(min_value=0, max_value=10**9))
def test_decimal_text_says_whether_it_is_rounded(value: Fraction) -> None:
    text = decimal_text(value)
    if text.startswith("~"):
        assert abs(Fraction(text[1:]) - value) <= Fraction(1, 2 * 10**6)
        assert Fraction(text[1:]) != value
    else:
        assert Fraction(text) == value
