"""Evaluation sets and the decontamination of the training data: items out, matches found back in.

Out: :func:`write_items` writes the rows of tasks as one file a benchmark, in the columns that ``smoldata
decontaminate --benchmarks`` reads. Back: :func:`found` reads the decontamination reports of a build
(``<profile>/contamination.parquet``, docs/formats.md) into sums a benchmark and source, for the page. The
arrows are files. Cost: linear in the items.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoldata.errors import InputError
from smoldata.files import write_atomic
from smolmix.contamination import REPORT, read_report


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """Training documents of a source that hold items of a benchmark."""

    profile: str
    benchmark: str
    source: str
    documents: int
    matched_tokens: int


def write_items(rows_of: Mapping[str, Iterable[Mapping[str, Any]]], folder: Path) -> list[Path]:
    """Write a file ``<benchmark>.jsonl`` of the rows of each task; return the files.

    ``rows_of``: task name -> rows in the hub dataset's columns. Raises :class:`InputError` for a task without
    rows: a set that is missing would look like one that is clean.
    """
    written = []
    for task, rows in rows_of.items():
        lines = [json.dumps(_readable(row), ensure_ascii=False, default=str) for row in rows]
        if not lines:
            raise InputError(f"{task} has no rows to search the data for")
        path = folder / f"{file_name(task)}.jsonl"
        write_atomic(path, "".join(f"{line}\n" for line in lines))
        written.append(path)
    return written


def file_name(task: str) -> str:
    """Return a task's name as a file's, which is the benchmark's name in reports.

    >>> file_name("flores200:fra_Latn-eng_Latn")
    'flores200_fra_Latn-eng_Latn'
    """
    return task.replace(":", "_").replace("/", "_").replace("|", "_")


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its choices as one list of texts: hub schemas nest them (ARC, CommonsenseQA)."""
    choices = row.get("choices")
    if isinstance(choices, Mapping) and "text" in choices:
        labels, texts = list(choices.get("label", [])), list(choices["text"])
        gold = row.get("answerKey")
        index = labels.index(gold) if gold in labels else None
        return {
            **row,
            "choices": texts,
            **({} if index is None else {"gold_index": index, "answerKey": None}),
        }
    return dict(row)


def found(build: Path) -> list[Found]:
    """Return what the decontamination reports of a build found, by profile, benchmark and source."""
    sums: dict[tuple[str, str, str], tuple[set[str], list[int]]] = defaultdict(lambda: (set(), []))
    for path in sorted(Path(build).glob(f"*/{REPORT}")):
        for match in read_report(path):
            documents, tokens = sums[(path.parent.name, match.benchmark, match.source)]
            documents.add(match.document)
            tokens.append(match.matched_tokens)
    return [
        Found(profile, benchmark, source, len(documents), sum(tokens))
        for (profile, benchmark, source), (documents, tokens) in sorted(sums.items())
    ]
