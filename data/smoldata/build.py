"""Raw files -> ``documents/<source>/``: every drop counted, resumable, the same bytes each time.

Each source is a datatrove pipeline of its kind, run in tasks by datatrove's local executor on watched
processes.
1. A task reads its share of the files and leaves documents, keys and counts in a staging folder that is
   named by the hash of inputs, settings and code: what another configuration left is never taken for done.
2. When all tasks of a source are done, copies of a text across its tasks are dropped, repeated identifiers
   are settled, the files get their final names, and the manifest is written last.
A run that is killed anywhere goes on where it stopped and ends with the same bytes. The merge holds about
100 bytes a document in memory.
"""

import contextlib
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from smoldata.console import progress, say
from smoldata.documents import FORMAT_VERSION
from smoldata.errors import SourceError
from smoldata.files import digest_values, remove_leftovers, single_writer, write_json, xxh3_128
from smoldata.inputs import has_text, list_inputs
from smoldata.kinds import renderer
from smoldata.licences import gated, read_classes
from smoldata.merge import MANIFEST, Gather, merge, read_manifest
from smoldata.pipeline_types import Limit, RawInput
from smoldata.reading import Report
from smoldata.recipe import BoundStep, PipelineRecipe, load_pipeline
from smoldata.registry import Registry, Source
from smoldata.registry_lint import ORIGIN, revision_of
from smoldata.steps import StepContext, gather_function, make_steps, read_settings, step_modules
from smoldata.workers import run_all

_STAGING = ".work"
_MOST_TASKS = 1000
_TASK_BYTES = 512 << 10
# The modules that decide what a document is: an edit elsewhere makes nothing stale.
_SHAPING = (
    "documents.py",
    "dropped.py",
    "filters.py",
    "heritage.py",
    "identifiers.py",
    "merge.py",
    "papers.py",
    "pipeline.py",
    "reading.py",
    "streams.py",
    "watched.py",
)


@dataclass(frozen=True, slots=True)
class Job:
    """A source to build."""

    source: Source
    inputs: tuple[RawInput, ...]
    tasks: int
    limit: Limit
    folder: Path
    """Where the documents go: ``documents/<source>``."""
    work: Path
    """Where staging folders stand."""
    input_hash: str
    staged_hash: str
    """Of what decides the tasks' work: all but what the merge alone decides."""
    code_version: str
    recipe: PipelineRecipe
    why: str
    """Why it is built; empty when it is up to date."""

    @property
    def staging(self) -> Path:
        """Where tasks leave their work, named by what went into it."""
        return self.work / f"{self.source.name}-{self.staged_hash}"


Runner = Callable[[Sequence[Job]], None]
"""Runs the tasks of jobs and publishes them, somewhere else."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a source became."""

    source: str
    read: int
    kept: int
    dropped: dict[str, int]
    text_bytes: int
    files: int
    fresh: bool
    """Made by this run; false: it was up to date."""


def build_documents(
    names: Sequence[str] | None,
    *,
    registry: Registry,
    profile: str = "sample",
    build: Path,
    tasks: int | None = None,
    workers: int = 2,
    limit: Limit | None = None,
    run: Runner | None = None,
    forbid_licences: Sequence[str] = (),
) -> list[Built]:
    """Build the documents of sources (default: all that have text in the profile) under ``build/<profile>``.

    ``tasks`` is the number of files that a source becomes (default: one a raw file, but no more than one for
    512 KiB of them and 1,000 in all; 1 with a limit). ``run`` runs the tasks elsewhere
    (:mod:`smoldata.cluster`) instead of in ``workers`` processes here. ``forbid_licences`` names classes
    (:mod:`smoldata.licences`): documents of one are dropped and counted; a source all of whose documents are
    of one is refused. Raises :class:`SourceError` for an unknown source, one without documents, or damaged
    input.
    """
    documents = build / profile / "documents"
    chosen = registry.select(names)
    sources = chosen if names else [source for source in chosen if has_text(source, profile)]
    with single_writer(documents):
        remove_leftovers(documents)
        _refuse_licences(sources, profile, forbid_licences)
        jobs = [
            plan_job(source, registry, profile, build, tasks, limit or Limit(), forbid_licences)
            for source in sources
        ]
        build_jobs([job for job in jobs if job.why], workers, run)
        # Slurm's jobs end later: what is not there yet is not reported.
        return [built_of(job) for job in jobs if run is None or read_manifest(job.folder)]


def plan_job(
    source: Source,
    registry: Registry,
    profile: str,
    build: Path,
    tasks: int | None,
    limit: Limit,
    forbid_licences: Sequence[str] = (),
) -> Job:
    """Return what is to be done for a source, and why."""
    inputs = tuple(list_inputs(source, registry, profile, build))
    documents = build / profile / "documents"
    recipe = recipe_of(source, profile)
    recipe = with_gate(recipe, forbid_licences)
    return make_job(source, recipe, inputs, documents / source.name, documents / _STAGING, tasks, limit)


def with_gate(recipe: PipelineRecipe, forbid_licences: Sequence[str]) -> PipelineRecipe:
    """Return a recipe that first drops documents whose licence is of one of the classes, if there are any."""
    forbidden = list(read_classes(forbid_licences))
    if not forbidden:
        return recipe
    gate = BoundStep("licence", {"forbid": forbidden}, "asked for: --forbid-licences")
    return replace(recipe, steps=(gate, *recipe.steps))


def make_job(
    source: Source,
    recipe: PipelineRecipe,
    inputs: tuple[RawInput, ...],
    folder: Path,
    work: Path,
    tasks: int | None,
    limit: Limit,
) -> Job:
    """Return what is to be done for documents in ``folder``; its hash covers all that decides them."""
    count = 1 if limit.is_set() else min(tasks or _default_tasks(inputs), len(inputs))
    code = code_version(recipe)
    proof = [(raw.relative, raw.bytes, raw.digest, raw.licence) for raw in inputs]
    settings = source.model_dump(include={"name", "language", "columns"})
    staged = digest_values(FORMAT_VERSION, code, proof, settings, count, asdict(limit), recipe.proof())
    whole = digest_values(staged, source.duplicate_ids)
    job = Job(source, inputs, count, limit, folder, work, whole, staged, code, recipe, "")
    return replace(job, why=_why(job))


def _refuse_licences(sources: Sequence[Source], profile: str, forbid: Sequence[str]) -> None:
    """Refuse sources whose one licence is forbidden; where documents have their own, the step decides."""
    one_licence = [
        (source.name, source.licence)
        for source in sources
        if not source.columns.license and (profile != "sample" or source.location is not None)
    ]
    held = gated(one_licence, read_classes(forbid))
    if held:
        names = ", ".join(
            f"{row.source} ({row.licence or 'none stated'}: {', '.join(row.classes)})" for row in held
        )
        raise SourceError(f"licences that are forbidden: {names}; name other sources with --source")


def _default_tasks(inputs: Sequence[RawInput]) -> int:
    """Return one task a file, fewer where files are small: small shards lose more of their last window."""
    return min(_MOST_TASKS, -(-sum(raw.bytes for raw in inputs) // _TASK_BYTES) or 1)


def recipe_of(source: Source, profile: str) -> PipelineRecipe:
    """Return a source's pipeline; the sample's files and one's own hold contents, not identifiers."""
    name, parameters = source.recipe()
    recipe = load_pipeline(name, parameters, language=source.language)
    holds_text = profile != "hub" or source.location is not None
    if recipe.read.contents is not None and holds_text and "contents" not in source.parameters:
        recipe = load_pipeline(name, parameters | {"contents": None}, language=source.language)
    return recipe


def code_version(recipe: PipelineRecipe) -> str:
    """Return a digest of the code that decides what a document is: an edit elsewhere makes nothing stale."""
    modules = {module for step in recipe.steps for module in step_modules(step.name)}
    if recipe.read.render is not None:
        modules.add(renderer(recipe.read.render).function.partition(":")[0])
    here = Path(__file__).parent
    paths = {here / name for name in _SHAPING} | {path for name in modules for path in _files_of(name)}
    return digest_values(sorted((path.name, xxh3_128(path)) for path in paths))


@cache
def _files_of(module: str) -> tuple[Path, ...]:
    """Return the files of a module; all files of its package, if that is a part of this one."""
    spec = find_spec(module)
    assert spec is not None, f"{module} was imported when the recipe was read"
    assert spec.origin is not None, f"{module} has no file"
    path = Path(spec.origin)
    is_part = module.startswith("smoldata.") and path.parent != Path(__file__).parent
    return tuple(sorted(path.parent.glob("*.py"))) if is_part else (path,)


def _why(job: Job) -> str:
    manifest = read_manifest(job.folder)
    if not manifest:
        return "not built yet"
    if {row["code_version"] for row in manifest} != {job.code_version}:
        return "the code changed"
    if {row["input_hash"] for row in manifest} != {job.input_hash}:
        return "its inputs or settings changed"
    for row in manifest:
        path = job.folder / row["path"]
        if not path.is_file() or path.stat().st_size != row["bytes"]:
            return f"{row['path']} is missing or was changed"
    return ""


def build_jobs(jobs: Sequence[Job], workers: int, run: Runner | None = None) -> None:
    """Run the tasks of jobs and publish what they made; finished tasks are not run again."""
    if not jobs:
        return
    reasons = sorted({job.why for job in jobs})
    say(f"documents: {len(jobs)} sources to build ({'; '.join(reasons)})")
    for job in jobs:
        _clear_other_staging(job)
    if run is not None:
        run(jobs)
        return
    work = [partial(run_task, job, rank) for job, rank in _by_cost(jobs) if not is_staged(job, rank)]
    if work:
        with progress("documents", len(work)) as advance:
            for name in run_all(work, workers):
                advance(1, name)
    for job in jobs:
        publish(job)


def _by_cost(jobs: Sequence[Job]) -> list[tuple[Job, int]]:
    """Return all tasks, the expensive ones first, so that no core waits at the end."""

    def cost(entry: tuple[Job, int]) -> int:
        job, rank = entry
        size = sum(raw.bytes for raw in job.inputs[rank :: job.tasks])
        return -size * (20 if job.source.kind == "prose" else 1)

    return sorted(((job, rank) for job in jobs for rank in range(job.tasks)), key=cost)


def is_staged(job: Job, rank: int) -> bool:
    """Tell whether a task is done: its counts are written last."""
    from smoldata.pipeline import counts_path

    return counts_path(job.staging / f"{rank:05d}.parquet").is_file()


def _clear_other_staging(job: Job) -> None:
    for folder in job.work.glob(f"{job.source.name}-*"):
        is_own = folder.name.rpartition("-")[0] == job.source.name
        if is_own and folder != job.staging:
            shutil.rmtree(folder)


def run_task(job: Job, rank: int) -> str:
    """Run one task of a source through datatrove; return the source's name."""
    from smoldata.executor import TaskExecutor

    # datatrove logs to standard error; its log file in the staging folder has the same.
    with contextlib.redirect_stderr(io.StringIO()):
        TaskExecutor(
            task_pipeline(job), tasks=job.tasks, rank=rank, logging_dir=str(job.staging / "logs")
        ).run()
    return job.source.name


def task_pipeline(job: Job) -> list[Any]:
    """Return the datatrove pipeline of one task: reader, the recipe's steps, duplicates, writer."""
    from smoldata.dropped import Examples
    from smoldata.pipeline import DropDuplicates, StrictReader, WriteDocuments
    from smoldata.watched import watched

    source, recipe = job.source, job.recipe
    report = Report(on_drop=Examples(source.name))
    context = StepContext(source.name, source.language, report, recipe.base)
    extra = [str(step.settings["name"]) for step in recipe.steps if step.name == "column"]
    fetch = recipe.read.contents is not None
    return [
        StrictReader(
            source,
            job.inputs,
            report,
            fetch=fetch,
            render=recipe.read.render,
            extra=extra,
            damage=recipe.read.damage,
        ),
        *(
            watched(step.name, made, report)
            for step in recipe.steps
            for made in make_steps(step.name, step.settings, context)
        ),
        DropDuplicates(report),
        WriteDocuments(source.name, job.staging, report, job.limit, [entry.name for entry in _gathers(job)]),
    ]


def publish(job: Job) -> None:
    """Merge the finished tasks of a source into its final files and manifest; count its statistics."""
    from smoldata.statistics.tables import write_statistics

    revision = revision_of([raw.address for raw in job.inputs])
    if revision is not None and job.source.hub is not None:
        origin = {"dataset": job.source.hub.dataset, "revision": revision, "licence": job.source.licence}
        write_json(job.folder / ORIGIN, {"format_version": FORMAT_VERSION} | origin)
    merge(
        job.folder,
        job.staging,
        job.tasks,
        job.source.name,
        job.input_hash,
        job.code_version,
        _gathers(job),
        job.source.duplicate_ids,
        [raw.address for raw in job.inputs],
    )
    write_statistics(job.folder)
    shutil.rmtree(job.staging)
    with contextlib.suppress(OSError):
        job.work.rmdir()


def _gathers(job: Job) -> list[Gather]:
    found = [(step, gather_function(step.name)) for step in job.recipe.steps]
    return [
        Gather(step.name, function, read_settings(step.name, step.settings))
        for step, function in found
        if function is not None
    ]


def built_of(job: Job) -> Built:
    """Return what a published job became."""
    rows = read_manifest(job.folder)
    dropped: dict[str, int] = {}
    for row in rows:
        for reason, count in row["dropped"]:
            dropped[reason] = dropped.get(reason, 0) + count
    return Built(
        source=job.source.name,
        read=sum(row["read"] for row in rows),
        kept=sum(row["kept"] for row in rows),
        dropped=dict(sorted(dropped.items())),
        text_bytes=sum(row["text_bytes"] for row in rows),
        files=len(rows),
        fresh=bool(job.why),
    )


def built_documents(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the documents of a built source, in the order of its manifest."""
    import pyarrow.parquet as pq

    rows = read_manifest(folder)
    if not rows:
        raise SourceError(f"no documents at {folder} ({MANIFEST} is missing); run `smoldata build`")
    for row in rows:
        for batch in pq.ParquetFile(folder / row["path"]).iter_batches(batch_size=100):
            yield from batch.to_pylist()
