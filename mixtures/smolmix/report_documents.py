"""What the documents of a profile are: their statistics into pictures, each with its numbers.

The pictures are :mod:`smoldata.statistics`'s; the same numbers as the view ``document_statistics``. A score
and a length are shown over all sources together. Cost: the small tables beside the documents, no text.
"""

from pathlib import Path
from typing import Final

import polars as pl

from smoldata.registry import Registry
from smoldata.statistics.figures import profile_figures, profile_tables
from smolmix.report_html import Drawn, as_table

_TITLES: Final = {
    "documents-funnel": "Rows read, kept and dropped",
    "documents-lengths": "Documents by length in characters",
    "documents-languages": "Text by language",
}
_KINDS: Final = {"documents-lengths": "length", "documents-languages": "language"}
_SCORE: Final = "documents-score-"


def available(profile: Path) -> bool:
    """Return whether statistics lie beside the documents of a profile's folder."""
    return any(profile.glob("documents/*/statistics.parquet"))


def draw(profile: Path, _registry: Registry, prefix: str) -> list[Drawn]:
    """Return the pictures of the funnel, lengths, languages and scores."""
    documents = profile / "documents"
    table = profile_tables(documents)
    return [
        Drawn(name.removeprefix("documents-"), title, svg, _table(title, name, table))
        for name, svg in profile_figures(documents, prefix=f"{prefix}-").items()
        for title in [_TITLES.get(name, f"Documents by score {name.removeprefix(_SCORE)}")]
    ]


def _table(title: str, name: str, table: pl.DataFrame) -> str:
    heads, rows = _funnel(table) if name == "documents-funnel" else _counts(name, table)
    return as_table(f"{title}: the numbers", heads, rows, set(heads[1:]) - {"drop"})


def _funnel(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return a row a source: read, kept, dropped by reason."""
    rows = []
    for source, part in table.filter(pl.col("kind").is_in(["funnel", "drop"])).group_by(
        "source", maintain_order=True
    ):
        counts = dict(part.filter(kind="funnel").select("name", "documents").iter_rows())
        drops = part.filter(kind="drop").sort("documents", "name", descending=[True, False])
        told = ", ".join(f"{reason} {count:,}" for reason, count in drops.select("name", "documents").rows())
        rows.append([str(source[0]), *(f"{counts.get(name, 0):,}" for name in ("read", "kept")), told])
    return ["source", "read", "kept", "drop"], sorted(rows)


def _counts(name: str, table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return a row a language, or a bin of lengths or of a score."""
    kind = _KINDS.get(name, "score")
    part = table.filter(kind=kind)
    if kind == "score":
        part = part.filter(name=name.removeprefix(_SCORE))
    key = "name" if kind == "language" else "low"
    sums = part.group_by(key).agg(pl.col("documents", "text_bytes").sum()).sort(key, nulls_last=True)
    named = [[_label(kind, value), f"{n:,}", f"{size:,}"] for value, n, size in sums.iter_rows()]
    return [kind if kind == "language" else f"{kind}, from", "documents", "bytes"], named


def _label(kind: str, value: str | float | None) -> str:
    if kind == "length" and isinstance(value, float):
        return f"{int(value):,}"
    return "none stated" if value in {None, ""} else f"{value}"
