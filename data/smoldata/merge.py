"""Staged tasks of a source -> final documents files and their manifest.

1. Copies of a text are dropped: the first in the order of the raw files stays, whatever the number of tasks.
2. Identifiers that two texts share are an error, drops, or get their place added
   (:mod:`smoldata.identifiers`).
3. Steps that had to see all documents decide (:class:`Gather`).
A task without documents writes an empty file, so that its counts have a row. The manifest is written last.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoldata import dropped, identifiers
from smoldata.documents import (
    DICTIONARY_COLUMNS,
    DOCUMENT_MANIFEST_SCHEMA,
    DOCUMENT_SCHEMA,
    FORMAT_VERSION,
)
from smoldata.errors import SourceError
from smoldata.files import atomic_path, xxh3_128
from smoldata.steps import KEY_PREFIX

MANIFEST = "manifest.parquet"
REMOVED = dropped.FOLDER
"""Folder beside the documents: one list for each step that decided across tasks, and examples of drops."""


@dataclass(frozen=True, slots=True)
class Gather:
    """A step that decides when it has seen the keys of all documents of the source."""

    name: str
    function: Callable[[Any, Any], Any]
    """``(frame, settings) -> frame``, Polars. In: one row a document that is still kept, in the order of the
    raw files: ``task``, ``position``, ``file``, ``row`` (numbers), ``id`` (string), ``key`` (binary). Out:
    ``task`` and ``position`` of each row to drop, optionally ``why`` (its reason, else the step's name);
    other columns, such as ``kept_id``, are listed with the document's ``id`` in ``removed/``."""
    settings: Any


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a source's manifest; none when there is no readable manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.read_table(folder / MANIFEST).to_pylist()
    except (FileNotFoundError, pa.ArrowException):
        return []
    return rows


def merge(
    folder: Path,
    staging: Path,
    tasks: int,
    source: str,
    input_hash: str,
    code_version: str,
    gathers: Sequence[Gather] = (),
    duplicate_ids: identifiers.DuplicateIds = "error",
    files: Sequence[str] = (),
) -> None:
    """Publish the staged files of a source.

    Raises :class:`SourceError` when it has no document, naming the raw ``files``, or an identifier twice
    (``duplicate_ids``); what was published before stays then.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from smoldata.pipeline import counts_path

    paths = [staging / f"{rank:05d}.parquet" for rank in range(tasks)]
    counts = [json.loads(counts_path(path).read_bytes()) for path in paths]
    if not sum(count["kept"] for count in counts):
        raise SourceError(_no_document(source, counts, files))
    keys = identifiers.settle(_without_copies(paths), duplicate_ids, source)
    (folder / MANIFEST).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / REMOVED, ignore_errors=True)
    identifiers.write_list(keys, folder / REMOVED / f"{identifiers.REASON}.parquet")
    for gather in gathers:
        keys = _gathered(keys, gather, folder)
    examples = dropped.Examples(source)
    rows = []
    for task, (path, count) in enumerate(zip(paths, counts, strict=True)):
        final = folder / path.name
        change = keys.filter(task=task).sort("position").select("why", "renamed", "id")
        _publish(path, final, change, count, examples)
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
    dropped.publish(paths, folder, merged=examples)
    with atomic_path(folder / MANIFEST) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_MANIFEST_SCHEMA), temporary)


def _no_document(source: str, counts: list[dict[str, Any]], files: Sequence[str]) -> str:
    reasons: dict[str, int] = {}
    for count in counts:
        for reason, number in count["dropped"].items():
            reasons[reason] = reasons.get(reason, 0) + number
    listed = ", ".join(f"{number:,} {reason}" for reason, number in sorted(reasons.items())) or "none"
    shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")  # noqa: PLR2004
    read = sum(count["read"] for count in counts)
    return (
        f"{source} has no document: {read:,} rows read{f' in {shown}' if shown else ''}, dropped: {listed}; "
        + ("check its columns and what the recipe drops" if read else "the files hold no row")
    )


def _without_copies(paths: list[Path]) -> Any:
    """Return the keys of all staged documents in the order of the raw files; ``why`` is null for what stays.

    Of copies the first stays, whatever the number of tasks.
    """
    import polars as pl

    from smoldata.pipeline import keys_path

    frames = [
        pl.read_parquet(keys_path(path)).with_columns(task=pl.lit(task, pl.Int64)).with_row_index("position")
        for task, path in enumerate(paths)
    ]
    keys = pl.concat(frames).sort("file", "row")
    first = pl.col("digest").is_first_distinct()
    return keys.with_columns(why=pl.when(first).then(pl.lit(None, pl.String)).otherwise(pl.lit("duplicate")))


def _gathered(keys: Any, gather: Gather, folder: Path) -> Any:
    """Let a step decide over all tasks; list what it drops in ``removed/<step>.parquet``."""
    import polars as pl

    candidates = keys.filter(pl.col("why").is_null()).select(
        "task", "position", "file", "row", "id", key=pl.col(KEY_PREFIX + gather.name)
    )
    dropped = gather.function(candidates, gather.settings)
    if "why" not in dropped.columns:
        dropped = dropped.with_columns(why=pl.lit(gather.name))
    listing = dropped.join(candidates.drop("key"), on=["task", "position"], how="left").sort("file", "row")
    path = folder / REMOVED / f"{gather.name.replace(':', '.')}.parquet"
    with atomic_path(path) as temporary:
        listing.drop("task", "position", "file", "row").write_parquet(temporary)
    marked = dropped.select("task", "position", gathered="why")
    keys = keys.join(marked, on=["task", "position"], how="left").sort("file", "row")
    return keys.with_columns(why=pl.coalesce("why", "gathered")).drop("gathered")


def _publish(
    staged: Path, final: Path, change: Any, count: dict[str, Any], examples: dropped.Examples | None = None
) -> None:
    """Publish a file; ``change`` says of each row ``why`` it goes (null: it stays), ``renamed``, ``id``."""
    reasons = change["why"].drop_nulls()
    if not len(reasons) and not change["renamed"].any():
        _link(staged, final)
        return
    text_bytes, characters = _rewrite(staged, final, change, examples)
    count["kept"] -= len(reasons)
    count["text_bytes"], count["text_characters"] = text_bytes, characters
    for reason in reasons:
        count["dropped"][reason] = count["dropped"].get(reason, 0) + 1


def publish_rows(path: Path, final: Path, gone: Any, counts: dict[str, Any], reason: str) -> dict[str, Any]:
    """Write a published documents file anew without the rows marked in ``gone``; return its counts.

    ``counts`` are the ``kept``, ``dropped``, ``text_bytes`` and ``text_characters`` that it had.
    """
    import polars as pl

    names = ("kept", "dropped", "text_bytes", "text_characters")
    count = {name: counts[name] for name in names}
    why = pl.when("gone").then(pl.lit(reason))
    change = pl.DataFrame({"gone": gone}).select(
        why=why, renamed=pl.lit(value=False), id=pl.lit(None, pl.String)
    )
    if gone.any():
        change = change.with_columns(id=pl.read_parquet(path, columns=["id"])["id"])
    _publish(path, final, change, count)
    return count


def _link(staged: Path, final: Path) -> None:
    with atomic_path(final) as temporary:
        try:
            os.link(staged, temporary)
        except OSError:
            shutil.copyfile(staged, temporary)


def _rewrite(staged: Path, final: Path, change: Any, examples: dropped.Examples | None) -> tuple[int, int]:
    """Write the rows that stay, with their new identifiers; return their text's bytes and characters.

    ``examples`` are given what goes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    reasons, names = change["why"].to_list(), change["id"].to_list()
    file, row, text_bytes, characters = pq.ParquetFile(staged), 0, 0, 0
    with (
        atomic_path(final) as temporary,
        pq.ParquetWriter(
            temporary, DOCUMENT_SCHEMA, compression="zstd", use_dictionary=DICTIONARY_COLUMNS
        ) as out,
    ):
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            end = row + table.num_rows
            if examples is not None:
                _show(table, reasons[row:end], examples)
            table = table.set_column(0, DOCUMENT_SCHEMA.field("id"), pa.array(names[row:end], pa.string()))
            keep = pa.array([why is None for why in reasons[row:end]], pa.bool_())
            table = table.filter(keep).cast(DOCUMENT_SCHEMA)
            text_bytes += pc.sum(pc.binary_length(table["text"])).as_py() or 0
            characters += pc.sum(pc.utf8_length(table["text"])).as_py() or 0
            out.write_table(table)
            row = end
    return text_bytes, characters


def _show(table: Any, reasons: Sequence[str | None], examples: dropped.Examples) -> None:
    """Give the rows of a table that are dropped to ``examples``."""
    import pyarrow as pa

    gone = table.filter(pa.array([why is not None for why in reasons], pa.bool_()))
    whys = iter(why for why in reasons if why is not None)
    for batch in gone.to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            examples.take(next(whys), row["id"], row["text"], row)
