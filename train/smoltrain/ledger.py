"""What a run consumed, window by window, and the proof that it is what was planned.

A run's ledger is a folder of Parquet segments, ``steps-<first>-<end>.parquet`` (``end`` exclusive), with the
columns of docs/formats.md. A segment is written whole just before the checkpoint of its last step; resuming
at step k drops rows from step k on, because those steps run again. :func:`check_ledger` compares every row
with the plan's own arithmetic. Cost: about 15 bytes a window on disk; checking runs at the speed of the
plan's look-ups.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.errors import InputError, IntegrityError
from smoldata.files import atomic_path
from smoltrain.bundle import Bundle, Ints, Places

FORMAT_VERSION = 1
Table = Any
"""pyarrow ships no types."""

LEDGER_SCHEMA: Any = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("pass", pa.int64(), nullable=False),
        pa.field("shard", pa.int64(), nullable=False),
        pa.field("window", pa.int64(), nullable=False),
    ],
    metadata={"format_version": str(FORMAT_VERSION)},
)

_SEGMENT = re.compile(r"steps-(\d+)-(\d+)\.parquet")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a ledger: rows of the steps ``first`` to ``end`` - 1."""

    path: Path
    first: int
    end: int


def segments(folder: Path) -> list[Segment]:
    """Return the segments of a ledger in the order of their steps."""
    found = []
    for path in folder.glob("steps-*.parquet"):
        match = _SEGMENT.fullmatch(path.name)
        if match:
            found.append(Segment(path, int(match[1]), int(match[2])))
    return sorted(found, key=lambda segment: segment.first)


def write_segment(folder: Path, bundle: Bundle, first: int, consumed: Sequence[Places]) -> Path:
    """Write what the steps from ``first`` on consumed, one :class:`Places` a step; return the file."""
    places = _join(consumed)
    steps = np.repeat(np.arange(first, first + len(consumed)), [len(one.index) for one in consumed])
    sources = pa.DictionaryArray.from_arrays(places.source.astype(np.int32), pa.array(bundle.sources))
    table = pa.table(
        [steps, places.index, sources.cast(pa.string()), places.pass_, places.shard, places.window],
        schema=LEDGER_SCHEMA,
    )
    return _write(folder, table, first, first + len(consumed))


def truncate(folder: Path, step: int) -> None:
    """Drop all rows from ``step`` on: those steps will run again."""
    for segment in segments(folder):
        if segment.end <= step:
            continue
        if segment.first < step:
            table = pq.read_table(segment.path)
            _write(folder, table.filter(pa.compute.field("step") < step), segment.first, step)
        segment.path.unlink()


def _write(folder: Path, table: Table, first: int, end: int) -> Path:
    path = folder / f"steps-{first:07d}-{end:07d}.parquet"
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return path


def _join(parts: Sequence[Places]) -> Places:
    """Return columns one after another."""
    columns = [np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Places)]
    return Places(*columns)


@dataclass(frozen=True, slots=True)
class Proof:
    """A ledger that equals the plan's prefix: how far it goes."""

    steps: int
    windows: int
    windows_by_source: dict[str, int]


def check_ledger(folder: Path, bundle: Bundle) -> Proof:
    """Prove that the ledger in ``folder`` is exactly the first steps of the bundle's plan.

    Raises :class:`IntegrityError` naming the first row that differs, :class:`InputError` if there is no
    ledger.
    """
    found = segments(folder)
    if not found:
        raise InputError(
            f"{folder} holds no ledger segment; give the folder of a run made by `smoltrain train`"
        )
    due = 0
    counts = np.zeros(len(bundle.sources), np.int64)
    for segment in found:
        if segment.first != due:
            raise IntegrityError(
                f"{segment.path}: begins at step {segment.first}, but step {due} is due; "
                "a segment is missing or doubled: run the training again from its last checkpoint"
            )
        for table in _row_groups(segment):
            counts += _compare(segment, table, bundle, int(counts.sum()))
        due = segment.end
        if counts.sum() != due * bundle.batch_windows:
            raise IntegrityError(
                f"{segment.path}: the ledger has {counts.sum():,} windows up to step {due}, "
                f"the plan {due * bundle.batch_windows:,}"
            )
    by_source = {name: int(count) for name, count in zip(bundle.sources, counts, strict=True) if count}
    return Proof(due, int(counts.sum()), by_source)


def _row_groups(segment: Segment) -> Iterator[Table]:
    file = pq.ParquetFile(segment.path)
    if file.schema_arrow.remove_metadata() != LEDGER_SCHEMA.remove_metadata():
        raise IntegrityError(f"{segment.path}: not the columns of a ledger: {file.schema_arrow.names}")
    for number in range(file.num_row_groups):
        yield file.read_row_group(number)


def _compare(segment: Segment, table: Table, bundle: Bundle, first: int) -> Ints:
    """Compare rows with samples ``first``, ``first`` + 1, … of the plan; return windows by source."""
    index = np.arange(first, first + table.num_rows, dtype=np.int64)
    planned = bundle.places(index)
    names = np.asarray(bundle.sources, dtype=object)
    expected = {
        "step": index // bundle.batch_windows,
        "index": index,
        "source": names[planned.source],
        "pass": planned.pass_,
        "shard": planned.shard,
        "window": planned.window,
    }
    for column, values in expected.items():
        seen = table.column(column).to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(seen != values)
        if len(wrong):
            row = int(wrong[0])
            raise IntegrityError(
                f"{segment.path}: sample {index[row]} (step {index[row] // bundle.batch_windows}) has "
                f"{column} {seen[row]}, the plan says {values[row]}; the run did not follow this plan"
            )
    return np.bincount(planned.source, minlength=len(bundle.sources)).astype(np.int64)
