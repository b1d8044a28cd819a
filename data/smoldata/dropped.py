"""Examples of dropped documents, a bounded number a reason, chosen by hash; and all that were contaminated.

A task keeps, of each reason, the documents whose hash of reason and text is smallest; the merge keeps the
smallest of all: the same examples whatever the number of tasks. They lie in ``removed/examples.parquet``
beside the documents (docs/formats.md), texts cut at 20,000 characters; `smoldata inspect` shows them. What a
decontamination step drops is listed whole in ``removed/contaminated.parquet``. Drops that were no document
yet (bad rows) leave no example. Cost: a hash a drop.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import xxhash

from smoldata.files import atomic_path

FOLDER: Final = "removed"
EXAMPLES: Final = "examples.parquet"
LISTED: Final = "listed"
"""Where a step leaves, in a document's metadata, rows that must be kept should it be dropped."""
PER_REASON: Final = 20
MOST_CHARACTERS: Final = 20_000
_FIELDS: Final = ("url", "path", "language", "license")


def example_schema() -> Any:
    """Return the columns of the examples."""
    import pyarrow as pa

    texts = [pa.field(name, pa.string(), nullable=False) for name in ("source", "reason", "id", "text")]
    rest = [
        pa.field("characters", pa.int64(), nullable=False),
        pa.field("order", pa.uint64(), nullable=False),
        *(pa.field(name, pa.string()) for name in _FIELDS),
    ]
    return pa.schema(texts + rest, metadata={"format_version": "1"})


@dataclass(slots=True)
class Examples:
    """Collects drops of a task; called by a :class:`smoldata.reading.Report` at each one."""

    source: str
    per_reason: int = PER_REASON
    chosen: dict[str, dict[int, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    """By reason: the rows by their order; copies of a text count once."""
    listed: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, reason: str, document: Any) -> None:
        """Take a drop: its reason and the document, or ``None`` if it was none yet."""
        if document is None:
            return
        self.listed += document.metadata.pop(LISTED, [])
        self.take(reason, document.id, document.text, document.metadata)

    def take(self, reason: str, name: str, text: str, fields: Mapping[str, Any]) -> None:
        """Take a drop: its reason, identifier and text, and ``url``, ``path``, ``language``, ``license``."""
        if not text:
            return
        order = xxhash.xxh3_64_intdigest(f"{reason}\0{text}".encode("utf-8", "replace"))
        rows = self.chosen[reason]
        known = rows.get(order)
        if known is None and len(rows) >= self.per_reason and order > max(rows):
            return
        row = self._row(reason, order, name, text, fields)
        if known is None or _among_copies(row) < _among_copies(known):
            rows[order] = row
        if len(rows) > self.per_reason:
            del rows[max(rows)]

    def _row(
        self, reason: str, order: int, name: str, text: str, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        more = {field: fields.get(field) for field in _FIELDS}
        cut = text[:MOST_CHARACTERS].encode("utf-8", "replace").decode()
        row = {"source": self.source, "reason": reason, "id": name, "text": cut, "order": order}
        return row | {"characters": len(text)} | more

    def rows(self) -> list[dict[str, Any]]:
        """Return what was chosen."""
        return [row for found in self.chosen.values() for row in found.values()]

    def write(self, staged: Path) -> None:
        """Write what was taken beside a task's staged documents."""
        _write(self.rows(), examples_path(staged))
        if self.listed:
            from smoldata.decontamination.report import write_listing

            write_listing(self.listed, listing_path(staged))


def _among_copies(row: Mapping[str, Any]) -> list[str]:
    """Return what decides which of several copies is shown: not the order in which they came."""
    return [row["id"], *(row[field] or "" for field in _FIELDS)]


def examples_path(staged: Path) -> Path:
    """Return where the examples of a staged documents file lie."""
    return staged.with_suffix(".examples.parquet")


def listing_path(staged: Path) -> Path:
    """Return where the contaminated documents of a staged documents file are listed."""
    return staged.with_suffix(".contaminated.parquet")


def publish(
    staged: Sequence[Path], folder: Path, per_reason: int = PER_REASON, merged: Examples | None = None
) -> None:
    """Merge what tasks left into ``removed/`` of a source's folder; ``merged`` is what the merge dropped."""
    rows = [row for path in map(examples_path, staged) if path.is_file() for row in _read(path)]
    rows += merged.rows() if merged is not None else []
    by_reason: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        known = by_reason[row["reason"]].setdefault(row["order"], row)
        if _among_copies(row) < _among_copies(known):
            by_reason[row["reason"]][row["order"]] = row
    chosen = [found[order] for _, found in sorted(by_reason.items()) for order in sorted(found)[:per_reason]]
    if chosen:
        _write(chosen, folder / FOLDER / EXAMPLES)
    listed = [row for path in map(listing_path, staged) if path.is_file() for row in _read(path)]
    if listed:
        from smoldata.decontamination.report import LISTING, write_listing

        write_listing(listed, folder / FOLDER / LISTING)


def read_examples(folder: Path) -> list[dict[str, Any]]:
    """Return the examples of a source's folder, by reason; none if it dropped nothing."""
    path = folder / FOLDER / EXAMPLES
    return _read(path) if path.is_file() else []


def _read(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def _write(rows: Sequence[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = sorted(rows, key=lambda row: (row["reason"], row["order"], row["id"]))
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(ordered, schema=example_schema()), temporary, compression="zstd")
