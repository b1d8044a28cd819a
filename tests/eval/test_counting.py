"""pass@1 over samples, by counting."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoleval.metrics.counting import means, sample_counts


@given(st.lists(st.booleans(), min_size=1, max_size=64))
def test_pass_at_1_is_the_share_of_right_samples_among_the_first(scores: list[bool]) -> None:
    counts = sample_counts(len(scores))
    wanted = [float(Fraction(scores[:count].count(True), count)) for count in counts]
    assert means([float(score) for score in scores], counts) == pytest.approx(wanted)


def test_scores_are_given_for_the_published_numbers_of_samples() -> None:
    assert sample_counts(64) == (1, 4, 8, 16, 32, 64)
    assert sample_counts(8) == (1, 4, 8)
    assert sample_counts(6) == (1, 4, 6)
    assert sample_counts(1) == (1,)
