"""A plan's promises, checked against its order at full size: weights, counts, prefix bound, both directions.

The prefix bound is checked at every position of stretches spread over the stage. Between two draws of a
source its error ``drawn - count/windows * k`` only falls, so the extremes lie just after a draw and just
before the next: two integers a draw say it for all positions, and the cost does not depend on the number of
sources. Round trips are taken at random positions. Cost: about 0.3 microseconds a position, 20 MB.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from smoldata.errors import InputError, IntegrityError
from smolmix.literals import fraction_text
from smolmix.order import Order, descend
from smolmix.permutation import I64
from smolmix.plan import Plan
from smolmix.tree import prefix_bounds

STRETCHES: Final = 20
_BLOCK: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Proof:
    """What was checked of a plan and found to be true."""

    plan: str
    windows: int
    sources: int
    positions: int
    """Positions at which the prefix bound was checked, for every source."""
    worst: Fraction
    """Largest ``|drawn - count/windows * k|`` seen there."""
    worst_source: str
    bound: Fraction
    """What the plan promises."""
    round_trips: int

    def as_json(self) -> dict[str, str | int]:
        """Return the proof with fractions as text."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: fraction_text(value) if isinstance(value, Fraction) else value
            for name, value in values.items()
        }


def prove(plan: Plan, positions: int = 10**7, round_trips: int = 20_000) -> Proof:
    """Check a plan's promises; return what was checked.

    Raises:
        InputError: no position is asked for.
        IntegrityError: a promise does not hold, with the source, the place and both numbers.
    """
    if positions < 1:
        raise InputError(f"{positions} positions prove nothing; ask for at least 1")
    _arithmetic(plan)
    checked, worst, source = check_bound(plan.order, positions)
    if worst > plan.prefix_bound:
        raise IntegrityError(
            f"{plan.name}: {source} is {float(worst):.4f} windows off its share, the plan promises at most "
            f"{float(plan.prefix_bound):.4f}; plan again"
        )
    trips = _round_trips(plan.order, min(round_trips, plan.windows))
    return Proof(
        _label(plan), plan.windows, len(plan.order.names), checked, worst, source, plan.prefix_bound, trips
    )


def _label(plan: Plan) -> str:
    return f"{plan.name} {plan.preset}" if plan.preset else plan.name


def _arithmetic(plan: Plan) -> None:
    """Check that weights sum to 1, counts to the windows, and each count is within 1 of its share."""
    weights = sum((one.weight for one in plan.sources), Fraction(0))
    counts = sum(one.windows for one in plan.sources)
    if weights != 1 or counts != plan.windows:
        raise IntegrityError(
            f"{plan.name}: weights sum to {fraction_text(weights)} and counts to {counts:,} of "
            f"{plan.windows:,} windows; plan again"
        )
    for one in plan.sources:
        if abs(one.windows - one.weight * plan.windows) >= 1:
            raise IntegrityError(
                f"{plan.name}: {one.name} has {one.windows:,} windows, its weight "
                f"{fraction_text(one.weight)} gives {float(one.weight * plan.windows):,.3f}; plan again"
            )


def check_bound(order: Order, positions: int) -> tuple[int, Fraction, str]:
    """Check the proved bound of every source at every position of stretches over the stage.

    Returns the number of positions, and the largest error seen with its source. Raises IntegrityError.
    """
    assert order.tree is not None, "a stage with windows has a tree"
    counts = {name: sequence.count for name, sequence in order.sequences.items()}
    bounds = prefix_bounds(order.tree)
    checked, worst, worst_source = 0, 0, next(iter(counts))
    for begin, end in _stretches(order.windows, positions):
        for first in range(begin, end, _BLOCK):
            after = min(end, first + _BLOCK)
            for name, error, place in _errors(order, counts, first, after):
                bound = bounds.get(name, Fraction(0))
                if error > bound * order.windows:
                    raise IntegrityError(
                        f"{name} is {error / order.windows:.4f} windows off its share near window "
                        f"{place:,}, at most {float(bound):.4f} is proved"
                    )
                if error > worst:
                    worst, worst_source = error, name
            checked += after - first
    return checked, Fraction(worst, order.windows), worst_source


def _stretches(windows: int, positions: int) -> Iterator[tuple[int, int]]:
    """Yield the stretches: the whole stage if it is short, else the beginning, the end and between."""
    if windows <= positions:
        yield 0, windows
        return
    stretches = min(STRETCHES, positions)
    for number in range(stretches):
        length = positions * (number + 1) // stretches - positions * number // stretches
        begin = (windows - length) * number // max(stretches - 1, 1)
        yield begin, begin + length


def _errors(order: Order, counts: dict[str, int], first: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Yield (source, largest |drawn * windows - count * k| over ``first <= k <= end``, its place)."""
    drawn, windows = order.drawn_before(first), order.windows
    met: dict[str, I64] = {}
    for name, rows, _ in descend(order.tree, np.arange(first, end, dtype=np.int64)):
        met[name] = rows + first
    for name, count in counts.items():
        at = met.get(name, np.zeros(0, np.int64))
        # Just before each draw and at the end; then just after each draw and at the beginning.
        before = np.append(at, end)
        behind = (drawn[name] + np.arange(at.size + 1)) * windows - count * before
        after = np.append(at + 1, first)
        number = np.append(drawn[name] + 1 + np.arange(at.size), drawn[name])
        # Products may wrap past 2**63, their difference (below 2 * windows) does not.
        ahead = number * windows - count * after
        low, high = int(behind.argmin()), int(ahead.argmax())
        if -int(behind[low]) > int(ahead[high]):
            yield name, -int(behind[low]), int(before[low])
        else:
            yield name, int(ahead[high]), int(after[high])


def _round_trips(order: Order, amount: int) -> int:
    """Look random positions up one by one, many at once, and back; return how many."""
    indices = np.random.default_rng(amount).integers(0, order.windows, amount)
    seen = order.at_many(indices)
    single = min(amount, 1000)
    for row, index in enumerate(indices[:single].tolist()):
        sample = seen.sample(row)
        if order.at(index) != sample or order.index_of(*sample) != index:
            raise IntegrityError(f"window {index:,}: the order and its inverse disagree on {sample}")
    for number, name in enumerate(order.names):
        rows = np.flatnonzero(seen.source == number)
        if not rows.size:
            continue
        ((_, _, j),) = descend(order.tree, indices[rows])
        if not np.array_equal(order.indices_of_drawn(name, j), indices[rows]):
            raise IntegrityError(f"{name}: the order and its inverse disagree; plan again")
    return amount
