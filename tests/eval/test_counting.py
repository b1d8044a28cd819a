"""pass@k against counting by hand, and against drawing every subset."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoleval.metrics.counting import means, pass_at_k, sample_counts


def test_known_values() -> None:
    assert pass_at_k(1, 0, 1) == 0.0
    assert pass_at_k(1, 1, 1) == 1.0
    assert pass_at_k(4, 1, 2) == pytest.approx(1 / 2)  # of 6 pairs, 3 hold the right one
    assert pass_at_k(5, 2, 3) == pytest.approx(9 / 10)  # of 10 triples, 1 misses both


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_it_is_the_share_of_draws_with_a_right_one(numbers: tuple[int, int, int]) -> None:
    samples, right, k = numbers
    draws = list(combinations([True] * right + [False] * (samples - right), k))
    assert pass_at_k(samples, right, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@given(st.lists(st.booleans(), min_size=1, max_size=64))
def test_pass_at_1_is_the_mean(scores: list[bool]) -> None:
    assert means([float(score) for score in scores], [len(scores)])[0] == pytest.approx(
        pass_at_k(len(scores), sum(scores), 1)
    )


def test_impossible_counts_are_refused() -> None:
    for samples, right, k in ((3, 4, 1), (3, 1, 4), (3, -1, 1), (3, 1, 0)):
        with pytest.raises(ValueError, match="want"):
            pass_at_k(samples, right, k)


def test_scores_are_given_for_the_published_numbers_of_samples() -> None:
    assert sample_counts(64) == (1, 4, 8, 16, 32, 64)
    assert sample_counts(8) == (1, 4, 8)
    assert sample_counts(6) == (1, 4, 6)
    assert sample_counts(1) == (1,)
