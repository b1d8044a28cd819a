"""Token shards, opened: four files → memory-mapped ids, document ends and document ids.

A shard is datatrove's three files (``.ds``, ``.ds.index``, ``.ds.metadata``) and our ``.ds.docs.parquet``
(docs/formats.md). Opening checks that they agree on how many tokens there are and that the ends rise; it
reads the index and the metadata, not the tokens. Cost of opening: 8 bytes a document; of reading: only what
is touched.
"""

import contextlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoldata.errors import IntegrityError

INDEX, METADATA, DOCS = ".index", ".metadata", ".docs.parquet"
SIDECARS = (INDEX, METADATA, DOCS)
_WIDTHS = (2, 4)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The three lines of ``.ds.metadata``; the third is for people."""

    tokenizer: str
    token_width: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Shard:
    """An open token shard."""

    path: Path
    """The ``.ds`` file."""
    metadata: Metadata
    ids: NDArray[np.unsignedinteger]
    """All ids, uint16 or uint32, memory-mapped [tokens]."""
    ends: NDArray[np.uint64]
    """Where each entry ends [entries]; its EOS is inside."""

    def document_ids(self) -> list[str]:
        """Return the document id of each entry (from ``.docs.parquet``)."""
        ids: list[str] = self.docs(["id"]).column("id").to_pylist()
        return ids

    def docs(self, columns: list[str] | None = None) -> Any:
        """Return ``.docs.parquet``, one row an entry of the index, as Arrow. Raises IntegrityError."""
        table = read_docs(self.path, columns)
        if table.num_rows != len(self.ends):
            raise IntegrityError(
                f"{self.path}{DOCS} has {table.num_rows:,} rows, the index {len(self.ends):,}; "
                "tokenize the file again"
            )
        return table

    def entry(self, number: int) -> NDArray[np.unsignedinteger]:
        """Return the ids of one entry of the index, its EOS included."""
        begin = int(self.ends[number - 1]) if number else 0
        return self.ids[begin : int(self.ends[number])]

    def entry_at(self, token: int) -> int:
        """Return which entry of the index holds a token offset."""
        if not 0 <= token < len(self.ids):
            raise IndexError(f"token {token} is outside {self.path}, which has {len(self.ids)}")
        return int(np.searchsorted(self.ends, token, side="right"))


def open_shard(path: str | Path) -> Shard:
    """Open a ``.ds`` file and the files beside it, without reading the tokens. Raises IntegrityError."""
    path = Path(path)
    metadata = read_metadata(path)
    size, wanted = _size(path), metadata.tokens * metadata.token_width
    if size != wanted:
        raise IntegrityError(
            f"{path} has {size:,} bytes; its metadata says {metadata.tokens:,} tokens of "
            f"{metadata.token_width} bytes, {wanted:,}; it was cut or changed: tokenize the file again"
        )
    ends = read_ends(path)
    last = int(ends[-1]) if len(ends) else 0
    if last != metadata.tokens or (len(ends) > 1 and bool(np.any(ends[1:] < ends[:-1]))):
        raise IntegrityError(
            f"{path}{INDEX} ends at token {last:,}, or its ends do not rise; its metadata says "
            f"{metadata.tokens:,} tokens: tokenize the file again"
        )
    return Shard(path, metadata, _map(path, metadata), ends)


def read_shard(path: str | Path) -> Iterator[tuple[str, list[int]]]:
    """Yield (document id, ids without the EOS) for each entry of a shard, in order. Raises IntegrityError."""
    shard = open_shard(path)
    eos = shard_eos(shard.path)
    for number, name in enumerate(shard.document_ids()):
        ids = shard.entry(number).tolist()
        yield name, ids[:-1] if ids and ids[-1] == eos else ids


def shard_eos(path: Path) -> int:
    """Return the end-of-document id that ``.docs.parquet`` records. Raises IntegrityError."""
    with _readable(path.with_name(path.name + DOCS)) as docs:
        import pyarrow.parquet as pq

        recorded = (pq.read_schema(docs).metadata or {}).get(b"eos_id", b"")
    if not recorded.isdigit():
        raise IntegrityError(f"{docs} records no eos_id in its metadata; tokenize the file again")
    return int(recorded)


def read_docs(path: Path, columns: list[str] | None = None) -> Any:
    """Return ``.docs.parquet`` of a ``.ds`` file as an Arrow table. Raises IntegrityError."""
    with _readable(path.with_name(path.name + DOCS)) as docs:
        import pyarrow.parquet as pq

        # One file, not a dataset: folders named key=value must not add columns.
        return pq.ParquetFile(docs).read(columns=columns)


def read_metadata(path: Path) -> Metadata:
    """Read ``.ds.metadata``. Raises IntegrityError."""
    file = path.with_name(path.name + METADATA)
    with _readable(file):
        lines = file.read_bytes().decode("utf-8", "replace").split("\n")
    name, bar, width = lines[0].rpartition("|")
    known = bar and name and width.isdigit() and int(width) in _WIDTHS
    if not known or len(lines) < 2 or not (lines[1].isascii() and lines[1].isdigit()):  # noqa: PLR2004 - two lines
        raise IntegrityError(
            f"{file} must begin '<tokenizer>|<2 or 4>' and a token count, it says {lines[0][:80]!r}; "
            "tokenize the file again"
        )
    return Metadata(name, int(width), int(lines[1]))


def metadata_text(tokenizer: str, token_width: int, tokens: int) -> str:
    """Return datatrove's three lines: name and width, count, count for people."""
    import humanize

    return f"{tokenizer}|{token_width}\n{tokens}\n{humanize.metric(tokens, unit='T')}"


def read_ends(path: Path) -> NDArray[np.uint64]:
    """Read ``.ds.index``. Raises IntegrityError."""
    file = path.with_name(path.name + INDEX)
    with _readable(file):
        data = file.read_bytes()
    if len(data) % 8:
        raise IntegrityError(f"{file} has {len(data):,} bytes, not a multiple of 8; tokenize the file again")
    return np.frombuffer(data, "<u8")


def _map(path: Path, metadata: Metadata) -> NDArray[np.unsignedinteger]:
    dtype = f"<u{metadata.token_width}"
    if metadata.tokens == 0:
        return np.empty(0, dtype)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, dtype)


def _size(path: Path) -> int:
    with _readable(path):
        return path.stat().st_size


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[Path]:
    """Turn a missing or damaged file into an IntegrityError that names it."""
    import pyarrow as pa

    try:
        yield path
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing; tokenize the file again") from error
    except pa.ArrowException as error:
        raise IntegrityError(
            f"{path} is damaged ({str(error).splitlines()[0]}); tokenize the file again"
        ) from error
