"""Matches -> two Parquet files: every contaminated document with its span, and the report by benchmark.

``contaminated.parquet`` has a row a document and item; ``contamination.parquet`` a row a document and
benchmark, in the format that ``smolmix contamination``, the catalog and the report read (docs/formats.md).
The same matches give the same bytes. Cost: what the matches are; a corpus has few.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.decontamination.match import Match, joined
from smoldata.decontamination.words import split
from smoldata.errors import InputError
from smoldata.files import atomic_path

LISTING: Final = "contaminated.parquet"
REPORT: Final = "contamination.parquet"
_VERSION: Final = {"format_version": "1"}
LISTING_SCHEMA: Final[Any] = pa.schema(
    [
        *(
            pa.field(name, pa.string(), nullable=False)
            for name in ("source", "id", "benchmark", "item", "rule")
        ),
        pa.field("begin", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("span", pa.string(), nullable=False),
        pa.field("words", pa.int64(), nullable=False),
        pa.field("share", pa.float64(), nullable=False),
        pa.field("matched_tokens", pa.int64(), nullable=False),
        pa.field("path", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("text", pa.string()),
    ],
    metadata=_VERSION,
)
REPORT_SCHEMA: Final[Any] = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("source", "id", "benchmark")),
        pa.field("matched_tokens", pa.int64(), nullable=False),
    ],
    metadata=_VERSION,
)
CountTokens = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contaminated document is."""

    source: str
    id: str
    path: str | None = None
    """Its documents file; null when a pipeline dropped it."""
    row: int | None = None
    text: str | None = None
    """Its text, kept when a pipeline dropped it."""


def token_counter(tokenizer: Path | None) -> CountTokens:
    """Return what counts a span's tokens: a ``tokenizer.json``; without one, its normalised words.

    Raises:
        InputError: the file cannot be read.
    """
    if tokenizer is None:
        return lambda text: len(split([text]))
    from tokenizers import Tokenizer

    try:
        loaded = Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # the library raises a bare Exception
        raise InputError(f"cannot read the tokenizer {tokenizer}: {error}; want a tokenizer.json") from error
    return lambda text: len(loaded.encode(text, add_special_tokens=False).ids)


def listing_rows(
    place: Place, text: str, matches: Sequence[Match], count: CountTokens
) -> list[dict[str, Any]]:
    """Return a document's rows of the listing; ``matched_tokens`` is the benchmark's, each span once."""
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for match in matches:
        spans[match.benchmark] += match.spans
    tokens = {
        name: max(1, sum(count(text[begin:end]) for begin, end in joined(listed)))
        for name, listed in spans.items()
    }
    where = {"source": place.source, "id": place.id, "path": place.path, "row": place.row, "text": place.text}
    names = ("benchmark", "item", "rule", "begin", "end", "span", "words", "share")
    return [
        where | {name: getattr(match, name) for name in names} | {"matched_tokens": tokens[match.benchmark]}
        for match in matches
    ]


def write_listing(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write rows of the listing, sorted."""
    ordered = sorted(rows, key=lambda row: (row["source"], row["id"], row["benchmark"], row["item"]))
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(ordered, schema=LISTING_SCHEMA), temporary, compression="zstd")


def write_report(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write the report of listed rows: one a document and benchmark, as ``smolmix`` reads it."""
    tokens = {(row["source"], row["id"], row["benchmark"]): row["matched_tokens"] for row in rows}
    columns = [list(column) for column in zip(*((*key, tokens[key]) for key in sorted(tokens)), strict=True)]
    table = pa.table(columns or [[], [], [], []], schema=REPORT_SCHEMA)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


@dataclass(frozen=True, slots=True)
class Line:
    """The report's figures of one benchmark and source."""

    benchmark: str
    source: str
    documents: int
    items: int
    """Different items of the benchmark that were found."""
    matched_tokens: int
    most_share: float
    """The largest share of an item that a document holds."""


def summary(rows: Iterable[Mapping[str, Any]]) -> list[Line]:
    """Return a line a benchmark and source, in that order."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["benchmark"], row["source"]].append(row)
    return [
        Line(
            *key,
            len({row["id"] for row in listed}),
            len({row["item"] for row in listed}),
            sum({row["id"]: row["matched_tokens"] for row in listed}.values()),
            max(row["share"] for row in listed),
        )
        for key, listed in sorted(groups.items())
    ]
