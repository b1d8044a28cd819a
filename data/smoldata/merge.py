"""Staged tasks of a source -> final documents files and their manifest.

Copies of a text in later tasks are dropped (the first in the order of tasks and rows stays), identifiers
that occur twice get their place added, empty files are left out as rows of the manifest stay complete: the
counts of a task without documents go to the first file. The manifest is written last.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from smoldata.documents import DOCUMENT_MANIFEST_SCHEMA, DOCUMENT_SCHEMA, FORMAT_VERSION
from smoldata.errors import SourceError
from smoldata.files import atomic_path, xxh3_128

MANIFEST = "manifest.parquet"


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a source's manifest; none when there is no readable manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.read_table(folder / MANIFEST).to_pylist()
    except (FileNotFoundError, pa.ArrowException):
        return []
    return rows


def merge(folder: Path, staging: Path, tasks: int, source: str, input_hash: str, code_version: str) -> None:
    """Publish the staged files of a source; raise :class:`SourceError` when it has no document."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from smoldata.pipeline import counts_path

    paths = [staging / f"{rank:05d}.parquet" for rank in range(tasks)]
    counts = [json.loads(counts_path(path).read_bytes()) for path in paths]
    if not sum(count["kept"] for count in counts):
        raise SourceError(_no_document(source, counts))
    (folder / MANIFEST).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for path, count, change in zip(paths, counts, _changes(paths), strict=True):
        final = folder / path.name
        _publish(path, final, change, count)
        rows.append(
            {
                "format_version": FORMAT_VERSION,
                "source": source,
                "path": final.name,
                "bytes": final.stat().st_size,
                "documents": count["kept"],
                **count,
                "dropped": sorted(count["dropped"].items()),
                "xxh3_128": xxh3_128(final),
                "sha256": "",
                "input_hash": input_hash,
                "code_version": code_version,
            }
        )
    for path in folder.glob("*.parquet"):
        if path.name not in {row["path"] for row in rows}:
            path.unlink()
    with atomic_path(folder / MANIFEST) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_MANIFEST_SCHEMA), temporary)


def _no_document(source: str, counts: list[dict[str, Any]]) -> str:
    reasons: dict[str, int] = {}
    for count in counts:
        for reason, number in count["dropped"].items():
            reasons[reason] = reasons.get(reason, 0) + number
    listed = ", ".join(f"{number:,} {reason}" for reason, number in sorted(reasons.items())) or "none"
    return (
        f"{source} has no document: {sum(count['read'] for count in counts):,} rows read, dropped: {listed}; "
        "check the columns of the source in the registry"
    )


def _changes(paths: list[Path]) -> list[Any]:
    """Return, for each file, which rows to drop (``first`` false) and which identifiers to change."""
    import polars as pl

    from smoldata.pipeline import keys_path

    frames = [
        pl.read_parquet(keys_path(path)).with_columns(pl.lit(task, pl.UInt32).alias("task"))
        for task, path in enumerate(paths)
    ]
    keys = pl.concat(frames).with_columns(first=pl.col("digest").is_first_distinct())
    named = (
        keys.filter("first").with_columns(unique=pl.col("id").is_first_distinct()).filter(~pl.col("unique"))
    )
    keys = keys.join(
        named.select("place", clash=pl.lit(value=True)), on="place", how="left", maintain_order="left"
    )
    return [keys.filter(task=task).select("first", "clash", "id", "place") for task in range(len(paths))]


def _publish(staged: Path, final: Path, change: Any, count: dict[str, Any]) -> None:
    copies = int((~change["first"]).sum())
    if not copies and change["clash"].null_count() == change.height:
        _link(staged, final)
        return
    text_bytes, characters = _rewrite(staged, final, change)
    count["kept"] -= copies
    count["text_bytes"], count["text_characters"] = text_bytes, characters
    if copies:
        count["dropped"]["duplicate"] = count["dropped"].get("duplicate", 0) + copies


def _link(staged: Path, final: Path) -> None:
    with atomic_path(final) as temporary:
        try:
            os.link(staged, temporary)
        except OSError:
            shutil.copyfile(staged, temporary)


def _rewrite(staged: Path, final: Path, change: Any) -> tuple[int, int]:
    """Write the rows that stay, with their new identifiers; return their text's bytes and characters."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    keep = change["first"].to_list()
    names = [
        f"{name}@{place}" if clash else name
        for name, place, clash in zip(change["id"], change["place"], change["clash"], strict=True)
    ]
    file, row, text_bytes, characters = pq.ParquetFile(staged), 0, 0, 0
    with (
        atomic_path(final) as temporary,
        pq.ParquetWriter(temporary, DOCUMENT_SCHEMA, compression="zstd") as out,
    ):
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            end = row + table.num_rows
            table = table.set_column(0, DOCUMENT_SCHEMA.field("id"), pa.array(names[row:end], pa.string()))
            table = table.filter(pa.array(keep[row:end], pa.bool_())).cast(DOCUMENT_SCHEMA)
            text_bytes += pc.sum(pc.binary_length(table["text"])).as_py() or 0
            characters += pc.sum(pc.utf8_length(table["text"])).as_py() or 0
            out.write_table(table)
            row = end
    return text_bytes, characters
