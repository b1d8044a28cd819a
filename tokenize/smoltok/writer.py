"""Encoded batches → one token shard: four files that appear whole or not at all, hashed as they are written.

Ids go straight to a temporary ``.ds``; a shuffled shard goes to another temporary file first and is gathered
from there when its length is known. The sidecars get their final names first and ``.ds`` last, so that a
trainer's ``*.ds`` never meets a shard without its index. Memory: one batch and 8 bytes a document; a shuffle
holds the document ids too, about 100 bytes a document.
"""

import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from smoldata.files import atomic_path, xxh3_128
from smoltok.blocks import BlockDigest
from smoltok.columns import int64s, repeated
from smoltok.manifest import DOCS_SCHEMA, FORMAT_VERSION
from smoltok.ordering import DocumentOrder, Entries, arrange
from smoltok.shards import DOCS, INDEX, METADATA, metadata_text
from smoltok.tokenizer import Tokenizer

_DOCS_ROWS = 1 << 17
"""Rows a row group: fixed, so that the bytes do not depend on how the documents were batched."""

_GATHER_TOKENS = 1 << 20


@dataclass(frozen=True, slots=True)
class Batch:
    """Some documents of one split, encoded."""

    ids: NDArray[np.unsignedinteger]
    """All ids, the EOS of each document included [tokens]."""
    ends: NDArray[np.int64]
    """Where each document ends in ``ids`` [documents]; what was added by ``extend`` counts as before them."""
    names: Any
    """Document ids, an Arrow string array [documents]."""
    rows: NDArray[np.int64]
    """Rows in the document file [documents]."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a shard is made from; recorded beside its documents."""

    source: str
    split: str
    file: str
    tokenizer: Tokenizer
    order: DocumentOrder


@dataclass(frozen=True, slots=True)
class Written:
    """What a finished shard weighs."""

    bytes: int
    tokens: int
    documents: int
    xxh3_128: str
    index_xxh3_128: str
    metadata_xxh3_128: str
    docs_xxh3_128: str


@contextmanager
def shard_writer(path: Path, origin: Origin) -> Iterator["ShardWriter"]:
    """Yield a writer for the shard ``path``; its files get their names when the block ends well."""
    index, metadata, docs = (path.with_name(path.name + suffix) for suffix in (INDEX, METADATA, DOCS))
    with (
        atomic_path(path) as ds_file,
        atomic_path(index) as index_file,
        atomic_path(metadata) as metadata_file,
        atomic_path(docs) as docs_file,
    ):
        kind = ShardWriter if origin.order.seed is None else ShufflingWriter
        with kind(origin, ds_file, docs_file) as writer:
            yield writer
            writer.finish()
        index_file.write_bytes(writer.index())
        tokenizer = origin.tokenizer
        metadata_file.write_text(metadata_text(tokenizer.name, tokenizer.token_width, writer.tokens))
        writer.written = Written(
            bytes=ds_file.stat().st_size,
            tokens=writer.tokens,
            documents=writer.documents,
            xxh3_128=writer.hexdigest(),
            index_xxh3_128=xxh3_128(index_file),
            metadata_xxh3_128=xxh3_128(metadata_file),
            docs_xxh3_128=xxh3_128(docs_file),
        )


class ShardWriter:
    """Writes documents in the order in which they are appended."""

    written: Written

    def __init__(self, origin: Origin, ds_file: Path, docs_file: Path) -> None:
        self._origin = origin
        self.tokens = 0
        self.documents = 0
        self._ends: list[NDArray[np.int64]] = []
        self._digest = BlockDigest()
        self._file: BinaryIO = ds_file.open("wb")
        self._docs: Any = pq.ParquetWriter(docs_file, docs_schema(origin), compression="zstd")
        self._held: list[tuple[Any, tuple[NDArray[np.int64], ...]]] = []
        self._held_rows = 0

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files, whatever happened."""
        self._file.close()
        self._docs.add_key_value_metadata({"blocks_xxh3_64": self._digest.blocks()})
        self._docs.close()

    def extend(self, ids: NDArray[np.unsignedinteger]) -> None:
        """Add ids of a document that goes on: the first of the next batch."""
        self._write(ids)

    def append(self, batch: Batch) -> None:
        """Add documents at the end."""
        ends = batch.ends + self.tokens
        begin = np.concatenate([[self.tokens], ends[:-1]])
        self._write(batch.ids)
        self._ends.append(ends)
        self._describe(batch.names, begin, ends, batch.rows, np.zeros(len(ends), np.int64))
        self.tokens = int(ends[-1])
        self.documents += len(ends)

    def finish(self) -> None:
        """Write what is still held."""
        self._flush(self._held_rows)

    def index(self) -> bytes:
        """Return the bytes of ``.ds.index``."""
        return np.concatenate(self._ends).astype("<u8").tobytes()

    def hexdigest(self) -> str:
        """Return the xxh3-128 of the ids."""
        return self._digest.hexdigest()

    def _write(self, ids: NDArray[np.unsignedinteger]) -> None:
        data = np.ascontiguousarray(ids).view(np.uint8).data
        self._digest.update(data)
        self._file.write(data)

    def _describe(self, names: Any, *columns: NDArray[np.int64]) -> None:
        """Hold rows of ``.docs.parquet`` (begin, end, row, offset); write them when they fill a row group."""
        self._held.append((names, columns))
        self._held_rows += len(names)
        if self._held_rows >= _DOCS_ROWS:
            self._flush(self._held_rows - self._held_rows % _DOCS_ROWS)

    def _flush(self, count: int) -> None:
        """Write so many of the held rows, in one piece: how they were batched must not show in the bytes."""
        if not count:
            return
        names = pa.concat_arrays([names for names, _ in self._held])
        columns = [np.concatenate(parts) for parts in zip(*(parts for _, parts in self._held), strict=True)]
        begin, end, row, offset = (int64s(column[:count]) for column in columns)
        files = repeated(self._origin.file, count)
        arrays = [begin, end, names.slice(0, count), files, row, offset]
        table = pa.Table.from_arrays(arrays, schema=docs_schema(self._origin))
        self._docs.write_table(table, row_group_size=_DOCS_ROWS)
        self._held = [(names.slice(count), tuple(column[count:] for column in columns))]
        self._held_rows -= count


class ShufflingWriter(ShardWriter):
    """Holds the documents in a scratch file until their number is known, then writes them in their order."""

    def __init__(self, origin: Origin, ds_file: Path, docs_file: Path) -> None:
        super().__init__(origin, ds_file, docs_file)
        # Unlinked at once: it is gone with the process, however that ends.
        self._scratch: BinaryIO = tempfile.TemporaryFile(dir=ds_file.parent)  # noqa: SIM115 - closed in __exit__
        self._names: list[Any] = []
        self._rows: list[NDArray[np.int64]] = []

    def __exit__(self, *_: object) -> None:
        """Close the files, whatever happened."""
        self._scratch.close()
        super().__exit__()

    def extend(self, ids: NDArray[np.unsignedinteger]) -> None:
        """Add ids of a document that goes on: the first of the next batch."""
        self._scratch.write(np.ascontiguousarray(ids).view(np.uint8).data)

    def append(self, batch: Batch) -> None:
        """Add documents; their place is decided at the end."""
        self.extend(batch.ids)
        self._ends.append(batch.ends + self.tokens)
        self._names.append(batch.names)
        self._rows.append(batch.rows)
        self.tokens = int(self._ends[-1][-1])

    def finish(self) -> None:
        """Gather the documents in their order."""
        entries = arrange(np.concatenate(self._ends), self._origin.order)
        ends = np.cumsum(entries.length)
        self._gather(entries)
        names = pa.concat_arrays(self._names).take(int64s(entries.document))
        rows = np.concatenate(self._rows)[entries.document]
        self._describe(names, ends - entries.length, ends, rows, entries.offset)
        self._flush(self._held_rows)
        self._ends, self.tokens = [ends], int(ends[-1])
        self.documents = len(np.unique(entries.document))

    def _gather(self, entries: Entries) -> None:
        """Copy the pieces from the scratch file, some megabytes at a time."""
        self._scratch.flush()
        with mmap.mmap(self._scratch.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            ids = np.frombuffer(mapped, self._origin.tokenizer.dtype)
            ends = np.cumsum(entries.length)
            first = 0
            while first < len(ends):
                written = int(ends[first - 1]) if first else 0
                last = max(first + 1, int(np.searchsorted(ends, written + _GATHER_TOKENS, side="right")))
                spans = zip(
                    entries.begin[first:last].tolist(), entries.length[first:last].tolist(), strict=True
                )
                self._write(np.concatenate([ids[begin : begin + length] for begin, length in spans]))
                first = last
            del ids


def docs_schema(origin: Origin) -> Any:
    """Return the schema of ``.docs.parquet`` with what a reader of the shard must know."""
    tokenizer = origin.tokenizer
    known: dict[str, object] = {
        "format_version": FORMAT_VERSION,
        "source": origin.source,
        "split": origin.split,
        "tokenizer": tokenizer.name,
        "tokenizer_sha256": tokenizer.sha256,
        "eos_id": tokenizer.eos_id,
        "token_width": tokenizer.token_width,
        "vocab_size": tokenizer.vocab_size,
        "bos_id": "" if tokenizer.bos_id is None else tokenizer.bos_id,
    }
    return DOCS_SCHEMA.with_metadata({key: str(value) for key, value in known.items()})
