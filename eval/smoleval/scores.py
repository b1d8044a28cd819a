"""Scores as Parquet: each row names its task and version, its data, its checkpoint, its settings.

One file holds what one evaluation gave: all rows of a checkpoint, a task and a mode. Its name ends in a
digest of what decides the numbers (task version, data, settings, engine, shots), so that the same evaluation
again gives the same bytes under the same name, and another one stands beside it. Format 2,
docs/formats.md; the reader refuses anything else. Cost: a checkpoint's hash reads its weights once
(about 1 GB/s).
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.errors import InputError, IntegrityError
from smoldata.files import atomic_path, sha256

FORMAT_VERSION = 2
SUITES = ("base", "base_multilingual", "instruct", "card_only", "extra", "heldout", "ruler")
MODES = ("", "think", "no_think")
PROFILES = ("hub", "packaged", "fixture", "generated")
_FIELDS: tuple[tuple[str, Any, bool], ...] = (
    ("task", pa.string(), False),
    ("subset", pa.string(), False),
    ("suite", pa.string(), False),
    ("mode", pa.string(), False),
    ("shots", pa.int32(), False),
    ("metric", pa.string(), False),
    ("value", pa.float64(), False),
    ("stderr", pa.float64(), True),
    ("items", pa.int64(), False),
    ("task_version", pa.string(), False),
    ("data_profile", pa.string(), False),
    ("data_revision", pa.string(), False),
    ("data_sha256", pa.string(), False),
    ("checkpoint", pa.string(), False),
    ("checkpoint_sha256", pa.string(), False),
    ("step", pa.int64(), True),
    ("engine", pa.string(), False),
    ("settings", pa.string(), False),
    ("tokens", pa.int64(), True),
    ("bytes", pa.int64(), True),
    ("code_version", pa.string(), False),
)
SCORE_SCHEMA: Any = pa.schema(
    [pa.field("format_version", pa.int32(), nullable=False)]
    + [pa.field(name, kind, nullable=nullable) for name, kind, nullable in _FIELDS]
)
_WEIGHTS = re.compile(r"(pytorch_)?model.*\.safetensors")
_DECIDING = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EVALUATION = (
    *("suite", "task", "mode", "shots", "task_version", "data_profile", "data_revision", "checkpoint"),
    *("checkpoint_sha256", "engine", "settings", "code_version"),
)
_BETWEEN = {"checkpoints", "steps", "watched"}
"""Folders between a run and its checkpoints."""
_STEP = re.compile(r"(?:step|checkpoint)-(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number: a metric of a task, on a subset of its data, of a checkpoint."""

    task: str
    subset: str = ""
    """Part of the task's data, such as a language, a subject or a source; empty: all of it."""
    suite: str
    """One of ``SUITES``."""
    mode: str = ""
    """``think``, ``no_think``, or empty for base models."""
    shots: int = 0
    metric: str
    value: float
    """As the metric gives it: a share of items is between 0 and 1, not in percent."""
    stderr: float | None = None
    """Standard error over items; None where it is not known (one item, or no sample)."""
    items: int
    task_version: str
    data_profile: str
    """One of ``PROFILES``: where the rows came from; only ``hub`` compares with published figures."""
    data_revision: str = ""
    """Commit of the hub dataset, or name and version of the package."""
    data_sha256: str
    """Of the rows used."""
    checkpoint: str
    """A name for people (:func:`label_of`)."""
    checkpoint_sha256: str
    """:func:`checkpoint_sha256`."""
    step: int | None = None
    """Steps of training done, where the checkpoint says it."""
    engine: str
    """Program and version, such as ``lighteval 0.13.0``."""
    settings: str = "{}"
    """What else decides the number: JSON in canonical form (:func:`canonical`)."""
    tokens: int | None = None
    """Labels scored, where that is counted."""
    bytes: int | None = None
    """UTF-8 bytes of those labels."""
    code_version: str = ""

    def __post_init__(self) -> None:
        """Raise :class:`InputError` if a field can't be in a score file."""
        problem = _problem(self)
        if problem:
            raise InputError(f"score of {self.task!r} {self.metric!r} on {self.checkpoint!r}: {problem}")


def _problem(score: Score) -> str:
    """Return what is wrong with a row; empty if nothing is."""
    return next((found for rule in (_bad_name, _bad_number) if (found := rule(score))), "")


def _bad_name(score: Score) -> str:
    known = (("suite", SUITES), ("mode", MODES), ("data_profile", PROFILES))
    for name, allowed in known:
        if getattr(score, name) not in allowed:
            return f"{name} is {getattr(score, name)!r}, wanted one of {', '.join(map(repr, allowed))}"
    for name in ("task", "metric", "task_version", "checkpoint", "engine"):
        if not getattr(score, name):
            return f"{name} is empty"
    for name in ("data_sha256", "checkpoint_sha256"):
        if not _SHA256.fullmatch(getattr(score, name)):
            return f"{name} is {getattr(score, name)!r}, wanted 64 hexadecimal digits"
    if score.settings != canonical(json.loads(score.settings)):
        return f"settings is not in canonical form: {score.settings}"
    return ""


def _bad_number(score: Score) -> str:
    if not math.isfinite(score.value):
        return f"value is {score.value}, wanted a finite number; leave out what could not be computed"
    if score.stderr is not None and not (math.isfinite(score.stderr) and score.stderr >= 0):
        return f"stderr is {score.stderr}, wanted a number of at least 0, or None"
    if score.items < 1 or score.shots < 0:
        return f"items is {score.items} and shots {score.shots}, wanted at least 1 and 0"
    return ""


def canonical(settings: Mapping[str, Any]) -> str:
    """Return settings as JSON with sorted keys and no spaces: equal settings are equal text."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_rows(rows: Iterable[object]) -> str:
    """Return the sha256 of JSON-able rows in their order (``data_sha256``); reads one row at a time."""
    digest = hashlib.sha256()
    for row in rows:
        text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
        digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def checkpoint_sha256(folder: Path) -> str:
    """Return one hash over all files of a checkpoint that decide what the model says.

    Those are the weights, the configuration and, as far as they are there, tokenizer and chat template.
    Raises :class:`InputError` if the folder is not in Hugging Face form.
    """
    weights = sorted(path for path in Path(folder).glob("*.safetensors") if _WEIGHTS.fullmatch(path.name))
    if not weights or not (Path(folder) / "config.json").is_file():
        raise InputError(
            f"{folder} holds no config.json with model.safetensors; give a checkpoint in Hugging Face "
            "form, or the folder of a run of `smoltrain train`"
        )
    beside = [path for name in _DECIDING if (path := Path(folder) / name).is_file()]
    return sha256_rows([path.name, sha256(path)] for path in sorted(weights + beside))


def label_of(checkpoint: Path) -> str:
    """Return a checkpoint's name for people: ``<run>/step-0000010``, ``<run>/sft/final``, or its folder."""
    parts = Path(checkpoint).resolve().parts
    if "runs" not in parts:
        return parts[-1]
    after = parts[len(parts) - parts[::-1].index("runs") :]
    return "/".join(part for part in after if part not in _BETWEEN) or parts[-1]


def step_of(checkpoint: Path) -> int | None:
    """Return the steps done that a checkpoint's folder is named after (``step-10``), or None."""
    found = _STEP.fullmatch(Path(checkpoint).name)
    return int(found[1]) if found else None


def scores_folder(checkpoint: Path, build: Path) -> Path:
    """Return where the scores of a checkpoint go: the profile's ``scores/`` if it is a run's of a build.

    Else ``<build>/external/scores``: nothing is written beside a checkpoint of another's.
    """
    resolved = Path(checkpoint).resolve()
    for parent in resolved.parents:
        if parent.name == "runs":
            profile = parent.parent
            return (profile.parent if profile.name == "post" else profile) / "scores"
    return Path(build) / "external" / "scores"


def score_path(folder: Path, scores: Sequence[Score]) -> Path:
    """Return the file for the evaluation whose rows are ``scores``: one checkpoint, task, mode and setting.

    Subsets may have data of their own. Raises :class:`InputError` if there are no rows, or there are
    several evaluations.
    """
    if not scores:
        raise InputError(f"no scores to write to {folder}")
    evaluations = {tuple(getattr(score, name) for name in _EVALUATION) for score in scores}
    if len(evaluations) != 1:
        differing = [name for at, name in enumerate(_EVALUATION) if len({one[at] for one in evaluations}) > 1]
        raise InputError(
            f"{len(evaluations)} evaluations in one list, they differ in {', '.join(differing)}; "
            "save each on its own"
        )
    first, data = scores[0], sorted({(score.subset, score.data_sha256) for score in scores})
    where = f"{_slug(first.checkpoint)}-{first.checkpoint_sha256[:8]}"
    mode = f"-{first.mode}" if first.mode else ""
    digest = sha256_rows([*evaluations, data])[:8]
    return Path(folder) / where / f"{_slug(first.task)}{mode}-{digest}.parquet"


def _slug(name: str) -> str:
    return re.sub(r"[^\w.+=-]+", "_", name)


def write_scores(scores: Sequence[Score], path: Path) -> None:
    """Write the scores of one evaluation to a file, whole or not at all.

    Raises :class:`InputError` if there are none, or two rows say the same thing.
    """
    if not scores:
        raise InputError(f"no scores to write to {path}")
    seen: set[tuple[str, ...]] = set()
    for score in scores:
        key = (score.checkpoint_sha256, score.task, score.mode, score.subset, score.metric)
        if key in seen:
            raise InputError(f"{path}: two rows for {score.task} {score.subset} {score.metric}")
        seen.add(key)
    columns = zip(*(astuple(score) for score in scores), strict=True)
    named = dict(zip((one.name for one in fields(Score)), columns, strict=True))
    arrays = [pa.array([FORMAT_VERSION] * len(scores), pa.int32())]
    arrays += [pa.array(list(named[name]), kind) for name, kind, _ in _FIELDS]
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, schema=SCORE_SCHEMA), temporary, compression="zstd")


def save_scores(scores: Sequence[Score], folder: Path) -> Path:
    """Write the scores of one evaluation to its file under ``folder``; return the file."""
    path = score_path(folder, scores)
    write_scores(scores, path)
    return path


def recorded(folder: Path, *, checkpoint_sha256: str, task: str, mode: str = "") -> list[list[Score]]:
    """Return the evaluations of a checkpoint on a task that stand under ``folder``, to see what is done."""
    found = []
    for path in sorted(Path(folder).glob(f"*-{checkpoint_sha256[:8]}/{_slug(task)}*.parquet")):
        scores = read_scores(path)
        if (scores[0].checkpoint_sha256, scores[0].task, scores[0].mode) == (checkpoint_sha256, task, mode):
            found.append(scores)
    return found


def read_scores(path: Path) -> list[Score]:
    """Read a score file; raises :class:`IntegrityError` if it is none of this format."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise IntegrityError(f"{path} is no score file: {error}; delete it and score again") from error
    if table.schema.names != SCORE_SCHEMA.names or not table.schema.equals(SCORE_SCHEMA):
        raise IntegrityError(
            f"{path}: columns {', '.join(table.schema.names[:6])}..., wanted those of score format "
            f"{FORMAT_VERSION} (docs/formats.md); delete it and score again"
        )
    rows = table.to_pylist()
    for row in rows:
        if (version := row.pop("format_version")) != FORMAT_VERSION:
            raise IntegrityError(f"{path}: format {version}, this code reads {FORMAT_VERSION}; score again")
    return [Score(**row) for row in rows]


def as_row(score: Score) -> dict[str, Any]:
    """Return a score as plain values, for JSON."""
    return asdict(score)
