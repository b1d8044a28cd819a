"""The token manifest: one row a finished shard (docs/formats.md)."""

from typing import Any

import pyarrow as pa

FORMAT_VERSION = 1

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
