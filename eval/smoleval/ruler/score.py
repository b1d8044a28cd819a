"""Prompts and predictions -> scores: RULER's string match, a row a task and their mean.

``all``: the share of the expected texts that the prediction holds; ``part``: 1 if it holds any; both without
regard to case, control characters as line feeds (RULER, ``scripts/eval``). RULER's figure for a length is the
plain mean of the thirteen tasks; of fewer tasks the mean is given under ``(n of 13)``, never as RULER's.
Standard errors take prompts as the sample.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smoldata.errors import InputError, IntegrityError
from smoldata.files import digest_values, sha256
from smoleval.definition import registry
from smoleval.ruler.tasks import KINDS, TASKS, length_name
from smoleval.scores import Score, canonical, checkpoint_sha256, label_of, sha256_rows, step_of

METRIC = "string_match"
_CONTROL = re.compile(r"[\x00-\x1f]")


def string_match(prediction: str, outputs: Sequence[str], metric: str) -> float:
    """Return the score of one prediction, 0 to 1.

    >>> string_match("It is 12 or 34.", ["12", "99"], "all"), string_match("Paris", ["paris", "x"], "part")
    (0.5, 1.0)
    """
    said = _CONTROL.sub("\n", prediction.strip()).strip().lower()
    found = [output.lower() in said for output in outputs]
    return float(any(found)) if metric == "part" else sum(found) / len(found)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder of prompts; raises :class:`InputError` if it is none."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(f"{folder} holds no RULER prompts; make some with `smoleval ruler build`")
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


def statements(manifest: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return what a manifest says of each task, in RULER's order."""
    return [(name, manifest["tasks"][name]) for name in TASKS if name in manifest["tasks"]]


def read_prompts(folder: Path, statement: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a task's prompts; raises :class:`IntegrityError` if the file is not the one of the manifest."""
    path = folder / statement["file"]
    if not path.is_file() or sha256(path) != statement["sha256"]:
        raise IntegrityError(f"{path} is not what its manifest says; run `smoleval ruler build` again")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_predictions(path: Path) -> dict[int, str]:
    """Return predictions by index: JSON lines with ``index`` and ``pred``, RULER's own form."""
    if not path.is_file():
        raise InputError(f"no predictions {path}: JSON lines with index and pred are wanted")
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            found[int(row["index"])] = str(row["pred"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}:{number}: not JSON with index and pred ({error!r})") from error
    return found


def score_predictions(
    data: Path, predictions: Path, checkpoint: Path, engine: str, settings: dict[str, Any], mode: str = ""
) -> list[Score]:
    """Return the scores of predictions (``<task>.jsonl``) for the prompts of ``data``.

    Raises :class:`InputError` if a prompt has no prediction.
    """
    manifest = read_manifest(data)
    common: dict[str, Any] = {
        "task": f"ruler_{length_name(manifest['length'])}",
        "suite": "ruler",
        "mode": mode,
        "metric": METRIC,
        "task_version": _task_version(f"ruler_{length_name(manifest['length'])}"),
        # Prompts of the published texts are RULER's own; others are not compared with published figures.
        "data_profile": "generated" if manifest["differs"] else "hub",
        "checkpoint": label_of(checkpoint),
        "checkpoint_sha256": checkpoint_sha256(checkpoint),
        "step": step_of(checkpoint),
        "engine": engine,
        "settings": canonical(settings | {name: manifest[name] for name in _FACTS}),
    }
    rows = []
    for name, statement in statements(manifest):
        prompts = read_prompts(data, statement)
        points = _points(prompts, read_predictions(predictions / f"{name}.jsonl"), statement["metric"], name)
        value, error = mean(points)
        made = Score(
            **common,
            subset=name,
            value=value,
            stderr=error,
            items=len(points),
            data_sha256=statement["sha256"],
        )
        rows.append(made)
    return [*rows, _together(common, rows)]


def _task_version(name: str) -> str:
    """Return the definition's, or where this length has none that of the published parameters."""
    defined = registry().get(name)
    parameters = ([asdict(one) for one in TASKS.values()], [asdict(one) for one in KINDS.values()])
    return defined.task_version if defined else digest_values(*parameters)[:16]


_FACTS = ("length", "count", "seed", "template_tokens", "differs")


def _points(prompts: list[dict[str, Any]], said: dict[int, str], metric: str, name: str) -> list[float]:
    absent = [prompt["index"] for prompt in prompts if prompt["index"] not in said]
    if absent:
        raise InputError(
            f"{name}: {len(absent)} of {len(prompts)} prompts have no prediction, first {absent[0]}"
        )
    return [string_match(said[prompt["index"]], prompt["outputs"], metric) for prompt in prompts]


def mean(points: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and its standard error (None for one point)."""
    value = sum(points) / len(points)
    if len(points) == 1:
        return value, None
    variance = sum((point - value) ** 2 for point in points) / (len(points) - 1)
    return value, math.sqrt(variance / len(points))


def _together(common: dict[str, Any], rows: list[Score]) -> Score:
    errors = [row.stderr for row in rows if row.stderr is not None]
    return Score(
        **common,
        subset="" if len(rows) == len(TASKS) else f"({len(rows)} of {len(TASKS)})",
        value=sum(row.value for row in rows) / len(rows),
        stderr=math.hypot(*errors) / len(rows) if len(errors) == len(rows) else None,
        items=sum(row.items for row in rows),
        data_sha256=sha256_rows(row.data_sha256 for row in rows),
    )
