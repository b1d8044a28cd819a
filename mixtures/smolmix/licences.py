"""Sources or documents into findings where the class of a licence asks for a decision.

The classes are :mod:`smoldata.licences`'s. A recipe forbids some with
``licences: {forbid: [non-commercial, unknown]}``; a forbidden class that is read is an error.
Cost: 0.1 s once, then microseconds a licence; documents: one column of their files.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from smoldata.licences import CLASSES, LicenceClass, classes_of
from smolmix.findings import Finding, Severity
from smolmix.literals import decimal_text

_SEVERITY: Final[Mapping[LicenceClass, Severity]] = {
    "unknown": "warning",
    "proprietary": "warning",
    "non-commercial": "warning",
    "no-derivatives": "warning",
    "share-alike": "info",
    "copyleft": "warning",
}
_MEANING: Final[Mapping[LicenceClass, str]] = {
    "unknown": "state no licence that is recognised",
    "proprietary": "are under terms of their owner",
    "non-commercial": "may not be used commercially",
    "no-derivatives": "may not be passed on changed",
    "share-alike": "may be passed on under the same licence only",
    "copyleft": "are under a copyleft licence",
}
_FIX: Final[Mapping[LicenceClass, str]] = {
    "unknown": "read the dataset's page and give its `licence` in a registry of your own",
    "proprietary": "read the terms, or leave the source out",
    "non-commercial": "leave the source out of a model that is to be sold, or ask its owner",
    "no-derivatives": "leave the source out, or ask its owner",
    "share-alike": "keep it out of a dataset that you publish under other terms",
    "copyleft": "filter such files by their detected licence if you publish the data",
}


@dataclass(frozen=True, slots=True)
class Licensed:
    """A source with its windows, or its documents of one licence."""

    source: str
    licence: str | None
    size: int


def findings(
    listed: Iterable[Licensed], unit: str, forbidden: Collection[LicenceClass] = ()
) -> list[Finding]:
    """Return a finding a restrictive class that is read, a source of a forbidden one, and a clash.

    ``unit`` says what the sizes count: ``windows`` or ``documents``.
    """
    held = [one for one in listed if one.size]
    total = sum(one.size for one in held)
    found: list[Finding] = []
    for which in CLASSES:
        of_class = [one for one in held if which in classes_of(one.licence)]
        if not of_class or (which not in _SEVERITY and which not in forbidden):
            continue
        if which in forbidden:
            found += [_forbidden(which, name, rows, unit) for name, rows in _by_source(of_class).items()]
        else:
            found.append(_class_finding(which, _by_source(of_class), unit, total))
    return found + _clash(held, unit)


def _by_source(rows: Iterable[Licensed]) -> dict[str, list[Licensed]]:
    found: dict[str, list[Licensed]] = defaultdict(list)
    for row in rows:
        found[row.source].append(row)
    return dict(sorted(found.items(), key=lambda item: (-sum(one.size for one in item[1]), item[0])))


def _sized(rows: Iterable[Licensed]) -> int:
    return sum(row.size for row in rows)


def _sources(number: int) -> str:
    return "1 source" if number == 1 else f"{number} sources"


def _class_finding(
    which: LicenceClass, sources: Mapping[str, list[Licensed]], unit: str, total: int
) -> Finding:
    size = sum(map(_sized, sources.values()))
    most = ", ".join(f"{name} ({_sized(rows):,})" for name, rows in list(sources.items())[:5])
    more = f" and {len(sources) - 5} more" if len(sources) > 5 else ""  # noqa: PLR2004 - as listed above
    return Finding(
        f"licence-{which}",
        _SEVERITY[which],
        next(iter(sources)) if len(sources) == 1 else None,
        f"{size:,} of {total:,} {unit} ({decimal_text(Fraction(100 * size, total), 3)} %) from "
        f"{_sources(len(sources))} {_MEANING[which]}: {most}{more}",
        _FIX[which],
    )


def _forbidden(which: LicenceClass, source: str, rows: list[Licensed], unit: str) -> Finding:
    names = ", ".join(sorted({row.licence or "none stated" for row in rows}))
    return Finding(
        "licence-forbidden",
        "error",
        source,
        f"{source}: {_sized(rows):,} {unit} are {which} ({names}), a class that is forbidden",
        "remove the source from the recipe, or the class from what is forbidden",
    )


def _clash(held: Iterable[Licensed], unit: str) -> list[Finding]:
    """Return the finding on terms that cannot both be kept in one published dataset."""
    groups: dict[str, int] = {"share-alike": 0, "non-commercial": 0}
    for one in held:
        classes = classes_of(one.licence)
        for which, other in (("share-alike", "non-commercial"), ("non-commercial", "share-alike")):
            if which in classes and other not in classes:
                groups[which] += one.size
    if not all(groups.values()):
        return []
    return [
        Finding(
            "licence-clash",
            "warning",
            None,
            f"{groups['share-alike']:,} {unit} may be passed on under their own licence only, and "
            f"{groups['non-commercial']:,} forbid commercial use: no licence keeps both in one work",
            "publish them as separate datasets, or leave one kind out",
        )
    ]


def of_documents(documents: Path, sources: Collection[str]) -> list[Licensed]:
    """Return the documents of each source by licence, from the files under ``documents/<source>/``."""
    import duckdb

    files = [
        str(path)
        for name in sorted(sources)
        for path in sorted((documents / name).glob("[0-9]*.parquet"))
        if path.name != "manifest.parquet"
    ]
    if not files:
        return []
    rows = duckdb.execute(
        "SELECT source, license, count(*) FROM read_parquet(?) GROUP BY ALL ORDER BY ALL", [files]
    ).fetchall()
    return [Licensed(source, licence, count) for source, licence, count in rows]
