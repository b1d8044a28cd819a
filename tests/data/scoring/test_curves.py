"""Precision and recall against counting by hand; thresholds that reach what was asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldata.errors import InputError
from smoldata.scoring.curves import Point, Target, average_precision, choose, curve, picture

ROWS = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({positive for _, positive in rows}) == 2
)


@given(ROWS)
def test_every_point_is_what_counting_gives(rows: list[tuple[int, bool]]) -> None:
    points = curve([score for score, _ in rows], [positive for _, positive in rows])
    assert [point.threshold for point in points] == sorted({score for score, _ in rows})
    for point in points:
        kept = [positive for score, positive in rows if score >= point.threshold]
        assert point.precision == pytest.approx(sum(kept) / len(kept))
        assert point.recall == pytest.approx(sum(kept) / sum(positive for _, positive in rows))
        assert point.kept == pytest.approx(len(kept) / len(rows))


@given(ROWS, st.sampled_from(["precision", "recall"]), st.floats(0, 1))
def test_the_choice_reaches_the_target_at_the_least_cost(
    rows: list[tuple[int, bool]], goal: str, value: float
) -> None:
    points = curve([score for score, _ in rows], [positive for _, positive in rows])
    other = "recall" if goal == "precision" else "precision"
    reached = [point for point in points if getattr(point, goal) >= value]
    if not reached:
        with pytest.raises(InputError, match="no threshold reaches"):
            choose(points, Target(goal, value))  # type: ignore[arg-type] # one of the names
        return
    chosen = choose(points, Target(goal, value))  # type: ignore[arg-type] # one of the names
    assert getattr(chosen, goal) >= value
    assert getattr(chosen, other) == max(getattr(point, other) for point in reached)


def test_a_share_to_keep() -> None:
    points = curve(list(range(100)), [at % 3 == 0 for at in range(100)])
    assert choose(points, Target("keep", 0.1)).threshold == 90


def test_a_perfect_ranking_has_area_one_and_a_picture() -> None:
    points = curve([1, 2, 3, 4], [False, False, True, True])
    assert average_precision(points) == 1.0
    chosen = choose(points, Target("precision", 1.0))
    assert chosen == Point(3.0, 1.0, 1.0, 0.5)
    first, second = picture(points, chosen, "a & b"), picture(points, chosen, "a & b")
    assert first == second
    assert "a &amp; b" in first
    assert "<script" not in first


def test_one_kind_of_document_is_an_error() -> None:
    with pytest.raises(InputError, match="3 positive and 0 negative"):
        curve([1, 2, 3], [True, True, True])
