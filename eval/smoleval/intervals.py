"""Scores -> standard errors and 95 % confidence intervals.

A share of items that are right or wrong (its standard error is that of a proportion) gets Wilson's interval,
which also holds at 0 and 1; any other score gets value ± 1.96 standard errors. Both take the items as a
sample of what could have been asked; they say nothing of other prompts or seeds.
"""

import math
from collections.abc import Sequence

Z95 = 1.959963984540054
_CLOSE = 0.02


def wilson(share: float, items: float) -> tuple[float, float]:
    """Return Wilson's interval of a share of ``items`` (E. B. Wilson, 1927).

    >>> [round(end, 4) for end in wilson(0.5, 100)]
    [0.4038, 0.5962]
    """
    spread = Z95 * Z95 / items
    middle = (share + spread / 2) / (1 + spread)
    half = Z95 / (1 + spread) * math.sqrt(share * (1 - share) / items + spread / (4 * items))
    return max(0.0, middle - half), min(1.0, middle + half)


def interval(value: float, stderr: float | None, items: int) -> tuple[float, float] | None:
    """Return the 95 % interval of a score; None where nothing is known of its spread."""
    if stderr is None:
        return None
    if is_proportion(value, stderr, items):
        return wilson(value, items)
    return value - Z95 * stderr, value + Z95 * stderr


def is_proportion(value: float, stderr: float, items: int) -> bool:
    """Return whether a score has the standard error of a share of items that are right or wrong."""
    if not 0 <= value <= 1 or items <= 1:
        return False
    if value in (0.0, 1.0):
        return stderr == 0.0
    binomial = math.sqrt(value * (1 - value) / (items - 1))
    return abs(stderr - binomial) <= _CLOSE * binomial


def stderr_of_mean(values: Sequence[float]) -> float | None:
    """Return s / sqrt(n) with n - 1 in s; None for fewer than two values."""
    count = len(values)
    if count < 2:  # noqa: PLR2004 (s needs two)
        return None
    mean = sum(values) / count
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)


def stderr_of_ratio(parts: Sequence[float], wholes: Sequence[float]) -> float | None:
    """Return the standard error of sum(parts) / sum(wholes) over items (linearised); None for one item.

    >>> stderr_of_ratio([1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]) == stderr_of_mean([1.0, 0.0, 1.0, 0.0])
    True
    """
    count, total = len(parts), sum(wholes)
    if count < 2 or total == 0:  # noqa: PLR2004 (as above)
        return None
    value = sum(parts) / total
    squares = sum((part - value * whole) ** 2 for part, whole in zip(parts, wholes, strict=True))
    return math.sqrt(squares * count / (count - 1)) / total


def stderr_by_jackknife(without: Sequence[float]) -> float | None:
    """Return the standard error of a score of a whole corpus from its values without one item each.

    The delete-one jackknife (B. Efron, 1979); None for fewer than two items.
    """
    count = len(without)
    if count < 2:  # noqa: PLR2004 (as above)
        return None
    mean = sum(without) / count
    return math.sqrt(sum((value - mean) ** 2 for value in without) * (count - 1) / count)
