"""Steps into where their rows lie: the plan asked for a block of steps at once, ahead of time and in parts.

The plan's vector arithmetic has a fixed cost for each source met, so a look-up of thousands of samples costs
little more than one of a few hundred. Made all at once, it would delay one step in every so many; so while
the steps of a block are read, the next block is looked up a few sources a step. A step out of turn is looked
up at once. What is returned is the plan's answer either way.

Cost, measured with 41 sources on a busy machine: 8 ms a block; in parts 18 ms, at most 2.5 ms a step.
"""

from itertools import pairwise

import numpy as np

from smolmix.order import descend
from smoltrain.bundle import Bundle, Places
from smoltrain.windows import Ints

SAMPLES = 16384
"""Looked up in a block: enough that the fixed cost does not dominate; 28 steps of 576 windows."""
PARTS = 14
"""In which a block ahead is looked up: three sources of the published recipes each."""


class Lookups:
    """Where ``rows`` consecutive rows of each step lie, from row ``first`` of its global batch on."""

    def __init__(self, bundle: Bundle, rows: int, first: int) -> None:
        self._bundle, self._rows, self._first = bundle, rows, first
        self._steps = max(1, SAMPLES // rows)
        self._block: _Block | None = None
        self._next: _Block | None = None

    def places(self, step: int) -> Places:
        """Return where the rows of ``step`` lie."""
        start = step - step % self._steps
        block = self._turn_to(start)
        self._look_ahead(step - start, block.start + self._steps)
        at = (step - start) * self._rows
        return block.cut(slice(at, at + self._rows))

    def _turn_to(self, start: int) -> "_Block":
        if self._block is None or self._block.start != start:
            if self._next is not None and self._next.start == start:
                block, self._next = self._next, None
            else:
                block = self._begin(start)
            block.go_on(1.0)
            self._block = block
        return self._block

    def _look_ahead(self, at: int, start: int) -> None:
        """Look up the part of the next block that is due at step ``at`` of this one."""
        if start >= self._bundle.steps or self._steps == 1:
            return
        if self._next is None or self._next.start != start:
            self._next = self._begin(start)
        self._next.go_on((at + 1) / self._steps)

    def _begin(self, start: int) -> "_Block":
        steps = np.arange(start, min(start + self._steps, self._bundle.steps), dtype=np.int64)
        first = steps * self._bundle.batch_windows + self._first
        index = (first[:, None] + np.arange(self._rows, dtype=np.int64)).reshape(-1)
        return _Block(self._bundle, start, index)


class _Block:
    """The places of a block of steps, looked up as far as was asked."""

    def __init__(self, bundle: Bundle, start: int, index: Ints) -> None:
        self.start = start
        self._bundle, self._index = bundle, index
        self._found: Places | None = None
        self._parts: list[Ints] = []
        """Rows by their sources, a few sources together."""
        self._done = 0

    def go_on(self, share: float) -> None:
        """Look up until ``share`` of the parts is done; at once, if all are asked for and none is done."""
        if share >= 1.0 and not self._done:
            self._found, self._done = self._bundle.places(self._index), PARTS
        while self._done < int(share * PARTS):
            if not self._done:
                self._split()
            else:
                self._look_up(self._parts[self._done - 1])
            self._done += 1

    def _split(self) -> None:
        """Order the rows by source, in the first part; the others are one group of sources each."""
        rows = [rows for _name, rows, _place in descend(self._bundle.plan.order.tree, self._index)]
        ends = [len(rows) * number // (PARTS - 1) for number in range(PARTS)]  # neighbours share branches
        empty = np.zeros(0, np.int64)
        self._parts = [np.concatenate([empty, *rows[a:b]]) for a, b in pairwise(ends)]
        columns = [np.empty(self._index.size, np.int64) for _ in range(4)]
        self._found = Places(self._index, *columns)

    def _look_up(self, rows: Ints) -> None:
        assert self._found is not None, "the first part made the columns"
        part, found = self._bundle.places(self._index[rows]), self._found
        found.source[rows], found.pass_[rows] = part.source, part.pass_
        found.shard[rows], found.window[rows] = part.shard, part.window

    def cut(self, rows: slice) -> Places:
        """Return some rows of a block that is looked up whole."""
        found = self._found
        assert found is not None
        assert self._done == PARTS, "a block is looked up before it is read"
        return found.rows(rows)
