"""Statistics of sources -> a line each, for people."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Summary:
    """What a source's statistics come to."""

    source: str
    read: int
    documents: int
    text_bytes: int
    length: str
    """The bin that holds the median length in characters."""
    languages: tuple[str, ...]
    """The largest first."""
    drops: tuple[tuple[str, float], ...]
    """(reason, share of the rows read), the largest first."""


def summaries(tables: Mapping[str, Any]) -> list[Summary]:
    """Return a line a source, in their order."""
    return [_summary(name, list(table.iter_rows(named=True))) for name, table in tables.items()]


def _summary(source: str, rows: list[dict[str, Any]]) -> Summary:
    def of(kind: str) -> list[dict[str, Any]]:
        return [row for row in rows if row["kind"] == kind]

    funnel = {row["name"]: row["documents"] for row in of("funnel")}
    [total] = of("total") or [{"documents": 0, "text_bytes": 0}]
    languages = sorted(of("language"), key=lambda row: -row["text_bytes"])
    drops = sorted(of("drop"), key=lambda row: -row["documents"])
    read = funnel.get("read", 0)
    return Summary(
        source,
        read,
        total["documents"],
        total["text_bytes"],
        _median(of("length")),
        tuple(row["name"] for row in languages if row["name"]),
        tuple((row["name"], row["documents"] / max(read, 1)) for row in drops),
    )


def _median(bins: Iterable[dict[str, Any]]) -> str:
    ordered = sorted(bins, key=lambda row: row["low"])
    total, seen = sum(row["documents"] for row in ordered), 0
    for row in ordered:
        seen += row["documents"]
        if 2 * seen >= total:
            return f"{int(row['low']):,} to {int(row['high']):,}"
    return ""
