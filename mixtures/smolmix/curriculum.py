"""Where each source stands after the stages before: offsets, passes, and what a change of length skips.

A stage of the same sequence length goes on at the next window. A stage of another length cuts windows anew,
so it starts at the first shard that the current pass has not opened: no token is read twice in a pass. The
unread windows of the last opened shard are ``held_back``; the next pass offers them. Cost: O(shards) a
changed source.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from smolmix.permutation import I64, Lanes
from smolmix.sequence import pass_table


@dataclass(frozen=True, slots=True)
class Cursor:
    """A source's place in the curriculum, between two stages."""

    sequence_length: int
    base: int = 0
    """Number of the first window of this length in the source's endless sequence."""
    drawn: int = 0
    """Windows drawn since, at this length."""
    held_back: int = 0
    """Unread windows of the shard that was open when the length changed, at the length before."""
    skipped_shards: int = 0
    """Shards of the pass under way that were opened before the length changed."""
    passes: Fraction | None = Fraction(0)
    """Passes over the source so far, at all lengths; None: unknown size."""

    def advance(self, windows: int, capacity: int | None) -> "Cursor":
        """Return the place after a stage that drew ``windows``, of ``capacity`` a pass."""
        passes = self.passes
        if windows:
            passes = None if passes is None or capacity is None else passes + Fraction(windows, capacity)
        return Cursor(
            self.sequence_length,
            self.base,
            self.drawn + windows,
            self.held_back,
            self.skipped_shards,
            passes,
        )


def enter(
    cursor: Cursor | None, sequence_length: int, key: Lanes, old_sizes: I64 | None, new_sizes: I64 | None
) -> Cursor:
    """Return the place at which a stage of ``sequence_length`` begins.

    ``old_sizes`` and ``new_sizes`` are the windows of each shard at the cursor's length and at the new one.
    """
    if cursor is None:
        return Cursor(sequence_length)
    if cursor.sequence_length == sequence_length:
        return cursor
    position = cursor.base + cursor.drawn
    if old_sizes is None or new_sizes is None:
        # Unknown size, one endless shard: go on behind the last token that was read.
        tokens = position * (cursor.sequence_length + 1)
        base = -(-tokens // (sequence_length + 1))
        return Cursor(sequence_length, base, passes=cursor.passes)
    capacity = int(old_sizes.sum())
    pass_, slot = divmod(position, capacity) if capacity else (0, 0)
    if slot == 0:
        return Cursor(sequence_length, pass_ * int(new_sizes.sum()), passes=cursor.passes)
    table = pass_table(key, old_sizes, pass_)
    last = int(np.searchsorted(table.begins, slot - 1, "right")) - 1
    unread = int(table.begins[last] + old_sizes[table.shards[last]]) - slot
    skipped = int(new_sizes[table.shards[: last + 1]].sum())
    base = pass_ * int(new_sizes.sum()) + skipped
    return Cursor(sequence_length, base, 0, unread, last + 1, cursor.passes)
