"""A log of losses into the steps at which the loss leapt, by a robust rule.

Each step is compared with the median of the ``LOCAL`` steps before it. A step is a spike when this difference
lies more than ``threshold`` scaled median absolute deviations above the median difference of the ``window``
steps before: a falling loss moves both along, and earlier spikes do not hide the next one. The deviation is
never less than ``FLOOR`` of the loss, so that a flat log has no spikes of rounding. Neighbouring spikes are
one event, named by its highest step. In the steep fall of the first steps small leaps are not told from it.

Reads our ``log.jsonl``, nanotron's printed lines (``iteration: 17 / 100 | ... | lm_loss: 3.21 |``) and CSV
with the columns ``step`` or ``iteration`` and ``loss`` or ``lm_loss``. Cost: a second for 100,000 steps.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from smoldata.errors import InputError

Floats = npt.NDArray[np.float64]

WINDOW = 100
LOCAL = 11
THRESHOLD = 8.0
LEAST = 10
"""Steps before a step without which it is not judged."""
FLOOR = 0.002
_MAD_TO_SIGMA = 1.4826
"""Scales the median absolute deviation to the standard deviation of a normal distribution."""
_PRINTED = re.compile(r"iteration: (\d+) / \d+.*?lm_loss: ([0-9.eE+-]+|nan|inf)([KMB]?)")
_SCALE = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9}


@dataclass(frozen=True, slots=True)
class Point:
    """A step of a log, as the log counts."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class Spike:
    """Steps that stand out together, from ``first`` to ``last``, highest at ``step``."""

    step: int
    first: int
    last: int
    loss: float
    expected: float
    """Median of the steps before, moved as the window before moved from theirs."""
    deviations: float
    """How far above it, in scaled median absolute deviations; infinite where the loss is not finite."""


@dataclass(frozen=True, slots=True)
class Log:
    """The steps of a log in their order, and whether nanotron printed it: it counts all stages, from 1."""

    points: list[Point]
    by_nanotron: bool


def read_losses(path: Path) -> Log:
    """Return the steps of a log in order; of a step that ran twice (a resumed run) the later line counts.

    Raises :class:`InputError` if the file holds no step and loss in any of the three forms.
    """
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    points = {point.step: point for point in _points(path, text)}
    if not points:
        raise InputError(
            f"{path} holds no step with a loss: give a log.jsonl of smoltrain, nanotron's output, or a CSV "
            "with the columns step and loss"
        )
    by_nanotron = not text.lstrip().startswith("{") and _PRINTED.search(text) is not None
    return Log([points[step] for step in sorted(points)], by_nanotron)


def _points(path: Path, text: str) -> Iterator[Point]:
    if text.lstrip().startswith("{"):
        yield from _from_json(path, text)
    elif _PRINTED.search(text):
        for match in _PRINTED.finditer(text):
            yield Point(int(match[1]), float(match[2]) * _SCALE[match[3]])
    else:
        yield from _from_csv(path, text)


def _from_json(path: Path, text: str) -> Iterator[Point]:
    *lines, cut = text.split("\n")
    for number, line in enumerate([*lines, cut] if cut.endswith("}") else lines, 1):
        if not line:
            continue
        try:
            row = json.loads(line)
            yield Point(int(row["step"]), float(row["loss"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number}: no step and loss there ({error})") from error


def _from_csv(path: Path, text: str) -> Iterator[Point]:
    rows = csv.DictReader(text.splitlines())
    names = {name.strip().lower(): name for name in rows.fieldnames or []}
    step, loss = (next((names[one] for one in known if one in names), None) for known in _CSV_COLUMNS)
    if step is None or loss is None:
        return
    for number, row in enumerate(rows, 2):
        try:
            yield Point(int(float(row[step])), float(row[loss]))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}, line {number}: no step and loss there ({error})") from error


_CSV_COLUMNS = ("step", "iteration", "iteration_step"), ("loss", "lm_loss", "train/loss")


def find_spikes(
    points: Sequence[Point], *, window: int = WINDOW, threshold: float = THRESHOLD
) -> list[Spike]:
    """Return the spikes of a log in the order of their steps; a loss that is not finite is one."""
    if window < LEAST:
        raise InputError(f"a window of {window} steps says nothing: give at least {LEAST}")
    judged = _judge(np.array([point.loss for point in points]), window)
    out = [
        Spike(point.step, point.step, point.step, point.loss, expected, deviations)
        for point, (expected, deviations) in zip(points, judged, strict=True)
        if deviations > threshold
    ]
    return _joined(out)


def _judge(losses: Floats, window: int) -> Iterator[tuple[float, float]]:
    """Yield for each step what was expected there, and how many deviations above it the loss lies."""
    known = _filled(losses)
    local = _before(known, LOCAL)
    differences = known - local
    drift = _before(differences, window)
    spread = _MAD_TO_SIGMA * _spread_before(differences, drift, window)
    expected = local + drift
    for at, loss in enumerate(losses.tolist()):
        if not np.isfinite(loss):
            yield float(expected[at]), float("inf")
        elif at < 2 * LEAST:
            yield float(expected[at]), 0.0
        else:
            least = max(float(spread[at]), FLOOR * abs(float(expected[at])))
            yield float(expected[at]), (loss - float(expected[at])) / least


def _filled(losses: Floats) -> Floats:
    """Return losses with each that is not finite replaced by the last finite one before (or the first)."""
    finite = np.isfinite(losses)
    if not finite.any():
        return np.zeros_like(losses)
    last = np.maximum.accumulate(np.where(finite, np.arange(losses.size), -1))
    return losses[np.where(last < 0, int(np.argmax(finite)), last)]


def _before(values: Floats, count: int) -> Floats:
    """Return the median of up to ``count`` values before each; the first is its own."""
    made = np.array([np.median(values[:at]) if at else values[0] for at in range(min(count, values.size))])
    if values.size <= count:
        return made
    return np.concatenate([made, np.median(sliding_window_view(values, count)[:-1], axis=1)])


def _spread_before(values: Floats, middle: Floats, count: int) -> Floats:
    """Return the median distance of up to ``count`` values before each from their median ``middle``."""
    head = range(min(count, values.size))
    made = np.array([np.median(np.abs(values[:at] - middle[at])) if at else 0.0 for at in head])
    if values.size <= count:
        return made
    distances = np.abs(sliding_window_view(values, count)[:-1] - middle[count:, None])
    return np.concatenate([made, np.median(distances, axis=1)])


def _joined(spikes: Sequence[Spike]) -> list[Spike]:
    """Return neighbouring spikes as one, named by its highest step."""
    events: list[Spike] = []
    for one in spikes:
        if events and one.first <= events[-1].last + 1:
            highest = max(events[-1], one, key=lambda spike: (spike.deviations, -spike.step))
            joined = (
                highest.step,
                events[-1].first,
                one.last,
                highest.loss,
                highest.expected,
                highest.deviations,
            )
            events[-1] = Spike(*joined)
        else:
            events.append(one)
    return events
