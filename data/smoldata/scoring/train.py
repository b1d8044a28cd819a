"""Labelled documents -> a classifier of one's own, its precision and recall on held-out ones, and its card.

1. Documents are read strictly; a label column, or a score column with a threshold, says which are positive.
2. A hash of the text decides who is held out, so that copies fall on one side, whatever the files' order.
3. fastText learns (DCLM's settings: bigrams, 100 numbers a word, rate 0.1, 5 passes) or a head is fitted on
   an encoder; the held-out documents are scored; the threshold is the one that reaches the stated target.
4. Model, curve (JSON, SVG) and card are written whole, ``classifier.json`` last.
The same documents and settings give the same model, byte for byte on one machine.

fastText runs in a fresh process (:mod:`smoldata.scoring.fasttext_worker` says why), with a matrix of at least
32 MiB, which glibc takes from the system. Cost: seconds for 10,000 documents.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import xxhash

from smoldata.errors import InputError
from smoldata.files import atomic_path, sha256, write_atomic, write_json
from smoldata.reading import read_documents
from smoldata.scoring.curves import Point, Target, as_json, average_precision, choose, curve, picture
from smoldata.scoring.fasttext_models import load, one_line

POSITIVE: Final = "__label__hq"
NEGATIVE: Final = "__label__cc"
MODEL: Final = "model.bin"
CLASSIFIER: Final = "classifier.json"
_LEAST_MATRIX_BYTES: Final = 32 << 20
_WORKER: Final = Path(__file__).with_name("fasttext_worker.py")
_FRESH_MEMORY: Final = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 17)}
_HASHES: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Labels:
    """Which documents are positive."""

    text: str = "text"
    column: str = "label"
    positive: tuple[str, ...] = ()
    """Values of the column that are positive; empty: the column is a number."""
    at_least: float | None = None
    """The number from which a document is positive."""

    def of(self, value: object, place: str) -> bool:
        """Return whether a document is positive. Raises InputError for a value that is no label."""
        if self.positive:
            return str(value) in self.positive
        if isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return value >= (1 if self.at_least is None else self.at_least)
        raise InputError(
            f"{place}: {self.column} is {value!r}; want a number or true/false, or name the positive labels "
            "with --positive"
        )


@dataclass(frozen=True, slots=True)
class Learning:
    """How fastText learns."""

    rate: float = 0.1
    passes: int = 5
    dimensions: int = 100
    word_ngrams: int = 2
    buckets: int = 200_000
    """Rows for n-grams; DCLM: 2,000,000."""
    least_count: int = 1
    seed: int = 6


@dataclass(frozen=True, slots=True)
class Split:
    """Documents with their labels."""

    texts: tuple[str, ...]
    positive: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Trained:
    """What training gave."""

    folder: Path
    chosen: Point
    average_precision: float
    train: int
    held_out: int
    positive: int
    """Of all documents."""


def read_labelled(paths: Sequence[Path], labels: Labels, held_out: float) -> tuple[Split, Split]:
    """Return training and held-out documents; copies of a text fall on the same side.

    Raises:
        InputError: a label is missing or no label, or a side has documents of one kind only.
    """
    sides: tuple[list[tuple[str, bool]], list[tuple[str, bool]]] = ([], [])
    for document in read_documents(paths, text_column=labels.text, duplicate_ids="keep"):
        place = f"{document.path}: row {document.row}"
        if labels.column not in document.columns:
            known = ", ".join(sorted(document.columns)) or "none"
            raise InputError(f"{place}: no column {labels.column}; other columns: {known} (--label-column)")
        is_held = xxhash.xxh3_64_intdigest(document.text.encode()) < held_out * _HASHES
        sides[is_held].append((document.text, labels.of(document.columns[labels.column], place)))
    # The order of files does not matter: learning reads by hash.
    train, held = (
        sorted(set(side), key=lambda one: xxhash.xxh3_64_intdigest(one[0].encode())) for side in sides
    )
    if len({is_positive for _, is_positive in train}) < 2:  # noqa: PLR2004 - positive and negative
        raise InputError(f"all {len(train):,} training documents have the same label; nothing can be learnt")
    return _split(train), _split(held)


def _split(rows: Sequence[tuple[str, bool]]) -> Split:
    return Split(tuple(text for text, _ in rows), tuple(is_positive for _, is_positive in rows))


def train_fasttext(split: Split, learning: Learning, path: Path) -> None:
    """Train a fastText classifier and write its model to ``path``.

    Raises:
        InputError: the matrix is too small (see above), or the rate so high that numbers overflow.
    """
    size = learning.buckets * learning.dimensions * 4
    if size < _LEAST_MATRIX_BYTES:
        least = -(-_LEAST_MATRIX_BYTES // (4 * learning.dimensions))
        raise InputError(
            f"{learning.buckets:,} buckets of {learning.dimensions} numbers are {size:,} bytes; fastText is "
            f"not reproducible with a matrix under 32 MiB: want at least {least:,} --buckets"
        )
    with TemporaryDirectory() as folder:
        lines = Path(folder) / "train.txt"
        with lines.open("w", encoding="utf-8") as file:
            for text, is_positive in zip(split.texts, split.positive, strict=True):
                file.write(f"{POSITIVE if is_positive else NEGATIVE} {_no_labels(one_line(text))}\n")
        with atomic_path(path) as temporary:
            command = [
                sys.executable,
                str(_WORKER),
                str(lines),
                str(temporary),
                json.dumps(_arguments(learning)),
            ]
            ended = subprocess.run(
                command, check=False, capture_output=True, text=True, env=os.environ | _FRESH_MEMORY
            )
            if ended.returncode != 0:
                said = (ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"])[-1]
                raise InputError(f"fastText cannot learn at rate {learning.rate:g}: {said}; lower the rate")


def _arguments(learning: Learning) -> dict[str, Any]:
    return {
        "lr": learning.rate,
        "epoch": learning.passes,
        "dim": learning.dimensions,
        "wordNgrams": learning.word_ngrams,
        "bucket": learning.buckets,
        "minCount": learning.least_count,
        "seed": learning.seed,
        "minn": 0,
        "maxn": 0,
        "thread": 1,  # more are faster and give another model each time
        "verbose": 0,
    }


def _no_labels(text: str) -> str:
    """Return text in which no word is read as a label."""
    return text.replace("__label__", "__ label__")


def train_classifier(
    paths: Sequence[Path],
    into: Path,
    target: Target,
    *,
    labels: Labels | None = None,
    learning: Learning | None = None,
    held_out: float = 0.1,
    encoder: str | None = None,
    revision: str | None = None,
) -> Trained:
    """Train a classifier on labelled documents and write it, its curve and its card into a folder.

    With ``encoder`` (a folder, or a repository and its commit), a head on it is fitted instead of fastText.

    Raises:
        InputError: labels are wrong, or no threshold reaches the target.
    """
    labels, learning = labels or Labels(), learning or Learning()
    train, held = read_labelled(paths, labels, held_out)
    (into / CLASSIFIER).unlink(missing_ok=True)
    if encoder is None:
        train_fasttext(train, learning, into / MODEL)
        model = load(into / MODEL, sha256(into / MODEL))
        scores = [model.probability(text, POSITIVE) for text in held.texts]
    else:
        from smoldata.scoring.heads import fit_head

        scores = fit_head(train, held.texts, encoder, revision, into / "encoder", seed=learning.seed)
    points = curve(scores, held.positive)
    chosen = choose(points, target)
    positive = sum(train.positive) + sum(held.positive)
    area = average_precision(points)
    trained = Trained(into, chosen, area, len(train.texts), len(held.texts), positive)
    _write(trained, points, target, learning, held_out, encoder, revision)
    return trained


def _write(
    trained: Trained,
    points: Sequence[Point],
    target: Target,
    learning: Learning,
    held_out: float,
    encoder: str | None,
    revision: str | None,
) -> None:
    """Write curve, picture, card, and last what says that all of it is there."""
    from smoldata.scoring.card import card

    into = trained.folder
    title = f"Precision over recall on {trained.held_out:,} held-out documents"
    write_json(into / "curve.json", as_json(points))
    write_atomic(into / "curve.svg", picture(points, trained.chosen, title) + "\n")
    files = [MODEL] if encoder is None else sorted(f"encoder/{p.name}" for p in (into / "encoder").glob("*"))
    record = {
        "format_version": 1,
        "kind": "fasttext" if encoder is None else "encoder",
        "label": POSITIVE if encoder is None else None,
        "base": None if encoder is None else {"model": encoder, "revision": revision},
        "threshold": trained.chosen.threshold,
        "target": {target.goal: target.value},
        "held_out": {
            "documents": trained.held_out,
            "share": held_out,
            "precision": trained.chosen.precision,
            "recall": trained.chosen.recall,
            "kept": trained.chosen.kept,
            "average_precision": trained.average_precision,
        },
        "documents": trained.train + trained.held_out,
        "positive": trained.positive,
        "learning": {name: getattr(learning, name) for name in Learning.__slots__},
        "files": {name: sha256(into / name) for name in [*files, "curve.json", "curve.svg"]},
    }
    write_atomic(into / "README.md", card(record))
    write_json(into / CLASSIFIER, record)
