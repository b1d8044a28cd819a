"""Windows that stand in for retracted ones: a small table beside the plan, and the order that respects it.

A plan with a retraction has ``replacements.parquet``: sample indices that read another window than the tree
and the sequences give, always of the same source, so counts, prefixes and bounds stay as proved. A look-up
costs one binary search more.
"""

import hashlib
from collections.abc import Collection
from collections.abc import Sequence as Listed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.errors import InputError, IntegrityError
from smoldata.files import atomic_path
from smolmix.order import Order, Sample, Samples
from smolmix.permutation import I64
from smolmix.sequence import Sequence, position_of

REPLACEMENTS = "replacements.parquet"
RETRACTED = "retracted.parquet"
_VERSION = {"format_version": "1"}
_REPLACEMENTS_SCHEMA: Any = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("pass", "shard", "window")),
    ],
    metadata=_VERSION,
)
_SPANS_SCHEMA: Any = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("id", pa.string()),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("shard", "begin", "end")),
        pa.field("pass", pa.int64()),
    ],
    metadata=_VERSION,
)


@dataclass(frozen=True, slots=True, order=True)
class Replacement:
    """One sample index and the window that it reads."""

    index: int
    source: str
    pass_: int
    shard: int
    window: int


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of a shard that the plan must not read: a retracted document, or a window read already."""

    source: str
    shard: int
    """Ordinal of the shard in its source."""
    begin: int
    end: int
    """Token offsets in the shard."""
    document: str | None = None
    """Id of the retracted document; None: tokens that stood in for others in an earlier plan."""
    pass_: int | None = None
    """The only pass in which they must not be read; None: every pass."""

    def windows(self, sequence_length: int, sizes: I64) -> range:
        """Return the windows of its shard that hold any of its tokens."""
        length = sequence_length + 1
        return range(self.begin // length, min((self.end - 1) // length + 1, int(sizes[self.shard])))


@dataclass(frozen=True, slots=True)
class Changes:
    """What a retraction adds to a plan."""

    replacements: tuple[Replacement, ...]
    """Sorted by index."""
    spans: tuple[Span, ...]
    """Sorted; everything that is not to be read again."""

    def digest(self) -> str:
        """Return the sha256 over the rows of both tables, whatever file they are in."""
        rows = [
            *((one.index, one.source, one.pass_, one.shard, one.window) for one in self.replacements),
            *((s.source, s.document, s.shard, s.begin, s.end, s.pass_) for s in self.spans),
        ]
        return hashlib.sha256("\n".join(map(repr, rows)).encode()).hexdigest()


class ReplacedOrder(Order):
    """The order of a plan with replacements."""

    def __init__(self, sequences: Listed[Sequence], replacements: Collection[Replacement]) -> None:
        """Build the order and index the replacements both ways."""
        super().__init__(sequences)
        self._rows = {row.index: row for row in replacements}
        self._by_place = {(r.source, r.pass_, r.shard, r.window): r.index for r in replacements}
        ordered = sorted(replacements)
        self.replaced = np.array([row.index for row in ordered], np.int64)
        numbers = [[self._number[r.source], r.pass_, r.shard, r.window] for r in ordered]
        self._columns = np.array(numbers, np.int64).reshape(-1, 4)

    def put_in(self, source: str) -> list[tuple[int, int, int, int]]:
        """Return (index, pass, shard, window) of the windows put in for others of a source."""
        rows = sorted(self._rows.values())
        return [(r.index, r.pass_, r.shard, r.window) for r in rows if r.source == source]

    def at(self, index: int) -> Sample:
        """Return the window at a sample index; see :meth:`Order.at`."""
        row = self._rows.get(index)
        return super().at(index) if row is None else Sample(row.source, row.pass_, row.shard, row.window)

    def at_many(self, indices: Any) -> Samples:
        """Return the windows at many sample indices; see :meth:`Order.at_many`."""
        found = super().at_many(indices)
        wanted = np.ascontiguousarray(indices, dtype=np.int64)
        place = np.searchsorted(self.replaced, wanted)
        place[place == self.replaced.size] = 0
        if self.replaced.size:
            hit = np.flatnonzero(self.replaced[place] == wanted)
            rows = self._columns[place[hit]]
            found.source[hit] = rows[:, 0]
            for number, column in enumerate((found.pass_, found.shard, found.window)):
                column[hit] = rows[:, number + 1]
        return found

    def index_of(self, source: str, pass_: int, shard: int, window: int) -> int:
        """Return the sample index at which a window is read; see :meth:`Order.index_of`."""
        if (index := self._by_place.get((source, pass_, shard, window))) is not None:
            return index
        index = super().index_of(source, pass_, shard, window)
        if index in self._rows:
            raise InputError(
                f"window {window:,} of shard {shard:,} of {source!r} is not read in pass {pass_:,}: it was "
                f"retracted; sample index {index:,} reads another window"
            )
        return index

    def first_indices(self, source: str) -> I64:
        """Return for each shard the first sample index at which it is opened; see :meth:`Order`."""
        first = super().first_indices(source)
        sequence = self.sequences[source]
        if sequence.sizes is None:
            return first
        for shard in np.flatnonzero(np.isin(first, self.replaced) & (first >= 0)).tolist():
            first[shard] = self._first_left(sequence, shard)
        for index, _, shard, _ in self.put_in(source):
            if first[shard] < 0 or index < first[shard]:
                first[shard] = index
        return first

    def _first_left(self, sequence: Sequence, shard: int) -> int:
        """Return the first index that reads a planned window of a shard and was not replaced; -1: none."""
        assert sequence.sizes is not None, "a source of known size"
        size = int(sequence.sizes[shard])
        last = (sequence.start + sequence.count - 1) // sequence.capacity
        for pass_ in range(sequence.start // sequence.capacity, last + 1):
            position = position_of(sequence.key, sequence.sizes.size, pass_, shard)
            begin = pass_ * sequence.capacity + int(sequence.table(pass_).begins[position]) - sequence.start
            j = np.arange(max(begin, 0), min(begin + size, sequence.count), dtype=np.int64)
            indices = self.indices_of_drawn(sequence.name, j)
            left = indices[~np.isin(indices, self.replaced)]
            if left.size:
                return int(left.min())
        return -1


def write_changes(changes: Changes, folder: Path) -> None:
    """Write ``replacements.parquet`` and ``retracted.parquet``: the same changes give the same bytes."""
    rows = changes.replacements
    columns = [
        [getattr(row, name) for row in rows] for name in ("index", "source", "pass_", "shard", "window")
    ]
    _write(pa.table(columns, schema=_REPLACEMENTS_SCHEMA), folder / REPLACEMENTS)
    names = ("source", "document", "shard", "begin", "end", "pass_")
    columns = [[getattr(span, name) for span in changes.spans] for name in names]
    _write(pa.table(columns, schema=_SPANS_SCHEMA), folder / RETRACTED)


def _write(table: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_changes(folder: Path, digest: str) -> Changes:
    """Read the changes beside a ``plan.json`` that names their digest.

    Raises:
        IntegrityError: a file is missing, unreadable, or not what the plan was locked with.
    """
    try:
        rows = pq.read_table(folder / REPLACEMENTS, schema=_REPLACEMENTS_SCHEMA).to_pylist()
        spans = pq.read_table(folder / RETRACTED, schema=_SPANS_SCHEMA).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(
            f"{folder}: the plan has a retraction, but its tables cannot be read ({error}); copy "
            f"{REPLACEMENTS} and {RETRACTED} again, or run `smolmix retract` again"
        ) from error
    changes = Changes(
        tuple(Replacement(r["index"], r["source"], r["pass"], r["shard"], r["window"]) for r in rows),
        tuple(Span(s["source"], s["shard"], s["begin"], s["end"], s["id"], s["pass"]) for s in spans),
    )
    if changes.digest() != digest:
        raise IntegrityError(
            f"{folder}: {REPLACEMENTS} or {RETRACTED} is not the one that the plan was locked with "
            f"(sha256 {changes.digest()[:12]}, the plan says {digest[:12]}); copy them again"
        )
    return changes
