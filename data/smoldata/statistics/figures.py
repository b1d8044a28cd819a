"""Statistics -> pictures: the funnel of drops by source, lengths, languages, and each score's histogram.

:func:`profile_figures` is what a report page asks: a name and SVG text for each picture, the same bytes for
the same numbers. Cost: the tables, which are small, and 20 ms a picture.
"""

from pathlib import Path
from typing import Final

import polars as pl

from smoldata.merge import MANIFEST
from smoldata.statistics.pictures import bars, histogram
from smoldata.statistics.tables import merged, read_statistics

_MOST_SOURCES: Final = 60
_MOST_REASONS: Final = 10
_MOST_SCORES: Final = 6
_MOST_LANGUAGES: Final = 30


def profile_tables(documents: Path) -> pl.DataFrame:
    """Return the statistics of every built source under ``documents``; without one, a table without rows."""
    folders = sorted(path.parent for path in documents.glob(f"*/{MANIFEST}"))
    tables = [read_statistics(folder) for folder in folders]
    return pl.concat(tables) if tables else merged([_nothing()])


def _nothing() -> pl.DataFrame:
    from smoldata.statistics.tables import SCHEMA

    return pl.DataFrame(schema=SCHEMA)


def profile_figures(documents: Path, prefix: str = "") -> dict[str, str]:
    """Return the pictures of a profile's documents by name; none without documents.

    ``prefix`` begins every identifier inside a picture: a page needs them to differ from each other's.
    """
    table = profile_tables(documents)
    if table.is_empty():
        return {}
    found = {"documents-funnel": funnel(table, prefix), "documents-lengths": lengths(table, prefix)}
    languages = _by_name(table, "language")
    if len(languages) > 1:
        shown = {name or "none stated": size / 1e6 for name, size in languages[:_MOST_LANGUAGES]}
        found["documents-languages"] = bars(f"{prefix}languages", "Text by language", "MB", {"text": shown})
    for name, _ in _by_name(table, "score")[:_MOST_SCORES]:
        found[f"documents-score-{name}"] = score(table, name, prefix)
    return found


def _by_name(table: pl.DataFrame, kind: str) -> list[tuple[str, int]]:
    """Return (name, bytes of text) of one kind, the largest first."""
    rows = table.filter(kind=kind).group_by("name").agg(pl.col("text_bytes").sum())
    listed: list[tuple[str, int]] = rows.sort("text_bytes", "name", descending=[True, False]).rows()
    return listed


def funnel(table: pl.DataFrame, prefix: str = "") -> str:
    """Draw which share of each source's rows was kept, and what dropped the rest."""
    drops = table.filter(kind="drop")
    largest = drops.group_by("name").agg(pl.col("documents").sum()).sort("documents", "name", descending=True)
    named = largest["name"].head(_MOST_REASONS).to_list()
    read = dict(table.filter(kind="funnel", name="read").select("source", "documents").iter_rows())
    sources = sorted(read)[:_MOST_SOURCES]
    kept = dict(table.filter(kind="funnel", name="kept").select("source", "documents").iter_rows())
    series = {"kept": {name: 100 * kept.get(name, 0) / max(read[name], 1) for name in sources}}
    for source, reason, count in drops.select("source", "name", "documents").iter_rows():
        if source in sources:
            part = series.setdefault(reason if reason in named else "other reasons", {})
            part[source] = part.get(source, 0.0) + 100 * count / max(read[source], 1)
    return bars(f"{prefix}funnel", "Rows kept and dropped, by source", "percent of rows read", series)


def lengths(table: pl.DataFrame, prefix: str = "") -> str:
    """Draw how long the documents are, in characters."""
    rows = table.filter(kind="length").group_by("low").agg(pl.col("documents").sum()).sort("low")
    bins = [(f"{int(low):,}", count) for low, count in rows.iter_rows()]
    return histogram(f"{prefix}lengths", "Documents by length", "characters, from", bins)


def score(table: pl.DataFrame, name: str, prefix: str = "") -> str:
    """Draw the histogram of a score over all sources."""
    rows = table.filter(pl.col("kind") == "score", pl.col("name") == name, pl.col("low").is_not_null())
    counts = rows.group_by("low").agg(pl.col("documents").sum()).sort("low")
    bins = [(f"{low:g}", count) for low, count in counts.iter_rows()]
    return histogram(f"{prefix}score-{name}", f"Documents by score {name}", f"{name}, from", bins)
