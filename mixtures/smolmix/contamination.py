"""A decontamination report against plans: how much of each benchmark a stage reads, and how often.

In: a Parquet report, one row a contaminated document and benchmark (docs/formats.md). Out: a row a benchmark,
source and stage: documents, matched tokens, matched tokens x passes (exact, ``p/q``), and the tokens of these
documents that the stage really reads, counted once each reading by the order itself. Cost: one look at the
sidecars of the sources in the report, then about a microsecond a window and pass.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.errors import InputError, IntegrityError
from smoldata.files import atomic_path
from smolmix.certificate import Wanted, find_spans
from smolmix.literals import decimal_text, fraction_text
from smolmix.occurrences import occurrences
from smolmix.plan import Plan, load_plan
from smolmix.plan_files import plan_label
from smolmix.replacements import Span

REPORT: Final = "contamination.parquet"
FORMAT_VERSION: Final = "1"
REPORT_SCHEMA: Any = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("source", "id", "benchmark")),
        pa.field("matched_tokens", pa.int64(), nullable=False),
    ],
    metadata={"format_version": FORMAT_VERSION},
)


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """One contaminated document and benchmark."""

    source: str
    document: str
    benchmark: str
    matched_tokens: int


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a stage reads of a benchmark in a source."""

    profile: str
    plan: str
    stage: str
    lock: str
    benchmark: str
    source: str
    documents: int
    matched_tokens: int
    passes: Fraction | None
    """Passes of the stage over the source; None: unknown size."""
    exposure: Fraction | None
    """``matched_tokens * passes``: matched tokens read in the stage, on average over the source's windows."""
    tokens_read: int | None
    """Tokens of these documents in windows that the stage reads, once each reading; None without shards."""

    def as_json(self) -> dict[str, Any]:
        """Return the row with fractions as text."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: fraction_text(value) if isinstance(value, Fraction) else value
            for name, value in values.items()
        }


def write_report(matches: Iterable[Match], path: Path) -> Path:
    """Write a decontamination report; the same matches give the same bytes."""
    rows = sorted(set(matches))
    names = ("source", "document", "benchmark", "matched_tokens")
    columns = [[getattr(row, name) for row in rows] for name in names]
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns, schema=REPORT_SCHEMA), temporary, compression="zstd")
    return path


def read_report(path: Path) -> list[Match]:
    """Read a decontamination report.

    Raises:
        InputError: it cannot be read, or lacks a column.
        IntegrityError: another format, no matched token, or a document twice for one benchmark.
    """
    try:
        table = pq.read_table(path)
        rows = table.select(REPORT_SCHEMA.names).cast(REPORT_SCHEMA).to_pylist()
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        wanted = ", ".join(REPORT_SCHEMA.names)
        what = error if Path(path).exists() else "there is no such file"
        raise InputError(f"cannot read the report {path}: {what}; it needs the columns {wanted}") from error
    version = (table.schema.metadata or {}).get(b"format_version", b"none").decode()
    if version != FORMAT_VERSION:
        raise IntegrityError(f"{path} has format_version {version}; this version reads {FORMAT_VERSION}")
    matches = [Match(r["source"], r["id"], r["benchmark"], r["matched_tokens"]) for r in rows]
    seen: set[tuple[str, str, str]] = set()
    for one in matches:
        key = (one.source, one.document, one.benchmark)
        if key in seen or one.matched_tokens < 1:
            raise IntegrityError(
                f"{path}: document {one.document!r} of {one.source!r} and {one.benchmark!r} stands twice, or "
                f"matches {one.matched_tokens} tokens; write one row for both, with at least one token"
            )
        seen.add(key)
    return matches


def exposures(plans: Sequence[Plan], matches: Sequence[Match]) -> list[Exposure]:
    """Return a row a benchmark, source and plan that names the source, in that order.

    Raises:
        IntegrityError: a sidecar is missing.
    """
    groups: dict[tuple[str, str], list[Match]] = defaultdict(list)
    for match in matches:
        groups[match.benchmark, match.source].append(match)
    found: list[Exposure] = []
    for plan in plans:
        names = {source.name for source in plan.sources}
        named = {key: listed for key, listed in sorted(groups.items()) if key[1] in names}
        wanted = sorted(
            {Wanted(one.document, one.source) for _, rows in named.items() for one in rows}, key=str
        )
        spans, _ = find_spans([plan], wanted) if wanted else ([], [])
        read = _tokens_read(plan, spans)
        found += [_exposure(plan, *key, listed, read) for key, listed in named.items()]
    return found


def _exposure(
    plan: Plan, benchmark: str, source: str, matches: Sequence[Match], read: Mapping[tuple[str, str], int]
) -> Exposure:
    entry = plan.source(source)
    tokens = sum(match.matched_tokens for match in matches)
    passes = Fraction(0) if entry.status == "absent" else entry.passes
    return Exposure(
        plan.profile,
        plan_label(plan),
        plan.name,
        plan.lock.hash,
        benchmark,
        source,
        len(matches),
        tokens,
        passes,
        None if passes is None else tokens * passes,
        sum(read.get((source, match.document), 0) for match in matches)
        if entry.status == "present"
        else None,
    )


def _tokens_read(plan: Plan, spans: Sequence[Span]) -> dict[tuple[str, str], int]:
    """Return for each document its tokens in the windows that the stage reads, once each reading."""
    read: dict[tuple[str, str], int] = defaultdict(int)
    length = plan.sequence_length + 1
    by_source: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        by_source[span.source].append(span)
    for source, listed in by_source.items():
        sizes = plan.order.sequences[source].sizes
        if sizes is None:
            continue
        rows = [(s, w) for s in listed for w in s.windows(plan.sequence_length, sizes)]
        shard = np.array([span.shard for span, _ in rows], np.int64)
        window = np.array([number for _, number in rows], np.int64)
        for row in occurrences(plan.order, source, shard, window).row.tolist():
            span, number = rows[row]
            overlap = min(span.end, (number + 1) * length) - max(span.begin, number * length)
            read[source, span.document or ""] += overlap
    return read


def profile_exposures(profile: Path) -> list[Exposure]:
    """Return the exposures of a profile's plans by its ``contamination.parquet``; none without a report."""
    report = profile / REPORT
    if not report.is_file():
        return []
    plans = [load_plan(path) for path in sorted(profile.glob("plans/*/plan.json"))]
    return exposures(plans, read_report(report))


def contamination_rows(build: Path) -> list[tuple[str | int | float | None, ...]]:
    """Return the rows of the catalog for each profile that has a report; fractions as number and as text."""
    found = [one for report in sorted(build.glob(f"*/{REPORT}")) for one in profile_exposures(report.parent)]
    return [
        (
            *(one.profile, one.plan, one.stage, one.benchmark, one.source),
            *(one.documents, one.matched_tokens),
            *_number_and_text(one.passes),
            *_number_and_text(one.exposure),
            one.tokens_read,
        )
        for one in found
    ]


def _number_and_text(value: Fraction | None) -> tuple[float | None, str | None]:
    return (None, None) if value is None else (float(value), fraction_text(value))


HEADS: Final = (
    "benchmark", "source", "stage", "documents", "matched tokens", "passes", "tokens x passes", "tokens read",
)  # fmt: skip
"""Columns of :func:`shown`; those from ``documents`` on are numbers."""


def shown(found: Iterable[Exposure]) -> list[tuple[str, ...]]:
    """Return the rows for people: fractions in decimal, what is not known as ``unknown``."""
    return [
        (
            one.benchmark,
            one.source,
            one.stage,
            f"{one.documents:,}",
            f"{one.matched_tokens:,}",
            *("unknown" if v is None else decimal_text(v, 3) for v in (one.passes, one.exposure)),
            "unknown" if one.tokens_read is None else f"{one.tokens_read:,}",
        )
        for one in found
    ]
