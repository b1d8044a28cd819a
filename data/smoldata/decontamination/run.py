"""Finished documents against evaluation sets -> listing and report beside them. Nothing is changed or lost.

Each documents file is searched alone, its result kept under the hash of file, items and rules: a run that was
killed goes on where it stopped, a second one with nothing new reads results only. At the end the results
become ``<profile>/contaminated.parquet`` and ``<profile>/contamination.parquet``; older results are removed.
Cost: 30 to 70 MB of text a CPU second, and a few seconds for the index in each process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from smoldata.console import progress
from smoldata.decontamination.benchmarks import benchmark_files, read_benchmarks
from smoldata.decontamination.index import Index, Rules, build_index
from smoldata.decontamination.match import find_matches
from smoldata.decontamination.report import (
    LISTING,
    LISTING_SCHEMA,
    REPORT,
    Line,
    Place,
    listing_rows,
    summary,
    token_counter,
    write_listing,
    write_report,
)
from smoldata.errors import SourceError
from smoldata.files import digest_values, remove_leftovers, single_writer, xxh3_128
from smoldata.merge import read_manifest
from smoldata.workers import run_all

WORK: Final = "decontamination"
"""Folder of results, a file each, beside the documents."""
_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked of every file."""

    benchmarks: tuple[Path, ...]
    rules: Rules
    tokenizer: Path | None
    digest: str
    """Of the items, the rules and the tokenizer."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found."""

    lines: tuple[Line, ...]
    documents: int
    """Documents searched."""
    contaminated: int
    missing: dict[str, int]
    """Items by benchmark that cannot be looked for."""
    listing: Path
    report: Path


def decontaminate(
    profile: Path,
    benchmarks: Sequence[Path],
    *,
    rules: Rules | None = None,
    sources: Sequence[str] | None = None,
    tokenizer: Path | None = None,
    workers: int = 2,
) -> Found:
    """Search the documents of a profile's folder (default: of all its sources) for items of evaluation sets.

    Raises:
        SourceError: there are no documents, or none of a named source.
        InputError: an evaluation set cannot be read.
    """
    search = new_search(benchmarks, rules or Rules(), tokenizer)
    with single_writer(profile / WORK):
        remove_leftovers(profile / WORK)
        files = _document_files(profile / "documents", sources)
        results = {_result(profile, search, source, row): (source, row) for source, row in files}
        work = [
            partial(search_file, search, source, str(profile / "documents" / source / row["path"]), path)
            for path, (source, row) in results.items()
            if not path.is_file()
        ]
        if work:
            with progress("decontamination", len(work)) as advance:
                for name in run_all(work, workers):
                    advance(1, name)
        rows = [row for path in results for row in _read(path)]
        write_listing(rows, profile / LISTING)
        write_report(rows, profile / REPORT)
        for path in (profile / WORK).glob("*.parquet"):
            if path not in results:
                path.unlink()
    return Found(
        tuple(summary(rows)),
        sum(row["documents"] for _, row in files),
        len({(row["source"], row["id"]) for row in rows}),
        index_of(search.benchmarks, rules or Rules()).missing,
        profile / LISTING,
        profile / REPORT,
    )


def new_search(benchmarks: Sequence[Path], rules: Rules, tokenizer: Path | None) -> Search:
    """Return what is asked, with its digest."""
    paths = tuple(map(Path, benchmarks))
    counter = xxh3_128(tokenizer) if tokenizer is not None and tokenizer.is_file() else ""
    token_counter(tokenizer)  # an unreadable one is an error now, not in a worker
    return Search(paths, rules, tokenizer, digest_values(index_of(paths, rules).digest, counter))


def index_of(benchmarks: tuple[Path, ...], rules: Rules) -> Index:
    """Return the index of evaluation sets; built once a process, and again when a file has changed."""
    files = tuple(file for path in benchmarks for file in benchmark_files(path))
    return _built(files, tuple(map(xxh3_128, files)), rules)


@cache
def _built(files: tuple[Path, ...], _content: tuple[str, ...], rules: Rules) -> Index:
    return build_index(read_benchmarks(files), rules)


def _document_files(documents: Path, sources: Sequence[str] | None) -> list[tuple[str, dict[str, Any]]]:
    built = sorted(path.parent.name for path in documents.glob("*/manifest.parquet"))
    absent = [name for name in sources or () if name not in built]
    if absent or not built:
        raise SourceError(
            f"no documents of {', '.join(absent) or 'any source'} in {documents}; run `smoldata build`"
        )
    return [(name, row) for name in sources or built for row in read_manifest(documents / name)]


def _result(profile: Path, search: Search, source: str, row: dict[str, Any]) -> Path:
    key = digest_values(search.digest, source, row["path"], row["xxh3_128"])
    return profile / WORK / f"{source}-{key}.parquet"


def search_file(search: Search, source: str, file: str, result: Path) -> str:
    """Search one documents file; write its rows of the listing; return the source's name."""
    index, count = index_of(search.benchmarks, search.rules), token_counter(search.tokenizer)
    rows: list[dict[str, Any]] = []
    first = 0
    for batch in pq.ParquetFile(file).iter_batches(batch_size=_ROWS, columns=["id", "text"]):
        texts = batch["text"].to_pylist()
        for number, matches in find_matches(texts, index):
            place = Place(source, batch["id"][number].as_py(), Path(file).name, first + number)
            rows += listing_rows(place, texts[number], matches, count)
        first += len(texts)
    write_listing(rows, result)
    return source


def _read(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path, schema=LISTING_SCHEMA).to_pylist()
    return rows
