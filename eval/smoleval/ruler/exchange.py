"""Pieces of known sizes -> a choice of them that fills a room to the last token, if that can be.

Pieces are taken in their order while they fit; then pieces taken are exchanged for larger ones left over,
each time for the greatest gain that still fits. The order of what was taken stays. Cost: linear in the
pieces, and 200 exchanges at most.
"""

from collections import defaultdict

import numpy as np
import numpy.typing as npt

_MOST_EXCHANGES = 200


def take(
    sizes: npt.NDArray[np.int64], room: int, *, step: int = 1, keep: int = 0, count: int | None = None
) -> list[int]:
    """Return numbers of pieces whose sizes times ``step`` sum to at most ``room``, and near it.

    The first ``keep`` are taken and stay, whether they fit or not. ``count``: how many are taken, if known.
    """
    sums = np.cumsum(sizes) * step
    if count is None:
        count = max(int(np.searchsorted(sums, room, side="right")), min(keep, len(sizes)))
    chosen = list(range(count))
    left = room - (int(sums[count - 1]) if count else 0)
    taken, spare = _by_size(sizes, keep, count), _by_size(sizes, count, len(sizes))
    for _ in range(_MOST_EXCHANGES):
        best = max(
            ((large - small, small, large) for small in taken for large in spare if
             0 < (large - small) * step <= left),
            default=None,
        )  # fmt: skip
        if best is None:
            break
        gain, small, large = best
        # What was put in stays: it stands where the other stood, and is in neither list.
        out, into = taken[small].pop(), spare[large].pop(0)
        for sizes_left, size in ((taken, small), (spare, large)):
            if not sizes_left[size]:
                del sizes_left[size]
        chosen[out], left = into, left - gain * step
    return chosen


def _by_size(sizes: npt.NDArray[np.int64], begin: int, end: int) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for number in range(begin, end):
        found[int(sizes[number])].append(number)
    return dict(found)
