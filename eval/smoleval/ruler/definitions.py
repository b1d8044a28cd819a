"""RULER's task definitions (eval/tasks/ruler.yaml) and a checkpoint -> prompts, answers, the scores of each.

Prompts are made for the checkpoint's tokenizer, once, under ``<build>/<profile>/ruler/``, of the build's
English documents; or they are those of a folder that ``smoleval ruler build`` wrote. Answers are those of
``smoleval ruler run``, kept one by one: a length takes hours, and lighteval's pipeline, which keeps whole
tasks, would hold all prompts in memory. Cost: that of :mod:`smoleval.ruler.build` and
:mod:`smoleval.ruler.generate`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoldata.console import say
from smoldata.errors import InputError
from smoleval.definition import TaskDefinition
from smoleval.ruler.build import Spec, build
from smoleval.ruler.score import read_manifest, read_prompts, statements
from smoleval.ruler.tasks import TASKS, length_name, parse_length
from smoleval.scores import Score, scores_folder
from smoltok.tokenizer import SHIPPED, resolve


@dataclass(frozen=True, slots=True)
class Prompts:
    """Where the prompts of definitions come from."""

    tokenizer: str
    """Name of a shipped tokenizer, or a file or folder."""
    build: Path
    given: Path | None = None
    """Folder with a folder a length, as ``smoleval ruler build --out`` writes it; None: they are made."""
    limit: int | None = None
    """At most this many a task are made."""


def tokenizer_name(path: Path, build: Path) -> str:
    """Return what names a tokenizer's folder or file; a shipped one that was written out has its own name."""
    written_out = path.parent == build / "eval" / "tokenizers" and path.name in SHIPPED
    return path.name if written_out else str(path)


def prompts_of(task: TaskDefinition, checkpoint: Path, prompts: Prompts) -> Path:
    """Return the folder of a definition's prompts, made unless they are there; say what they lack.

    Raises :class:`InputError` if the given folder has none of this length, or more than the limit.
    """
    length = parse_length(str(task.args["length"]))
    if prompts.given is not None:
        return _given(prompts.given / length_name(length), prompts.limit)
    count = min(int(task.args["count"]), prompts.limit or int(task.args["count"]))
    place = scores_folder(checkpoint, prompts.build).parent
    home = place if (place / "documents").is_dir() else prompts.build / "sample"
    seed = int(task.args["seed"])
    spec = Spec(length, count, seed, prompts.tokenizer, build=str(home.parent), profile=home.name)
    # Prompts of another tokenizer or number stand beside these, not in their place.
    key = f"{resolve(prompts.tokenizer).sha256[:8]}-{count}-{seed}"
    out = place / "ruler" / key
    manifest = build(spec, list(TASKS.values()), out)
    for name, why in manifest["missing"].items():
        say(f"{task.name}: left out: {name}: {why} of `smoleval ruler build`, then --prompts")
    return out / length_name(length)


def _given(folder: Path, limit: int | None) -> Path:
    count = read_manifest(folder)["count"]
    if limit is not None and count > limit:
        raise InputError(
            f"{folder} has {count} prompts a task, --limit is {limit}; build them with --count {limit}, or "
            "leave --limit out"
        )
    return folder


def rows_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the prompts of a folder by task, each with how its answer is bounded and matched.

    These are the rows that the definitions' prompt function takes.
    """
    return {
        name: [
            prompt | {"answer_tokens": stated["answer_tokens"], "match": stated["metric"]}
            for prompt in read_prompts(folder, stated)
        ]
        for name, stated in statements(read_manifest(folder))
    }


def run_definition(
    task: TaskDefinition,
    checkpoint: Path,
    prompts: Prompts,
    *,
    device: str,
    dtype: str,
    advance: Callable[[int, str], None] = lambda _count, _what: None,
) -> list[Score]:
    """Return a definition's scores on a checkpoint: those of ``smoleval ruler run`` on the same prompts."""
    from smoleval.ruler.generate import Running, run

    folder = prompts_of(task, checkpoint, prompts)
    running = Running(device=device, precision=dtype, tokenizer=prompts.tokenizer)
    scores, _ = run(checkpoint, folder, running, advance)
    return scores
