"""The child process of an evaluation: a job on standard input -> score files; a line of JSON for each.

Run as ``python -m smoleval.launcher`` by :mod:`smoleval.engine`, which sets the environment (offline unless
rows come from the hub). It ends with its parent. A task's details are written before its scores: a score file
says that the task is done.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from smoldata.errors import SmolError
from smoldata.workers import watch_parent
from smoleval.data import load_data
from smoleval.definition import TaskDefinition, registry
from smoleval.job import Item, Job, details_path, score_rows

if TYPE_CHECKING:
    from smoleval.pipeline import Outcome

_FAILED = 3
"""Exit code: a line with ``error`` says why."""


def main() -> None:
    """Read the job, run its items in order, say after each what was written."""
    watch_parent()
    job = Job.from_json(json.load(sys.stdin))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    try:
        with _libraries_print_elsewhere(), TemporaryDirectory(prefix="smoleval-") as work:
            for item, path, truncated in _run(job, work):
                _say(answers, {"item": asdict(item), "path": str(path), "truncated": truncated})
    except SmolError as error:
        _say(answers, {"error": str(error), "kind": type(error).__name__})
        sys.exit(_FAILED)


def _say(answers: Any, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


@contextmanager
def _libraries_print_elsewhere() -> Iterator[None]:
    """Send what libraries print to standard error: standard output carries our lines."""
    with redirect_stdout(sys.stderr):
        yield


def _run(job: Job, work: str) -> Iterator[tuple[Item, Path, int]]:
    quiet()
    from smoleval.loading import load
    from smoleval.pipeline import evaluate

    model = load(job)
    for item in job.items:
        task = registry()[item.task]
        data = load_data(task, item.profile, Path(job.packages))
        outcome = evaluate(model, task, data, mode=item.mode, limit=job.limit, work=work)
        yield item, _save(job, item, task, data.sha256, data.revision, outcome), outcome.truncated


def _save(
    job: Job, item: Item, task: TaskDefinition, data_sha256: str, revision: str, outcome: "Outcome"
) -> Path:
    from smoleval.scores import score_path, write_scores

    scores = score_rows(job, item, task, data_sha256, revision, outcome.measured)
    path = score_path(Path(job.scores), scores)
    _write_details(outcome, details_path(path, Path(job.scores), Path(job.details)))
    write_scores(scores, path)
    return path


def _write_details(outcome: "Outcome", path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from smoldata.files import atomic_path

    texts = ("choices", "gold", "answers", "logprobs", "metrics")
    rows = [asdict(detail) for detail in outcome.details]
    plain = [
        row | {name: json.dumps(row[name], ensure_ascii=False, default=str) for name in texts} for row in rows
    ]
    kinds = [("subset", pa.string()), ("item", pa.int64()), ("prompt", pa.string())]
    schema = pa.schema(kinds + [(name, pa.string()) for name in texts])
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(plain, schema=schema), temporary, compression="zstd")


def quiet() -> None:
    """Keep the libraries' progress bars and advice away; warnings stay."""
    import logging

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for name in ("lighteval", "lm_eval", "datasets", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    main()
