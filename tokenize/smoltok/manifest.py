"""The token manifest: one row a finished shard (docs/formats.md)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.errors import IntegrityError
from smoldata.files import atomic_path
from smoltok.columns import numbers, strings

FORMAT_VERSION = 1
MANIFEST = "manifest.parquet"
CONVERSATIONS = "chatml"
"""How the code version begins of shards that hold conversations in ChatML, made outside this package."""

TOKEN_MANIFEST_SCHEMA: Any = pa.schema(
    [
        pa.field("format_version", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("text_bytes", pa.int64(), nullable=False),
        pa.field("text_characters", pa.int64(), nullable=False),
        pa.field("xxh3_128", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("index_xxh3_128", pa.string(), nullable=False),
        pa.field("metadata_xxh3_128", pa.string(), nullable=False),
        pa.field("docs_xxh3_128", pa.string(), nullable=False),
        pa.field("tokenizer", pa.string(), nullable=False),
        pa.field("tokenizer_sha256", pa.string(), nullable=False),
        pa.field("eos_id", pa.int64(), nullable=False),
        pa.field("token_width", pa.int64(), nullable=False),
        pa.field("vocab_size", pa.int64(), nullable=False),
        pa.field("validation_share", pa.string(), nullable=False),
        pa.field("input_path", pa.string(), nullable=False),
        pa.field("input_xxh3_128", pa.string(), nullable=False),
        pa.field("document_order", pa.string(), nullable=False),
        pa.field("code_version", pa.string(), nullable=False),
    ]
)

TRAIN_FIRST = {"train": 0, "validation": 1}

DOCS_SCHEMA: Any = pa.schema(
    [
        pa.field("begin", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
    ]
)
"""``.ds.docs.parquet``: one row an entry of the index."""


@dataclass(frozen=True, slots=True)
class ShardRow:
    """One row of the manifest: a shard that is complete on disk."""

    source: str
    split: str
    path: str
    bytes: int
    tokens: int
    documents: int
    text_bytes: int
    text_characters: int
    xxh3_128: str
    index_xxh3_128: str
    metadata_xxh3_128: str
    docs_xxh3_128: str
    tokenizer: str
    tokenizer_sha256: str
    eos_id: int
    token_width: int
    vocab_size: int
    validation_share: str
    input_path: str
    input_xxh3_128: str
    document_order: str
    code_version: str
    sha256: str = ""
    format_version: int = FORMAT_VERSION


def holds_conversations(folder: Path) -> bool:
    """Say whether a source's shards are conversations in ChatML, with no documents behind them."""
    return any(row.code_version.startswith(CONVERSATIONS) for row in read_manifest(folder))


def read_manifest(folder: Path) -> list[ShardRow]:
    """Return the finished shards of a source folder; none if it has no manifest. Raises IntegrityError."""
    path = folder / MANIFEST
    try:
        rows = pq.ParquetFile(path).read().to_pylist()
        return [ShardRow(**row) for row in rows]
    except FileNotFoundError:
        return []
    except (pa.ArrowException, TypeError) as error:
        raise IntegrityError(
            f"{path} is not a token manifest of version {FORMAT_VERSION} ({str(error).splitlines()[0]}); "
            "remove it and tokenize again"
        ) from error


def write_manifest(folder: Path, rows: list[ShardRow]) -> None:
    """Write the manifest, whole or not at all: train first, then validation, each by path."""
    ordered = sorted(rows, key=lambda row: (TRAIN_FIRST[row.split], row.path))
    columns = [
        _column([getattr(row, field.name) for row in ordered], field.type) for field in TOKEN_MANIFEST_SCHEMA
    ]
    table = pa.Table.from_arrays(columns, schema=TOKEN_MANIFEST_SCHEMA)
    with atomic_path(folder / MANIFEST) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _column(values: list[Any], kind: Any) -> Any:
    return strings(values) if kind == pa.string() else numbers(np.array(values, np.int64), kind)
