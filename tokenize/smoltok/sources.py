"""Documents in: a source's manifest and its Parquet files → batches of texts of a bounded size.

Reads the two columns that tokenization needs. A text that is missing or not UTF-8 is refused with the file
and the row: the documents contract promises neither can happen. Cost: about 32 MB of text in memory at a
time.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from smoldata.errors import SourceError
from smoltok.manifest import MANIFEST

LONG_BYTES = 32 << 20
"""A document longer than this is encoded in pieces: as a string it may weigh four times as much."""
SEAM = re.compile(rb".*[A-Za-z](?=[ \n])", re.DOTALL)
"""Everything up to the last ASCII letter before a space or a line feed."""
_BATCH_BYTES = 2 << 20
"""A batch, its ids and the copy that is written stay in the processor's cache; a call costs nothing yet."""
_MOST_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """One row of the documents manifest."""

    path: str
    documents: int
    text_bytes: int
    xxh3_128: str


@dataclass(frozen=True, slots=True)
class Texts:
    """Some consecutive documents of a file."""

    first_row: int
    names: Any
    """Document ids, an Arrow string array."""
    column: Any
    """The texts, an Arrow string array without nulls."""
    path: Path
    """The file, for errors."""

    def __len__(self) -> int:
        """Return how many documents there are."""
        return len(self.column)

    @property
    def is_long(self) -> bool:
        """Whether this is one document, too long to be held several times over."""
        return len(self) == 1 and int(self.text_bytes()[0]) > LONG_BYTES

    def texts(self) -> list[str]:
        """Return the texts. Raises SourceError naming file and row if one is not UTF-8."""
        try:
            texts: list[str] = self.column.to_pylist()
        except UnicodeDecodeError:
            row, what = _first_bad(self.column)
            raise self.bad_row(row, what) from None
        return texts

    def pieces(self) -> Iterator[str]:
        """Yield a long document in pieces cut at seams (:func:`smoltok.encoding.has_seams`)."""
        begin, end = _offsets(self.column).tolist()
        data = memoryview(self.column.buffers()[2])
        size = LONG_BYTES // 2
        while begin < end:
            seam = SEAM.match(data[begin : begin + size]) if begin + size < end else None
            if seam is None and begin + size < end:
                size *= 2
                continue
            cut = begin + (seam.end() if seam else size)
            try:
                yield str(data[begin : min(cut, end)], "utf-8")
            except UnicodeDecodeError as error:
                raise self.bad_row(0, f"is not UTF-8 at byte {begin + error.start}") from None
            begin, size = cut, LONG_BYTES // 2

    def bad_row(self, row: int, what: str) -> SourceError:
        """Return the error for a row of this batch."""
        return SourceError(
            f"{self.path}, row {self.first_row + row}: the text {what}; run the data step again"
        )

    def text_bytes(self) -> NDArray[np.int64]:
        """Return the UTF-8 bytes of each text."""
        return np.diff(_offsets(self.column)).astype(np.int64)

    def digests(self) -> list[int]:
        """Return the xxh3-64 of each text's UTF-8, read in place: hashing a ``str`` would encode it first."""
        offsets, data = _offsets(self.column).tolist(), memoryview(self.column.buffers()[2] or b"")
        digest = xxhash.xxh3_64_intdigest
        return [digest(data[begin:end]) for begin, end in pairwise(offsets)]


def document_files(folder: Path) -> list[DocumentFile]:
    """Return the files of a source's documents folder, from its manifest. Raises SourceError."""
    columns = ["path", "documents", "text_bytes", "xxh3_128"]
    try:
        rows = pq.ParquetFile(folder / MANIFEST).read(columns=columns).to_pylist()
        files = [DocumentFile(**row) for row in rows]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(
            f"no documents in {folder}: {MANIFEST} is missing; run the data step first"
        ) from error
    except (pa.ArrowException, TypeError) as error:
        what = str(error).splitlines()[0]
        raise SourceError(
            f"{folder / MANIFEST} is not a documents manifest ({what}); run the data step again"
        ) from error
    if not sum(file.documents for file in files):
        raise SourceError(
            f"{folder} holds no documents ({len(files)} files); check what the data step dropped"
        )
    return files


def read_texts(path: Path) -> Iterator[Texts]:
    """Yield a file's documents in batches of about 2 MB of text. Raises SourceError naming file and row."""
    row = 0
    try:
        with _open(path) as file:
            for group in range(file.num_row_groups):
                # Group by group: a batch over several would hold the longest documents of all of them.
                for batch in file.iter_batches(
                    row_groups=[group],
                    batch_size=_rows_per_batch(file.metadata.row_group(group)),
                    columns=["id", "text"],
                    use_threads=False,
                ):
                    yield from _bounded(batch, row, path)
                    row += batch.num_rows
    except (pa.ArrowException, OSError, KeyError) as error:
        if isinstance(error, SourceError):
            raise
        what = str(error).splitlines()[0]
        raise SourceError(
            f"cannot read documents from {path} after row {row}: {what}; run the data step again"
        ) from error


def _open(path: Path) -> Any:
    """Open a Parquet file whose batches come from an allocator that keeps the memory it gets back.

    Arrow's default one returns memory after 10 ms, about one call of the engine: every batch would then be
    paid with fresh page faults, a quarter of the reading time.
    """
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        return pq.ParquetFile(path, buffer_size=1 << 20)
    finally:
        pa.set_memory_pool(before)


def _rows_per_batch(group: Any) -> int:
    rows: int = _BATCH_BYTES * group.num_rows // max(group.total_byte_size, 1)
    return min(max(rows, 1), _MOST_ROWS)


def _bounded(batch: Any, first_row: int, path: Path) -> Iterator[Texts]:
    """Cut a batch whose documents are longer than the file's average into parts of at most 4 MB."""
    names, column = (_as_strings(batch.column(name)) for name in ("id", "text"))
    ends = _offsets(column)[1:]
    first = 0
    while first < len(column):
        before = int(ends[first - 1]) if first else int(_offsets(column)[0])
        last = max(first + 1, int(np.searchsorted(ends, before + 2 * _BATCH_BYTES, side="right")))
        part = Texts(
            first_row + first, names.slice(first, last - first), column.slice(first, last - first), path
        )
        if part.column.null_count:
            raise part.bad_row(*_first_bad(part.column))
        yield part
        first = last


def _as_strings(column: Any) -> Any:
    # Not for nothing: the first cast of a process imports pyarrow.compute.
    return column if column.type == pa.string() else column.cast(pa.string(), safe=False)


def _offsets(column: Any) -> NDArray[np.int32]:
    """Return where each text begins in the column's buffer, and where the last one ends [texts + 1]."""
    first = column.offset
    return np.frombuffer(column.buffers()[1], np.int32)[first : first + len(column) + 1]


def _first_bad(column: Any) -> tuple[int, str]:
    for row, value in enumerate(column):
        try:
            if value.as_py() is None:
                return row, "is missing"
        except UnicodeDecodeError as error:
            return row, f"is not UTF-8 at byte {error.start}"
    raise AssertionError("a bad row was seen before")
