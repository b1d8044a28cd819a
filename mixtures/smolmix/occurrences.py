"""Windows of shards into the sample indices at which a stage reads them: the order's inverse, many at once.

Each pass of the stage is looked up by one run of the inverse bijections over all windows; windows that a
retraction took away or put in are respected. Cost: about a microsecond a window and pass.
"""

from dataclasses import dataclass

import numpy as np

from smolmix.order import Order
from smolmix.permutation import I64, derive, derive_array, permute_many
from smolmix.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Occurrences:
    """Reads of windows, sorted by sample index; columns of equal length."""

    row: I64
    """Which of the windows asked for."""
    index: I64
    """Sample index in the stage."""
    pass_: I64


def occurrences(order: Order, source: str, shard: I64, window: I64) -> Occurrences:
    """Return when a stage reads each of the windows (``shard[i]``, ``window[i]``) of a source.

    Every window must be one of its shard.
    """
    sequence = order.sequences[source]
    parts = [_in_pass(order, sequence, number, shard, window) for number in stage_passes(sequence)]
    empty = np.zeros(0, np.int64)
    row, index, pass_ = (
        np.concatenate([empty, *column]) for column in (zip(*parts, strict=True) if parts else ((), (), ()))
    )
    kept = ~np.isin(index, order.replaced)
    more = _put_in(order, source, shard, window)
    row, index, pass_ = (
        np.concatenate([old[kept], new]) for old, new in zip((row, index, pass_), more, strict=True)
    )
    by_index = np.argsort(index, kind="stable")
    return Occurrences(row[by_index], index[by_index], pass_[by_index])


def stage_passes(sequence: Sequence) -> range:
    """Return the passes in which a stage reads windows of a source of known size (before any replacement)."""
    if not sequence.count or sequence.sizes is None:
        return range(0)
    first, last = sequence.start, sequence.start + sequence.count - 1
    return range(first // sequence.capacity, last // sequence.capacity + 1)


def _in_pass(order: Order, sequence: Sequence, number: int, shard: I64, window: I64) -> tuple[I64, I64, I64]:
    """Return (row, index, pass) of the windows that the stage reads in one pass."""
    assert sequence.sizes is not None, "a source of known size"
    table = sequence.table(number)
    begins = np.empty(sequence.sizes.size, np.int64)
    begins[table.shards] = table.begins
    met, which = np.unique(shard, return_inverse=True)
    lanes = derive_array(derive(sequence.key, number), met)
    slot = permute_many(lanes, sequence.sizes[met], which, window, inverse=True)
    j = number * sequence.capacity + begins[shard] + slot - sequence.start
    row = np.flatnonzero((j >= 0) & (j < sequence.count))
    return row, order.indices_of_drawn(sequence.name, j[row]), np.full(row.size, number, np.int64)


def _put_in(order: Order, source: str, shard: I64, window: I64) -> tuple[I64, I64, I64]:
    """Return (row, index, pass) of the windows that replacements of the stage put in."""
    wanted: dict[tuple[int, int], list[int]] = {}
    for row_, place in enumerate(zip(shard.tolist(), window.tolist(), strict=True)):
        wanted.setdefault(place, []).append(row_)
    found = [
        (row_, index, pass_)
        for index, pass_, shard_, window_ in order.put_in(source)
        for row_ in wanted.get((shard_, window_), ())
    ]
    columns = zip(*found, strict=True) if found else ((), (), ())
    row, index, pass_ = (np.array(column, np.int64) for column in columns)
    return row, index, pass_
