"""A build's score files -> one book: all scores in SQL, and each checkpoint beside the published figures.

The book is a query over the files, not a file: every score under ``<build>/*/scores``, read strictly, as the
tables ``history`` (all evaluations) and ``scores`` (of equal task, mode, subset, metric, data profile and
checkpoint the one written last), with ``published`` and ``benchmarks`` (eval/published) beside them. A
published benchmark is the plain mean of its parts; with a part missing there is no figure. Cost: 2 ms a file.
"""

import csv
import importlib.resources
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoldata.errors import InputError
from smoleval.intervals import Z95, interval
from smoleval.scores import Score, read_scores

if TYPE_CHECKING:
    import duckdb

_PACKAGED, _CHECKOUT = "published", Path(__file__).parents[1] / "published"


@dataclass(frozen=True, slots=True)
class Entry:
    """A score and the file that it stands in."""

    score: Score
    file: str
    """Relative to the build."""
    written_ns: int
    """When the file was written: decides which of two evaluations is the latest, nothing else."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a published benchmark (benchmarks.csv)."""

    benchmark: str
    language: str
    mode: str
    task: str
    subset: str
    metric: str
    """May hold ``*``."""
    scale: float
    note: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A checkpoint's value of a published benchmark, in the published unit."""

    checkpoint: str
    checkpoint_sha256: str
    step: int | None
    benchmark: str
    language: str
    mode: str
    value: float
    low: float | None
    high: float | None
    items: int
    data_profile: str
    comparable: bool
    """Whether it may stand beside published figures: the benchmark's own rows, all of them."""
    why_not: str


@dataclass(frozen=True, slots=True)
class Published:
    """A published figure."""

    model: str
    mode: str
    category: str
    language: str
    benchmark: str
    score: float


def read_book(build: Path, also: Iterable[Path] = ()) -> list[Entry]:
    """Return all scores under a build folder and further folders, in the order of their files."""
    roots = [path for path in sorted(Path(build).glob("*/scores")) if path.is_dir()]
    for path in also:
        if not Path(path).is_dir():
            raise InputError(f"no folder of scores {path}")
        roots.append(Path(path))
    entries = []
    for root in roots:
        for path in sorted(root.rglob("*.parquet")):
            name = path.relative_to(build).as_posix() if path.is_relative_to(build) else path.as_posix()
            written = path.stat().st_mtime_ns
            entries += [Entry(score, name, written) for score in read_scores(path)]
    return entries


def latest(entries: Sequence[Entry]) -> list[Entry]:
    """Return of entries about the same thing the one written last."""
    newest: dict[tuple[str, ...], Entry] = {}
    for entry in entries:
        one = entry.score
        key = (one.checkpoint_sha256, one.task, one.mode, one.subset, one.metric, one.data_profile)
        before = newest.get(key)
        if before is None or (before.written_ns, before.file) < (entry.written_ns, entry.file):
            newest[key] = entry
    return list(newest.values())


def connect(entries: Sequence[Entry]) -> "duckdb.DuckDBPyConnection":
    """Return a DuckDB in memory with ``history``, ``scores``, ``published`` and ``benchmarks``."""
    import duckdb
    import pyarrow as pa

    from smoleval.scores import SCORE_SCHEMA

    kinds = [field for field in SCORE_SCHEMA if field.name != "format_version"]
    schema = pa.schema([*kinds, pa.field("file", pa.string()), pa.field("written_ns", pa.int64())])
    connection = duckdb.connect()
    for name, rows in (("history", entries), ("scores", latest(entries))):
        records = [
            asdict(entry.score) | {"file": entry.file, "written_ns": entry.written_ns} for entry in rows
        ]
        connection.register(f"{name}_rows", pa.Table.from_pylist(records, schema=schema))
        connection.execute(f"create table {name} as select * from {name}_rows")  # noqa: S608 - two fixed names
        connection.unregister(f"{name}_rows")
    for name, facts in (("published", published()), ("benchmarks", parts())):
        connection.register(f"{name}_rows", pa.Table.from_pylist([asdict(one) for one in facts]))
        connection.execute(f"create table {name} as select * from {name}_rows")  # noqa: S608 - two fixed names
        connection.unregister(f"{name}_rows")
    return connection


def _facts(name: str) -> list[dict[str, str]]:
    packaged = importlib.resources.files("smoleval") / _PACKAGED / name
    text = (packaged if packaged.is_file() else _CHECKOUT / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def published() -> tuple[Published, ...]:
    """Return the published figures (eval/published/scores.csv)."""
    rows = _facts("scores.csv")
    return tuple(Published(**{**row, "score": float(row["score"])}) for row in rows)  # type: ignore[arg-type]


@cache
def parts() -> tuple[Part, ...]:
    """Return the parts of published benchmarks (eval/published/benchmarks.csv)."""
    rows = _facts("benchmarks.csv")
    return tuple(Part(**{**row, "scale": float(row["scale"])}) for row in rows)  # type: ignore[arg-type]


def figures(entries: Sequence[Entry]) -> list[Figure]:
    """Return each checkpoint's values of published benchmarks, as far as all parts are there."""
    by_checkpoint: dict[str, list[Score]] = {}
    for entry in latest(entries):
        by_checkpoint.setdefault(entry.score.checkpoint_sha256, []).append(entry.score)
    keys: dict[tuple[str, str, str], list[Part]] = {}
    for part in parts():
        keys.setdefault((part.benchmark, part.language, part.mode), []).append(part)
    found = []
    for scores in by_checkpoint.values():
        for wanted in keys.values():
            chosen = [_best(part, scores) for part in wanted]
            there = [one for one in chosen if one is not None]
            if len(there) == len(wanted):
                found.append(_figure(wanted, there))
    return found


def _best(part: Part, scores: Sequence[Score]) -> Score | None:
    """Return the score of a part: the hub's rows before others, of several metrics the most samples."""
    mode = "" if part.mode == "base" else part.mode
    fitting = [
        score
        for score in scores
        if (score.task, score.subset, score.mode) == (part.task, part.subset, mode)
        and fnmatchcase(score.metric, part.metric)
    ]
    return max(
        fitting, key=lambda one: (one.data_profile == "hub", _samples(one.metric), one.items), default=None
    )


def _samples(metric: str) -> int:
    digits = [piece for piece in metric.replace("_", ":").split(":") if piece.isdigit()]
    return int(digits[-1]) if digits else 0


def _figure(wanted: Sequence[Part], scores: Sequence[Score]) -> Figure:
    part, scale = wanted[0], wanted[0].scale
    value = sum(score.value for score in scores) / len(scores)
    ends = _together(scores, value)
    why_not = next((why for score in scores if (why := _why_not(score))), "")
    profiles = sorted({score.data_profile for score in scores})
    return Figure(
        checkpoint=scores[0].checkpoint,
        checkpoint_sha256=scores[0].checkpoint_sha256,
        step=scores[0].step,
        benchmark=part.benchmark,
        language=part.language,
        mode=part.mode,
        value=scale * value,
        low=None if ends is None else scale * ends[0],
        high=None if ends is None else scale * ends[1],
        items=sum(score.items for score in scores),
        data_profile="+".join(profiles),
        comparable=not why_not,
        why_not=why_not,
    )


def _together(scores: Sequence[Score], value: float) -> tuple[float, float] | None:
    """Return the interval of a mean of scores: of one its own, of several from their standard errors."""
    if len(scores) == 1:
        return interval(scores[0].value, scores[0].stderr, scores[0].items)
    errors = [score.stderr for score in scores]
    if any(error is None for error in errors):
        return None
    half = Z95 * math.hypot(*(error or 0.0 for error in errors)) / len(scores)
    return value - half, value + half


def _why_not(score: Score) -> str:
    """Return why a score may not stand beside published figures; empty if it may."""
    if score.data_profile != "hub":
        return {
            "fixture": "items of our own in the benchmark's form",
            "packaged": "part of the benchmark, as a package ships it",
            "generated": "made of other texts than the published",
        }.get(score.data_profile, score.data_profile)
    limit = json.loads(score.settings).get("limit")
    return f"at most {limit} items" if limit else ""


def win_rates(values: dict[str, dict[str, float]]) -> dict[str, tuple[float, int]]:
    """Return each model's win rate and the number of comparisons: values are benchmark -> score by model.

    The rule: each pair of models is compared on each benchmark that both have; the higher score wins, equal
    scores are half a win each; the rate is the share of a model's comparisons won.

    >>> win_rates({"a": {"x": 2.0, "y": 1.0}, "b": {"x": 1.0, "y": 1.0}})
    {'a': (0.75, 2), 'b': (0.25, 2)}
    """
    rates = {}
    for name, own in values.items():
        points = [
            (1.0 if own[benchmark] > other[benchmark] else 0.5 if own[benchmark] == other[benchmark] else 0.0)
            for rival, other in values.items()
            if rival != name
            for benchmark in own
            if benchmark in other
        ]
        if points:
            rates[name] = (sum(points) / len(points), len(points))
    return rates


def newest_of_each_run(entries: Sequence[Entry], checkpoint: str = "") -> list[Entry]:
    """Return the entries of the checkpoints to show: those named, or of each run the one with most steps."""
    if checkpoint:
        kept = [entry for entry in entries if checkpoint in entry.score.checkpoint]
        if not kept:
            known = ", ".join(sorted({entry.score.checkpoint for entry in entries})) or "none"
            raise InputError(f"no scores of a checkpoint named like {checkpoint!r}; there are: {known}")
        return kept
    last: dict[str, int] = {}
    for entry in entries:
        run, step = run_of(entry.score), entry.score.step
        last[run] = max(last.get(run, -1), -1 if step is None else step)
    return [
        entry
        for entry in entries
        if (-1 if entry.score.step is None else entry.score.step) == last[run_of(entry.score)]
    ]


def run_of(score: Score) -> str:
    """Return the run that a checkpoint is of, or its own name if it is of none."""
    return score.checkpoint.rpartition("/")[0] if score.step is not None else score.checkpoint


def without_counterpart(entries: Sequence[Entry]) -> list[Score]:
    """Return whole-task scores for which nothing is published: such as held-out loss, or RULER at 4k."""
    return [
        entry.score
        for entry in latest(entries)
        if (not entry.score.subset or entry.score.subset.startswith("("))
        and not any(_covers(part, entry.score) for part in parts())
    ]


def _covers(part: Part, score: Score) -> bool:
    return part.task == score.task and part.mode == (score.mode or "base") and not score.subset


def as_json(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return figures, win rates and scores without a counterpart, for a program."""
    found = figures(entries)
    return {
        "figures": [asdict(one) for one in found],
        "win_rates": {mode: win_rates(_values(found, mode)) for mode in ("base", "no_think", "think")},
        "no_counterpart": [asdict(one) for one in without_counterpart(entries)],
    }


def _values(found: Sequence[Figure], mode: str) -> dict[str, dict[str, float]]:
    """Return benchmark -> score by model: published, and comparable figures of checkpoints."""
    values: dict[str, dict[str, float]] = {}
    for fact in published():
        if fact.mode == mode:
            values.setdefault(fact.model, {})[f"{fact.benchmark} {fact.language}"] = fact.score
    for one in found:
        if one.mode == mode and one.comparable:
            values.setdefault(one.checkpoint, {})[f"{one.benchmark} {one.language}"] = one.value
    return values


def rates(found: Sequence[Figure], mode: str) -> dict[str, tuple[float, int]]:
    """Return the win rates of published models and comparable checkpoints in a mode."""
    return win_rates(_values(found, mode))
