"""Rows -> a raw file in a format that the reader knows: whole or absent, the same bytes each time."""

import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smoldata.files import atomic_path

_ZSTD_LEVEL = 3
_GZIP_LEVEL = 3


def write_rows(path: Path, rows: Sequence[dict[str, Any]], format_: str, floats: Sequence[str] = ()) -> None:
    """Write ``rows`` (all with the same keys) as ``parquet``, ``jsonl`` or ``json``, also ``.gz``, ``.zst``.

    ``floats`` names columns of numbers, which may be null in every row.
    """
    with atomic_path(path) as temporary:
        if format_ == "parquet":
            _write_parquet(temporary, rows, floats)
        else:
            temporary.write_bytes(_compressed(_lines(rows), format_))


def _lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def _compressed(data: bytes, format_: str) -> bytes:
    if format_.endswith(".gz"):
        buffer = io.BytesIO()
        # No name and no time in the header: the same rows give the same bytes.
        with gzip.GzipFile(
            filename="", mode="wb", fileobj=buffer, compresslevel=_GZIP_LEVEL, mtime=0
        ) as file:
            file.write(data)
        return buffer.getvalue()
    if format_.endswith(".zst"):
        import zstandard

        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data)
    return data


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]], floats: Sequence[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = []
    for name in rows[0]:
        is_list = any(isinstance(row[name], list) for row in rows)
        kind = pa.float64() if name in floats else pa.list_(pa.string()) if is_list else pa.string()
        fields.append(pa.field(name, kind))
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(fields)), path, compression="zstd")
