"""Documents in: a source's manifest and its Parquet files → batches of texts of a bounded size.

Reads the two columns that tokenization needs. A text that is missing or not UTF-8 is refused with the file
and the row: the documents contract promises neither can happen. Cost: about 16 MB of text in memory at a
time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from smoldata.errors import SourceError
from smoltok.manifest import MANIFEST

_BATCH_BYTES = 8 << 20
_FEWEST_ROWS, _MOST_ROWS = 16, 1 << 16


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
    texts: list[str]
    text_bytes: NDArray[np.int64]
    """UTF-8 bytes of each text."""
    text_characters: NDArray[np.int64]
    """Unicode scalars of each text."""


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
    """Yield a file's documents in batches of about 8 MB of text. Raises SourceError naming file and row."""
    row = 0
    try:
        with pq.ParquetFile(path, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(
                batch_size=_rows_per_batch(file), columns=["id", "text"], use_threads=False
            ):
                for part in _bounded(batch):
                    yield _texts(part, row, path)
                    row += part.num_rows
    except (pa.ArrowException, OSError, KeyError) as error:
        if isinstance(error, SourceError):
            raise
        what = str(error).splitlines()[0]
        raise SourceError(
            f"cannot read documents from {path} after row {row}: {what}; run the data step again"
        ) from error


def _rows_per_batch(file: Any) -> int:
    metadata = file.metadata
    total = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    rows = _BATCH_BYTES * metadata.num_rows // max(total, 1)
    return int(np.clip(rows, _FEWEST_ROWS, _MOST_ROWS))


def _bounded(batch: Any) -> Iterator[Any]:
    """Cut a batch whose documents are longer than the file's average into parts of at most 16 MB."""
    lengths = np.asarray(pc.fill_null(pc.binary_length(batch.column("text")), 0))
    ends = np.cumsum(lengths, dtype=np.int64)
    first = 0
    while first < batch.num_rows:
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + 2 * _BATCH_BYTES, side="right")))
        yield batch.slice(first, last - first)
        first = last


def _texts(batch: Any, first_row: int, path: Path) -> Texts:
    column = batch.column("text")
    try:
        texts = column.to_pylist()
    except UnicodeDecodeError:
        texts = None
    if texts is None or column.null_count:
        row, what = _first_bad(column)
        raise SourceError(f"{path}, row {first_row + row}: the text {what}; run the data step again")
    return Texts(
        first_row=first_row,
        names=batch.column("id"),
        texts=texts,
        text_bytes=np.asarray(pc.binary_length(column), np.int64),
        text_characters=np.asarray(pc.utf8_length(column), np.int64),
    )


def _first_bad(column: Any) -> tuple[int, str]:
    for row, value in enumerate(column):
        try:
            if value.as_py() is None:
                return row, "is missing"
        except UnicodeDecodeError as error:
            return row, f"is not UTF-8 at byte {error.start}"
    raise AssertionError("a bad row was seen before")
