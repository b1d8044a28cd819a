"""Packages -> ``raw/<source>/``: real text of the same kind in the columns of the hub dataset.

For each package, each file goes to one source: of the sources whose patterns claim it, a hash of its path
picks one, so that two sources never share text. A package is one unit of work: its record is written after
its raw files, and a record with the same input hash is not made again. All packages take about 30 s on two
cores.
"""

import hashlib
import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import xxhash

from smoldata.console import progress
from smoldata.files import code_digest, digest_values, remove_leftovers, single_writer, write_json, xxh3_128
from smoldata.patterns import matcher
from smoldata.registry import Extractor, Registry, Source
from smoldata.sample.archive import installed_version, read_archive, read_installed, read_standard_library
from smoldata.sample.extract import Piece, extract
from smoldata.sample.fetch import fetch, verify
from smoldata.sample.lock import Pin, read_lock
from smoldata.sample.records import RawFile, Record, read_record, write_manifests
from smoldata.workers import run_all
from smoldata.writing import write_rows

_FILE_CHARACTERS = 1_500_000
_PYTHON = "python"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Claim:
    """A source's claim on files of a package."""

    source: Source
    extractor: Extractor
    fits: Callable[[str], bool]
    key: tuple[object, ...]
    """What the claim says, for the input hash."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A package as one piece of work."""

    package: str
    label: str
    licence: str | None
    pin: Pin | None
    input_hash: str


def build_sample(
    registry: Registry,
    build: Path,
    *,
    names: Iterable[str] | None = None,
    lock: Path | None = None,
    workers: int = 2,
) -> dict[str, Path]:
    """Make ``build/sample/raw``; return the folder of each source that has text.

    ``names`` limits the work to the packages that these sources need (default: all sources).
    Raises :class:`SourceError` when a package cannot be fetched, :class:`IntegrityError` when one is damaged.
    """
    folder = build / "sample"
    pins = {pin.package: pin for pin in read_lock(lock)}
    with single_writer(folder / "raw"):
        remove_leftovers(folder / "raw")
        units = _units(registry, pins)
        chosen = {source.name for source in registry.select(list(names) if names is not None else None)}
        needed = {take.package for name in chosen for take in registry.sources[name].sample}
        stale = [unit for unit in units if unit.package in needed and not _is_done(unit, folder / "raw")]
        fetch([unit.pin for unit in stale if unit.pin], folder / "packages")
        work = [partial(make_raw, unit, registry, folder) for unit in stale]
        if work:
            with progress("sample text", len(work)) as advance:
                for unit in run_all(work, workers):
                    advance(1, unit)
        made = write_manifests(folder / "raw", [unit.label for unit in units])
        return {name: path for name, path in made.items() if name in chosen}


def _units(registry: Registry, pins: dict[str, Pin]) -> list[Unit]:
    named = {take.package for source in registry.sources.values() for take in source.sample}
    here = Path(__file__).parent
    code = [code_digest([here]), *(xxh3_128(here.parent / name) for name in ("patterns.py", "writing.py"))]
    units = []
    for package in sorted(named):
        pin = pins.get(package)
        version = pin.version if pin else _installed_version(package)
        label = f"{package}-{version or 'missing'}"
        content = pin.sha256 if pin else version
        claims = [claim.key for claim in claims_on(package, registry)]
        known = registry.packages.get(package)
        licence = known.licence if known else None
        units.append(
            Unit(package, label, licence, pin, digest_values(FORMAT_VERSION, code, content, claims, licence))
        )
    # The largest first, so that no core waits at the end.
    return sorted(units, key=lambda unit: -(unit.pin.bytes if unit.pin else 0))


def _installed_version(package: str) -> str:
    return platform.python_version() if package == _PYTHON else installed_version(package)


def claims_on(package: str, registry: Registry) -> list[Claim]:
    """Return the claims of all sources on ``package``, in the order of the registry."""
    return [
        Claim(
            source,
            take.extractor,
            matcher(take.files, take.exclude),
            (source.name, take.model_dump(), source.columns.model_dump(), raw_format(source)),
        )
        for source in registry.sources.values()
        for take in source.sample
        if take.package == package
    ]


def _is_done(unit: Unit, raw: Path) -> bool:
    record = read_record(raw, unit.label)
    return record is not None and record.input_hash == unit.input_hash and record.is_whole(raw)


def make_raw(unit: Unit, registry: Registry, folder: Path) -> str:
    """Write the raw files of one package, then its record; return the package's label."""
    raw = folder / "raw"
    claims = claims_on(unit.package, registry)
    old = read_record(raw, unit.label)
    if old is not None:
        old.remove(raw)
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path, data in sorted(_files(unit, claims, folder)):
        claim = winner(unit.package, path, claims)
        for piece in extract(claim.extractor, data):
            rows[claim.source.name].append(_row(piece, path, data, unit, claim.source))
    files = [
        _write(chunk, number, unit, registry.sources[name], raw)
        for name in sorted(rows)
        for number, chunk in enumerate(_chunks(rows[name], registry.sources[name]))
    ]
    record = Record(FORMAT_VERSION, unit.label, unit.input_hash, tuple(files))
    write_json(record.path(raw), record.as_json())
    return unit.label


def _files(unit: Unit, claims: Sequence[Claim], folder: Path) -> Iterator[tuple[str, bytes]]:
    def wanted(path: str) -> bool:
        return any(claim.fits(path) for claim in claims)

    if unit.pin is not None:
        archive = folder / "packages" / unit.pin.file
        verify(unit.pin, archive)
        return read_archive(archive, wanted)
    return read_standard_library(wanted) if unit.package == _PYTHON else read_installed(unit.package, wanted)


def winner(package: str, path: str, claims: Sequence[Claim]) -> Claim:
    """Return the claim that gets a file: the claiming sources in registry order, one picked by a hash."""
    fitting: dict[str, Claim] = {}
    for claim in claims:
        if claim.fits(path):
            fitting.setdefault(claim.source.name, claim)
    names = list(fitting)
    return fitting[names[xxhash.xxh3_64_intdigest(f"{package}/{path}") % len(names)]]


def _row(piece: Piece, path: str, data: bytes, unit: Unit, source: Source) -> dict[str, Any]:
    columns = source.columns
    place = f"{unit.label}/{path}" + (f"#{piece.part}" if piece.part else "")
    row: dict[str, Any] = dict.fromkeys(columns.names())
    row[columns.text[0]] = piece.text
    values = {
        columns.id: hashlib.sha1(data, usedforsecurity=False).hexdigest()
        if columns.id == "blob_id"
        else place,
        columns.url: piece.url,
        columns.path: f"{unit.label}/{path}",
        columns.language: source.language,
        columns.license: [unit.licence] if columns.license == "detected_licenses" else unit.licence,
    }
    return row | {name: value for name, value in values.items() if name}


def _chunks(rows: list[dict[str, Any]], source: Source) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row[source.columns.text[0]])
        if size >= _FILE_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def raw_format(source: Source) -> str:
    """Return the format of a source's raw files: that of the hub dataset, else Parquet."""
    return source.hub.format if source.hub else "parquet"


def _write(chunk: list[dict[str, Any]], number: int, unit: Unit, source: Source, raw: Path) -> RawFile:
    path = raw / source.name / f"{unit.label}-{number:03d}.{raw_format(source)}"
    write_rows(path, chunk, raw_format(source), floats=source.columns.scores)
    return RawFile(source.name, path.name, path.stat().st_size, len(chunk), xxh3_128(path))
