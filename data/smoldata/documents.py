"""The Documents contract: what every source becomes, and what the tokenizer reads."""

from typing import Any

import pyarrow as pa

FORMAT_VERSION = 1

DOCUMENT_SCHEMA: Any = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("path", pa.string()),
        pa.field("language", pa.string()),
        pa.field("license", pa.string()),
        pa.field("scores", pa.map_(pa.string(), pa.float64())),
        pa.field("metadata", pa.string()),
    ]
)

DICTIONARY_COLUMNS = ["source", "path", "language", "license"]
"""Columns of few values, which Parquet should gather in dictionaries. A text never repeats: gathered, a row
group is one page of it, and slower to read by a quarter."""

DOCUMENT_MANIFEST_SCHEMA: Any = pa.schema(
    [
        pa.field("format_version", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("text_bytes", pa.int64(), nullable=False),
        pa.field("text_characters", pa.int64(), nullable=False),
        pa.field("read", pa.int64(), nullable=False),
        pa.field("kept", pa.int64(), nullable=False),
        pa.field("dropped", pa.map_(pa.string(), pa.int64()), nullable=False),
        pa.field("xxh3_128", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("input_hash", pa.string(), nullable=False),
        pa.field("code_version", pa.string(), nullable=False),
    ]
)
