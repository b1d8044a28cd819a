"""One source's shards into its endless sequence of windows: passes, permuted shards, permuted windows.

Window number ``g`` of a source lies in pass ``g // capacity``. A pass opens the shards in an order that a
keyed bijection gives, and reads a shard's windows in an order that another one gives, so a stage that ends
early has opened few shards. Keys come from (seed, source name, pass, shard ordinal): another source, or
another source's shards, change nothing here. A source of unknown size is one endless shard read from its
beginning. Cost: O(shards) integers a pass, kept for the passes last used; a look-up is a binary search and a
bijection.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from smolmix.permutation import I64, MASK32, U32, Lanes, derive, derive_array, permute_many, unpermute

_SHARDS_TAG: Final = MASK32
"""Stands where a shard ordinal stands in the key that permutes the shards; no source has that many."""
_CACHED_BYTES: Final = 8 * 2**20
"""Pass tables kept a source; the last few are kept whatever their size."""
_ALWAYS_KEPT: Final = 4


@dataclass(frozen=True, slots=True)
class PassTable:
    """The shards of one pass in reading order."""

    shards: I64
    """Ordinals in the order in which the pass opens them."""
    begins: I64
    """Windows of the pass before each of them; strictly within the capacity, except for empty shards."""


def source_key(seed: int, name: str) -> Lanes:
    """Return the key of a source: 64 bits of a sha256, so that it depends on the seed and the name alone."""
    digest = hashlib.sha256(f"smolmix order 1\0{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


@dataclass(slots=True)
class Sequence:
    """The windows of one source at one sequence length."""

    name: str
    key: Lanes
    sizes: I64 | None
    """Windows of each shard by ordinal; None: unknown size."""
    start: int
    """Number in the endless sequence of the stage's first window of this source."""
    count: int
    """Windows in the stage."""
    capacity: int = field(init=False, default=0)
    """Windows of a pass; 0 when unknown."""
    _tables: OrderedDict[int, PassTable] = field(init=False, default_factory=OrderedDict)

    def __post_init__(self) -> None:
        """Add up the capacity."""
        if self.sizes is not None:
            self.capacity = int(self.sizes.sum())
            assert self.capacity > 0 or self.count == 0, "windows are drawn from a source that has some"

    def table(self, pass_: int) -> PassTable:
        """Return the reading order of a pass."""
        assert self.sizes is not None, "a source of unknown size has no table"
        if pass_ in self._tables:
            self._tables.move_to_end(pass_)
            return self._tables[pass_]
        table = pass_table(self.key, self.sizes, pass_)
        self._tables[pass_] = table
        while len(self._tables) > _ALWAYS_KEPT and len(self._tables) * self.sizes.size * 16 > _CACHED_BYTES:
            self._tables.popitem(last=False)
        return table


def position_of(key: Lanes, shards: int, pass_: int, ordinal: int) -> int:
    """Return where in the reading order of a pass a shard stands, without the table of the pass."""
    return unpermute(derive(derive(key, pass_), _SHARDS_TAG), shards, ordinal)


def pass_table(key: Lanes, sizes: I64, pass_: int) -> PassTable:
    """Return the shards of a pass in reading order, with the windows before each."""
    shards = opening_order(derive(key, pass_), sizes.size)
    ordered = sizes[shards]
    return PassTable(shards, np.cumsum(ordered) - ordered)


@dataclass(slots=True)
class _Recent:
    """The opening orders used last: stages of a curriculum share them, they depend on no window."""

    orders: OrderedDict[tuple[Lanes, int], U32] = field(default_factory=OrderedDict)
    shards: int = 0
    """Of all orders kept."""

    def put(self, key: tuple[Lanes, int], order: U32) -> None:
        self.orders[key] = order
        self.shards += order.size
        while self.shards > _RECENT_SHARDS or len(self.orders) > _RECENT_ORDERS:
            self.shards -= self.orders.popitem(last=False)[1].size


_RECENT_SHARDS: Final = 2 * 2**20
"""Four bytes each."""
_RECENT_ORDERS: Final = 1024
_RECENT: Final = _Recent()


def opening_order(key: Lanes, shards: int) -> I64:
    """Return the ordinals of a source's shards in the order in which the pass of that key opens them."""
    known = _RECENT.orders.get((key, shards))
    if known is None:
        lane_a, lane_b = derive(key, _SHARDS_TAG)
        lanes = (np.array([lane_a], np.uint32), np.array([lane_b], np.uint32))
        count, everywhere = np.array([shards], np.int64), np.arange(shards, dtype=np.int64)
        known = permute_many(lanes, count, np.zeros(shards, np.intp), everywhere).astype(np.uint32)
        _RECENT.put((key, shards), known)
    return known.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Places:
    """Where windows lie before the bijection of their shard: ``which`` points into the shards met."""

    pass_: I64
    shard: I64
    slot: I64
    """Place in the reading order of the shard."""
    lanes: tuple[U32, U32]
    """Key of each shard met."""
    sizes: I64
    """Windows of each shard met."""
    which: I64


def places(sequence: Sequence, j: I64) -> Places:
    """Return the places of the stage's ``j``-th windows of this source (before the windows are permuted)."""
    g = j + sequence.start
    if sequence.sizes is None:
        zero = np.zeros(g.size, np.int64)
        empty = np.zeros(1, np.uint32)
        return Places(zero, zero, g, (empty, empty), np.zeros(1, np.int64), zero)
    pass_ = g // sequence.capacity
    slot = g - pass_ * sequence.capacity
    position = np.empty(g.size, np.int64)
    shard = np.empty(g.size, np.int64)
    for number in _distinct(pass_):
        table = sequence.table(number)
        here = slice(None) if int(pass_[0]) == number == int(pass_[-1]) and _same(pass_) else pass_ == number
        position[here] = np.searchsorted(table.begins, slot[here], "right") - 1
        shard[here] = table.shards[position[here]]
        slot[here] -= table.begins[position[here]]
    met, which = _met(pass_, shard, sequence.sizes.size)
    met_pass, met_shard = np.divmod(met, sequence.sizes.size)
    lanes = _shard_keys(sequence.key, met_pass, met_shard)
    return Places(pass_, shard, slot, lanes, sequence.sizes[met_shard], which)


def _same(values: I64) -> bool:
    return bool(values[0] == values.min() and values[0] == values.max())


def _distinct(values: I64) -> list[int]:
    return [int(values[0])] if _same(values) else [int(value) for value in np.unique(values)]


def _met(pass_: I64, shard: I64, shards: int) -> tuple[I64, I64]:
    """Return the distinct (pass, shard) as one number each, and which of them every window is in."""
    both = pass_ * shards + shard
    if _same(both):
        return both[:1], np.zeros(both.size, np.int64)
    met, which = np.unique(both, return_inverse=True)
    return met, which


def _shard_keys(key: Lanes, pass_: I64, shard: I64) -> tuple[U32, U32]:
    lane_a, lane_b = np.empty(shard.size, np.uint32), np.empty(shard.size, np.uint32)
    for number in _distinct(pass_):
        here = pass_ == number
        lane_a[here], lane_b[here] = derive_array(derive(key, number), shard[here])
    return lane_a, lane_b
