"""Laws of the largest remainder."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from smolmix.apportion import largest_remainder


@st.composite
def exact_weights(draw: st.DrawFn) -> dict[str, Fraction]:
    parts = draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=40))
    return {f"s{i}": Fraction(part, sum(parts)) for i, part in enumerate(parts)}


@given(exact_weights(), st.integers(0, 10**12))
def test_counts_sum_to_the_total_and_are_within_one_window(weights: dict[str, Fraction], total: int) -> None:
    counts = largest_remainder(weights, total)
    assert sum(counts.values()) == total
    assert all(abs(counts[name] - weight * total) < 1 for name, weight in weights.items())


@given(exact_weights(), st.integers(0, 10**9), st.randoms())
def test_the_order_of_the_input_changes_nothing(
    weights: dict[str, Fraction], total: int, random: object
) -> None:
    items = list(weights.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert largest_remainder(dict(items), total) == largest_remainder(weights, total)


def test_ties_go_to_the_name_that_sorts_first() -> None:
    third = Fraction(1, 3)
    assert largest_remainder({"c": third, "a": third, "b": third}, 4) == {"a": 2, "b": 1, "c": 1}


def test_numbers_computed_by_hand() -> None:
    # 0.5, 0.3, 0.2 of 7: 3.5, 2.1, 1.4. Floors 3, 2, 1; the window left goes to the part .5.
    weights = {"a": Fraction(1, 2), "b": Fraction(3, 10), "c": Fraction(1, 5)}
    assert largest_remainder(weights, 7) == {"a": 4, "b": 2, "c": 1}
