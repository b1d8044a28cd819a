"""Scores and labels of held-out documents -> precision and recall at every threshold, and the one asked for.

A document is kept from a threshold on: ``score >= threshold``. Thresholds are the scores themselves. A target
is a precision, a recall, or a share of documents to keep (DCLM kept a tenth); among the thresholds that reach
a precision the one of most recall is chosen, and the other way round. Cost: a sort.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from smoldata.errors import InputError

Goal = Literal["precision", "recall", "keep"]
_POINTS = 200


@dataclass(frozen=True, slots=True)
class Point:
    """What a threshold gives."""

    threshold: float
    precision: float
    recall: float
    kept: float
    """Share of all held-out documents."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the threshold is chosen for."""

    goal: Goal
    value: float


def curve(scores: Sequence[float], positive: Sequence[bool]) -> list[Point]:
    """Return a point for every different score, thresholds ascending.

    Raises:
        InputError: there is no positive or no negative document.
    """
    truth = np.asarray(positive, bool)
    if truth.all() or not truth.any():
        raise InputError(
            f"the held-out documents are {int(truth.sum()):,} positive and {int((~truth).sum()):,} negative; "
            "both are needed: give more documents, or a larger --held-out"
        )
    order = np.argsort(np.asarray(scores, np.float64), kind="stable")[::-1]
    values = np.asarray(scores, np.float64)[order]
    hits = np.cumsum(truth[order])
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    kept = last + 1
    rows = zip(
        values[last].tolist(),
        (hits[last] / kept).tolist(),
        (hits[last] / hits[-1]).tolist(),
        (kept / len(values)).tolist(),
        strict=True,
    )
    return [Point(*row) for row in rows][::-1]


def choose(points: Sequence[Point], target: Target) -> Point:
    """Return the point that reaches a target at the least cost.

    Raises:
        InputError: no threshold reaches it; the message says how near one comes.
    """
    if target.goal == "keep":
        return min(points, key=lambda point: (abs(point.kept - target.value), point.threshold))
    other = "recall" if target.goal == "precision" else "precision"
    reached = [point for point in points if getattr(point, target.goal) >= target.value]
    if not reached:
        best = max(getattr(point, target.goal) for point in points)
        raise InputError(
            f"no threshold reaches {target.goal} {target.value:g} on the held-out documents; the best is "
            f"{best:.3f}: ask for less, or give more and better labels"
        )
    return max(reached, key=lambda point: (getattr(point, other), point.threshold))


def average_precision(points: Sequence[Point]) -> float:
    """Return the area under the curve: the mean precision over recall, by steps."""
    total, before = 0.0, 0.0
    for point in reversed(points):
        total += (point.recall - before) * point.precision
        before = point.recall
    return total


def as_json(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return the points as JSON-able values."""
    return [asdict(point) for point in points]


def picture(points: Sequence[Point], chosen: Point, title: str) -> str:
    """Return the curve of precision over recall as SVG, the chosen threshold marked."""
    import pygal

    from smoldata.statistics.pictures import options, svg

    step = max(1, len(points) // _POINTS)
    chart = pygal.XY(
        **options(height=360),
        x_title="recall",
        y_title="precision",
        range=(0, 1),
        xrange=(0, 1),
        show_dots=False,
    )
    drawn = [*points[::step], points[-1]]
    chart.add("held-out documents", [(point.recall, point.precision) for point in drawn])
    mark = {"value": (chosen.recall, chosen.precision), "label": f"{chosen.threshold:.4g}"}
    chart.add(f"threshold {chosen.threshold:.4g}", [mark], show_dots=True, dots_size=5)
    return svg(chart, "precision-recall", title)
