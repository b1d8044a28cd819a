"""Identifiers that two texts of a source share -> an error, a counted drop, or names that are unique.

It is decided in the merge, when copies of a text are gone and before any step decides over all tasks: what is
decided does not depend on the number of tasks, and lists name documents by the identifier that they end with.
Of the documents with one identifier the first in the order of the raw files keeps it.
Cost: one pass over the keys of the source in Polars; nothing else is read.
"""

from pathlib import Path
from typing import Any, Final, Literal

from smoldata.console import say
from smoldata.errors import SourceError
from smoldata.files import atomic_path

DuplicateIds = Literal["error", "drop", "rename"]
"""What a second text under an identifier is: ``error`` names both places; ``drop`` keeps the first and counts
the rest as ``duplicate_id``; ``rename`` keeps all, the later ones as ``<id>@<file>:<row>``."""
RULES: Final[tuple[DuplicateIds, ...]] = ("error", "drop", "rename")
REASON: Final = "duplicate_id"


def settle(keys: Any, rule: DuplicateIds, source: str) -> Any:
    """Return keys, a Polars frame in the order of the raw files, whose kept rows have different identifiers.

    In: ``id``, ``place`` (``<file>:<row>``) and ``why`` (null: kept). Out: ``id`` as the document ends up,
    ``why`` with what is dropped, ``renamed``, and ``kept_place``: of a drop, where the identifier was first.
    Raises :class:`SourceError` naming both places with the rule ``error``.
    """
    import polars as pl

    keys = keys.with_columns(renamed=pl.lit(value=False), kept_place=pl.lit(None, pl.String))
    again = _again(keys)
    if not again.any():
        return keys
    if rule == "error":
        raise SourceError(_clash(keys, again, source))
    if rule == "rename":
        return _renamed(keys, again, source)
    first = pl.col("place").filter(pl.col("why").is_null()).first().over("id")
    return keys.with_columns(
        kept_place=pl.when(again).then(first), why=pl.when(again).then(pl.lit(REASON)).otherwise("why")
    )


def write_list(keys: Any, path: Path) -> None:
    """List the drops by identifier, in the order of the raw files; nothing is written if there are none."""
    import polars as pl

    rows = keys.filter(pl.col("why") == REASON).select("id", "why", "place", "kept_place")
    if len(rows):
        with atomic_path(path) as temporary:
            rows.write_parquet(temporary)


def _again(keys: Any) -> Any:
    """Return, row for row, whether a kept document has the identifier of one before it."""
    import polars as pl

    again = keys["why"].is_null().to_numpy().copy()
    again[again] = ~keys["id"].filter(pl.Series(again)).is_first_distinct().to_numpy()
    return pl.Series("again", again)


def _clash(keys: Any, again: Any, source: str) -> str:
    import polars as pl

    second = keys.filter(again).row(0, named=True)
    first = keys.filter(pl.col("why").is_null() & (pl.col("id") == second["id"])).row(0, named=True)
    return (
        f"{source}: the identifier {second['id']!r} of {first['place']} (file:row) occurs again at "
        f"{second['place']} with another text (such documents in all: {int(again.sum()):,}). Name another "
        "column as id, or say what is done with them: `duplicate_ids: drop` keeps the first and counts the "
        "rest, `duplicate_ids: rename` keeps all, the later ones as <id>@<file>:<row> (a key of the source "
        "in the registry; smoldata run: --duplicate-ids). Finished tasks are kept"
    )


def _renamed(keys: Any, again: Any, source: str) -> Any:
    """Add its place to each later identifier, until none is that of another document."""
    import polars as pl

    first = keys.filter(again).row(0, named=True)
    say(
        f"warning: {source}: {int(again.sum()):,} identifiers occur again with another text, the first "
        f"{first['id']!r} at {first['place']}; nothing is dropped, each is kept as <id>@<file>:<row>"
    )
    while again.any():
        name = pl.format("{}@{}", "id", "place")
        keys = keys.with_columns(
            id=pl.when(again).then(name).otherwise("id"), renamed=pl.col("renamed") | again
        )
        again = _again(keys)
    return keys
