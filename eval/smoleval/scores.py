"""Scores as Parquet: each row names its task and version, its data, its checkpoint and its settings.

The format is ours (format_version 1); ``smoleval`` writes it, the report and anyone with SQL reads it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.files import atomic_path

FORMAT_VERSION = 1

SCORE_SCHEMA: Any = pa.schema(
    [
        pa.field("format_version", pa.int32(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("task_version", pa.int64(), nullable=False),
        pa.field("subset", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("standard_error", pa.float64()),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("data_hash", pa.string(), nullable=False),
        pa.field("checkpoint", pa.string(), nullable=False),
        pa.field("checkpoint_hash", pa.string(), nullable=False),
        pa.field("settings", pa.string(), nullable=False),
        pa.field("code_version", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Score:
    """One number of one task on one subset of its data."""

    task: str
    task_version: int
    subset: str
    """A source, or ``(mixture)``: the sources by their exact planned weights."""
    metric: str
    value: float | None
    standard_error: float | None
    """Over documents; None where there is only one."""
    documents: int
    tokens: int
    """Labels scored."""
    bytes: int
    """UTF-8 bytes of those labels; 0 where the vocabulary is not byte-level."""
    data_hash: str
    checkpoint: str
    checkpoint_hash: str
    settings: str
    """JSON."""
    code_version: str
    format_version: int = FORMAT_VERSION


def write_scores(scores: Sequence[Score], path: Path) -> None:
    """Write scores, whole or not at all."""
    table = pa.Table.from_pylist([asdict(score) for score in scores], schema=SCORE_SCHEMA)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
