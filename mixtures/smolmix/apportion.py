"""Exact weights and a number of windows into integer counts that sum to it: largest remainder (Hamilton).

Each source gets ``floor(weight * total)``; the windows left over go to the largest fractional parts, ties to
the name that sorts first. So ``|count - weight * total| < 1``, the counts do not depend on the order of the
input, and scaling all weights changes nothing. Cost: O(sources log sources) on integers of any size.
"""

from collections.abc import Mapping
from fractions import Fraction


def largest_remainder(weights: Mapping[str, Fraction], total: int) -> dict[str, int]:
    """Return the count of each name; the counts sum to ``total``.

    ``weights`` are non-negative and sum to exactly 1 (asserted: the recipe has proved it).

    >>> largest_remainder({"a": Fraction(1, 3), "b": Fraction(2, 3)}, 10)
    {'a': 3, 'b': 7}
    """
    assert sum(weights.values()) == 1, "weights must sum to one"
    assert total >= 0, "a total is not negative"
    counts: dict[str, int] = {}
    parts: list[tuple[Fraction, str]] = []
    for name, weight in weights.items():
        exact = weight * total
        counts[name] = exact.numerator // exact.denominator
        parts.append((exact - counts[name], name))
    left = total - sum(counts.values())
    parts.sort(key=lambda item: (-item[0], item[1]))
    for _, name in parts[:left]:
        counts[name] += 1
    return counts
