"""A plan's counts and shards into the order of the stage: sample index <-> (source, pass, shard, window).

Index to source by the Huffman tree of :mod:`smolmix.tree`; the source's own window by
:mod:`smolmix.sequence`; both are functions, so nothing is stored over the samples, every rank computes the
same, and resuming at a step is evaluating it there. int64 cannot overflow: below 2**31 windows the products
stay below 2**63; above, the quotient is estimated in float64 and corrected exactly in wrapping arithmetic
(:func:`_left_before`). Cost: about 0.5 microseconds a look-up in blocks; memory is the shards' integers, 16
bytes each and pass.
"""

from collections.abc import Sequence as Collection
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smoldata.errors import InputError
from smolmix.permutation import I64, derive, permute, permute_many, unpermute
from smolmix.sequence import Places, Sequence, places, position_of
from smolmix.tree import Leaf, Split, Tree, build_tree, locate, paths

BLOCK: Final = 65536
"""Look-ups evaluated together."""
_EXACT: Final = 2**31
_MOST: Final = 2**50


class Sample(NamedTuple):
    """One window of a stage."""

    source: str
    pass_: int
    shard: int
    """Ordinal of the shard in its source."""
    window: int
    """Number of the window in the shard."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Many windows of a stage, as columns of equal length."""

    names: tuple[str, ...]
    """Source names, sorted."""
    source: NDArray[np.int16]
    """Position in ``names``."""
    pass_: I64
    shard: I64
    window: I64

    def __len__(self) -> int:
        """Return the number of windows."""
        return int(self.source.size)

    def sample(self, row: int) -> Sample:
        """Return one row with the name of its source."""
        return Sample(
            self.names[self.source[row]], int(self.pass_[row]), int(self.shard[row]), int(self.window[row])
        )


class Order:
    """The order of one stage. Random access both ways; immutable apart from its cache of pass tables."""

    def __init__(self, sequences: Collection[Sequence]) -> None:
        """Build the tree over the sources that have windows."""
        self.sequences = {sequence.name: sequence for sequence in sequences}
        self.names = tuple(sorted(self.sequences))
        self.windows = sum(sequence.count for sequence in sequences)
        if self.windows > _MOST:
            raise InputError(f"a stage of {self.windows:,} windows is beyond the order's limit of {_MOST:,}")
        self.tree = build_tree({sequence.name: sequence.count for sequence in sequences})
        self._paths = paths(self.tree) if self.tree else {}
        self._number = {name: number for number, name in enumerate(self.names)}
        self.replaced: I64 = np.zeros(0, np.int64)
        """Sample indices that read another window: see :class:`smolmix.replacements.ReplacedOrder`."""

    def put_in(self, source: str) -> list[tuple[int, int, int, int]]:
        """Return (index, pass, shard, window) of the windows put in for others: none in a plain order."""
        self._sequence(source)
        return []

    def at(self, index: int) -> Sample:
        """Return the window at a sample index (from 0).

        Raises:
            InputError: the index is outside the stage.
        """
        if not 0 <= index < self.windows:
            raise InputError(
                f"sample index {index:,} is outside the stage; it has indices 0 to {self.windows - 1:,}"
            )
        assert self.tree is not None, "a stage with windows has a tree"
        name, j = locate(self.tree, index)
        sequence = self.sequences[name]
        g = sequence.start + j
        if sequence.sizes is None:
            return Sample(name, 0, 0, g)
        pass_, slot = divmod(g, sequence.capacity)
        table = sequence.table(pass_)
        position = int(np.searchsorted(table.begins, slot, "right")) - 1
        shard = int(table.shards[position])
        key = derive(derive(sequence.key, pass_), shard)
        window = permute(key, int(sequence.sizes[shard]), slot - int(table.begins[position]))
        return Sample(name, pass_, shard, window)

    def at_many(self, indices: Any) -> Samples:
        """Return the windows at many sample indices, in the order given.

        Raises:
            InputError: an index is outside the stage.
        """
        wanted = np.ascontiguousarray(indices, dtype=np.int64)
        if wanted.size and not (int(wanted.min()) >= 0 and int(wanted.max()) < self.windows):
            bad = int(wanted.min()) if int(wanted.min()) < 0 else int(wanted.max())
            raise InputError(
                f"sample index {bad:,} is outside the stage; it has indices 0 to {self.windows - 1:,}"
            )
        source = np.empty(wanted.size, np.int16)
        rest = [np.empty(wanted.size, np.int64) for _ in range(3)]
        for begin in range(0, wanted.size, BLOCK):
            part = slice(begin, min(begin + BLOCK, wanted.size))
            self._block(wanted[part], source[part], rest[0][part], rest[1][part], rest[2][part])
        return Samples(self.names, source, rest[0], rest[1], rest[2])

    def _block(self, indices: I64, source: NDArray[np.int16], pass_: I64, shard: I64, window: I64) -> None:
        known: list[tuple[I64, Places]] = []
        for name, rows, j in descend(self.tree, indices):
            found = places(self.sequences[name], j)
            source[rows] = self._number[name]
            pass_[rows] = found.pass_
            shard[rows] = found.shard
            if self.sequences[name].sizes is None:
                window[rows] = found.slot
            else:
                known.append((rows, found))
        if known:
            rows = np.concatenate([rows for rows, _ in known])
            window[rows] = _permuted([found for _, found in known])

    def index_of(self, source: str, pass_: int, shard: int, window: int) -> int:
        """Return the sample index at which a window is read: the inverse of :meth:`at`.

        Raises:
            InputError: no such source, shard or window, or this stage does not read it in that pass.
        """
        sequence = self._sequence(source)
        g = _number_in_source(sequence, pass_, shard, window)
        if g is None or not 0 <= g - sequence.start < sequence.count:
            raise InputError(
                f"this stage does not read window {window:,} of shard {shard:,} of {source!r} "
                f"in pass {pass_:,}; it reads {sequence.count:,} windows of that source"
            )
        return self._ascend(source, g - sequence.start)

    def _sequence(self, source: str) -> Sequence:
        if source not in self.sequences:
            raise InputError(f"source {source!r} is not in this plan; it has {', '.join(self.names)}")
        return self.sequences[source]

    def _ascend(self, source: str, j: int) -> int:
        for split, is_left in self._paths[source]:
            j = split.from_left(j) if is_left else split.from_right(j)
        return j

    def indices_of_drawn(self, source: str, j: I64) -> I64:
        """Return the sample index of the ``j``-th windows that the stage draws from a source."""
        self._sequence(source)
        k = np.asarray(j, np.int64)
        for split, is_left in self._paths.get(source, ()):
            k = _from_left(split, k) if is_left else _from_right(split, k)
        return k

    def places_of_drawn(self, source: str, j: I64) -> list[tuple[int, int, int]]:
        """Return (pass, shard, window) of a source's windows, from the stage's first on and past its last."""
        sequence = self._sequence(source)
        found = places(sequence, j)
        window = found.slot if sequence.sizes is None else _permuted([found])
        return list(zip(found.pass_.tolist(), found.shard.tolist(), window.tolist(), strict=True))

    def drawn_number(self, source: str, pass_: int, shard: int, window: int) -> int:
        """Return the ``j`` that :meth:`places_of_drawn` takes to a window of the source."""
        sequence = self._sequence(source)
        g = _number_in_source(sequence, pass_, shard, window)
        if g is None:
            raise InputError(f"{source!r} has no window {window:,} in shard {shard:,}")
        return g - sequence.start

    def first_indices(self, source: str) -> I64:
        """Return for each shard ordinal the first sample index at which the stage opens it; -1: never."""
        sequence = self._sequence(source)
        if sequence.sizes is None:
            one = np.zeros(1, np.int64)
            return self.indices_of_drawn(source, one) if sequence.count else one - 1
        first = np.full(sequence.sizes.size, -1, np.int64)
        if not sequence.count:
            return first
        pass_ = sequence.start // sequence.capacity
        last = (sequence.start + sequence.count - 1) // sequence.capacity
        for number in range(min(pass_ + 1, last), pass_ - 1, -1):
            # A later pass is written first: an earlier opening of the same shard then replaces it.
            table = sequence.table(number)
            begin = number * sequence.capacity - sequence.start
            sizes = sequence.sizes[table.shards]
            j = np.maximum(table.begins + begin, 0)
            opened = (sizes > 0) & (j < sequence.count) & (table.begins + begin + sizes > 0)
            first[table.shards[opened]] = self.indices_of_drawn(source, j[opened])
        return first

    def drawn_before(self, index: int) -> dict[str, int]:
        """Return how many windows of each source the stage's first ``index`` samples hold."""
        if not 0 <= index <= self.windows:
            raise InputError(f"prefix {index:,} is outside the stage; it has {self.windows:,} windows")
        drawn = dict.fromkeys(self.names, 0)
        stack: list[tuple[Tree, int]] = [(self.tree, index)] if self.tree else []
        while stack:
            node, k = stack.pop()
            if isinstance(node, Leaf):
                drawn[node.name] = k
            else:
                before = node.left_before(k)
                stack += [(node.left, before), (node.right, k - before)]
        return drawn


def _number_in_source(sequence: Sequence, pass_: int, shard: int, window: int) -> int | None:
    """Return the number of a window in its source's endless sequence; None if there is no such window."""
    if sequence.sizes is None:
        return window if pass_ == shard == 0 and window >= 0 else None
    if not (pass_ >= 0 and 0 <= shard < sequence.sizes.size and 0 <= window < int(sequence.sizes[shard])):
        return None
    table = sequence.table(pass_)
    position = position_of(sequence.key, sequence.sizes.size, pass_, shard)
    slot = unpermute(derive(derive(sequence.key, pass_), shard), int(sequence.sizes[shard]), window)
    return pass_ * sequence.capacity + int(table.begins[position]) + slot


def _permuted(found: Collection[Places]) -> I64:
    """Run the window bijections of several sources at once: one pass of the rounds over all of them."""
    offsets = np.cumsum([0, *(part.sizes.size for part in found)])
    lanes = (
        np.concatenate([part.lanes[0] for part in found]),
        np.concatenate([part.lanes[1] for part in found]),
    )
    which = np.concatenate([part.which + offset for part, offset in zip(found, offsets, strict=False)])
    sizes = np.concatenate([part.sizes for part in found])
    return permute_many(lanes, sizes, which, np.concatenate([part.slot for part in found]))


def descend(tree: Tree | None, indices: I64) -> list[tuple[str, I64, I64]]:
    """Return for each source met: its name, its rows of ``indices``, and their place in the source."""
    found: list[tuple[str, I64, I64]] = []
    stack = [(tree, np.arange(indices.size, dtype=np.int64), indices)] if tree and indices.size else []
    while stack:
        node, rows, k = stack.pop()
        if not isinstance(node, Split):
            assert node is not None, "a tree has nodes"
            found.append((node.name, rows, k))
            continue
        before = _left_before(node, k)
        is_left = _left_before(node, k + 1) > before
        for child, here, place in ((node.left, is_left, before), (node.right, ~is_left, k - before)):
            if here.any():
                stack.append((child, rows[here], place[here]))
    return found


def _left_before(split: Split, k: I64) -> I64:
    """Return :meth:`Split.left_before` of each ``k``."""
    n, a = split.count, split.left.count
    if n < _EXACT:
        return (k * (2 * a) + n) // (2 * n)
    return _floor_of_product(k, 2 * a, n, 2 * n)


def _from_left(split: Split, j: I64) -> I64:
    n, a = split.count, split.left.count
    if n < _EXACT:
        return -((n - (j + 1) * (2 * n)) // (2 * a)) - 1
    # ceil((2n(j+1) - n) / 2a) = floor((2n(j+1) - n + 2a - 1) / 2a)
    return _floor_of_product(j + 1, 2 * n, 2 * a - 1 - n, 2 * a) - 1


def _from_right(split: Split, j: I64) -> I64:
    n, b = split.count, split.right.count
    if n < _EXACT:
        return (j * (2 * n) + n) // (2 * b)
    return _floor_of_product(j, 2 * n, n, 2 * b)


def _floor_of_product(x: I64, factor: int, plus: int, divisor: int) -> I64:
    """Return ``floor((x * factor + plus) / divisor)`` exactly, though the product may pass 2**63.

    The quotient (below 2**50) is estimated in float64, off by less than 4; then the remainder is
    small against 2**63, so it is exact in arithmetic that wraps at 2**64, and says the correction.
    """
    estimate = (x * (factor / divisor) + plus / divisor).astype(np.int64)
    wrapped = x.astype(np.uint64) * np.uint64(factor) + np.uint64(plus % 2**64)
    remainder = (wrapped - estimate.astype(np.uint64) * np.uint64(divisor)).astype(np.int64)
    return estimate + remainder // divisor
