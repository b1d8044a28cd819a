"""The shards of a plan as one Arrow table, sorted by (source, ordinal): ``shards.parquet``.

Columns only, no Python object a shard: a million shards take about a second to lay out, write and hash.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.errors import InputError
from smoldata.files import atomic_path
from smolmix.permutation import I64
from smolmix.supply import SourceSupply

SHARDS_SCHEMA: Any = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("path", pa.string()),
        # Null tokens and windows: a virtual shard of unknown size.
        pa.field("tokens", pa.int64()),
        pa.field("documents", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("windows", pa.int64()),
        pa.field("xxh3_128", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("virtual", pa.bool_(), nullable=False),
    ]
)


def shard_table(sources: Iterable[SourceSupply], sequence_length: int) -> Any:
    """Return the table of the shards of these sources at a sequence length."""
    ordered = sorted(sources, key=lambda source: source.name)
    tables = [_source_table(source, sequence_length) for source in ordered]
    return pa.concat_tables(tables) if tables else SHARDS_SCHEMA.empty_table()


def _source_table(source: SourceSupply, sequence_length: int) -> Any:
    sizes = source.sizes(sequence_length)
    rows = 1 if source.tokens is None else int(source.tokens.size)
    nulls = pa.nulls(rows, pa.int64())
    empty = pa.repeat(pa.scalar(""), rows)
    known = {
        "source": pa.repeat(pa.scalar(source.name), rows),
        "ordinal": pa.array(np.arange(rows, dtype=np.int64)),
        "path": pa.nulls(rows, pa.string()),
        "tokens": nulls if source.tokens is None else pa.array(source.tokens),
        "documents": nulls,
        "bytes": nulls,
        "windows": nulls if sizes is None else pa.array(sizes),
        "xxh3_128": empty,
        "sha256": empty,
        "virtual": pa.repeat(pa.scalar(source.virtual), rows),
    }
    columns = {**known, **source.files}
    return pa.table([columns[name] for name in SHARDS_SCHEMA.names], schema=SHARDS_SCHEMA)


def shards_digest(source: SourceSupply) -> str:
    """Return the sha256 over what an order takes from a source's shards: their tokens and content hashes.

    Paths are left out: a plan copied into a bundle keeps its lock.
    """
    digest = hashlib.sha256()
    if source.tokens is not None:
        digest.update(np.ascontiguousarray(source.tokens, "<i8").tobytes())
    if "xxh3_128" in source.files:
        for part in _text_bytes(source.files["xxh3_128"]):
            digest.update(part)
    return digest.hexdigest()


def _text_bytes(column: Any) -> tuple[bytes, bytes]:
    """Return the lengths of the texts of a column and the texts, as bytes: no Python object a row."""
    if not len(column):
        return b"", b""
    column = column.cast(pa.large_string())
    array = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, "<i8", len(array) + 1, array.offset * 8)
    text = memoryview(data)[int(ends[0]) : int(ends[-1])] if data is not None else b""
    return np.diff(ends).tobytes(), bytes(text)


def write_shards(table: Any, path: Path) -> None:
    """Write ``shards.parquet``: the same table gives the same bytes."""
    repeated = ["source", "sha256"]
    if table.column("path").null_count == table.num_rows:  # virtual: equal sizes, no hashes
        repeated += ["path", "xxh3_128", "tokens", "windows"]
    with atomic_path(path) as temporary:
        # Groups of 65,536 rows: the catalog's look-ups read a million rows on every core.
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            use_dictionary=repeated,
            column_encoding={"ordinal": "DELTA_BINARY_PACKED"},
            row_group_size=1 << 16,
        )


def read_columns(path: Path, names: Collection[str]) -> Any:
    """Return columns of a ``shards.parquet``.

    Raises:
        InputError: the file is missing or cannot be read.
    """
    try:
        return pq.read_table(path, columns=list(names), read_dictionary=["source"], memory_map=True)
    except FileNotFoundError as error:
        raise InputError(f"there is no {path}: the plan beside it is not whole; plan again") from error
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path}: {error}; plan again") from error


def windows_by_source(table: Any) -> dict[str, I64 | None]:
    """Return the windows of each shard by source; None: unknown size."""
    windows = table.column("windows").fill_null(-1).to_numpy()
    found: dict[str, I64 | None] = {}
    for name, begin, end in _runs(table):
        sizes = np.ascontiguousarray(windows[begin:end], np.int64)
        found[name] = None if int(sizes[0]) < 0 else sizes
    return found


def tokens_by_source(table: Any) -> dict[str, int | None]:
    """Return the tokens of each source; None: unknown size."""
    tokens = table.column("tokens").fill_null(-1).to_numpy()
    return {name: None if int(tokens[b]) < 0 else int(tokens[b:e].sum()) for name, b, e in _runs(table)}


def tokens_and_windows(table: Any) -> dict[str, tuple[I64, I64]]:
    """Return tokens and windows of each shard by source; sources of unknown size are left out."""
    tokens, windows = (table.column(name).fill_null(-1).to_numpy() for name in ("tokens", "windows"))
    return {name: (tokens[b:e], windows[b:e]) for name, b, e in _runs(table) if int(tokens[b]) >= 0}


def identities_by_source(table: Any) -> dict[str, tuple[list[str], list[int | None], list[int | None]]]:
    """Return content hashes, tokens and bytes of each source's shards, in ordinal order."""
    columns = [table.column(name) for name in ("xxh3_128", "tokens", "bytes")]
    return {
        name: (columns[0][b:e].to_pylist(), columns[1][b:e].to_pylist(), columns[2][b:e].to_pylist())
        for name, b, e in _runs(table)
    }


def _runs(table: Any) -> Iterator[tuple[str, int, int]]:
    """Yield (source, first row, row after the last); the table is sorted by source."""
    column = table.column("source")
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries().combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    codes = column.indices.to_numpy(zero_copy_only=False)
    names = column.dictionary.to_pylist()
    cuts = (np.flatnonzero(np.diff(codes)) + 1).tolist()
    bounds = [0, *cuts, codes.size] if codes.size else [0]
    for begin, end in pairwise(bounds):
        yield names[codes[begin]], begin, end
