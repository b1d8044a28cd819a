"""The main job: a recipe in; documents, token shards, exact plans, catalog, report and bundle out.

Each step writes its own files and knows by their hashes what it has to do, so a run that was stopped anywhere
goes on where it was, and a second run only re-plans. ``full`` needs no data and plans on published sizes.
Cost: the first run is bound by fetching and tokenizing; with everything built, a plan takes under 3 seconds.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoldata.console import say
from smoldata.errors import InputError, SmolError, SourceError
from smoldata.files import remove_leftovers, single_writer, storage_errors

if TYPE_CHECKING:
    from smoldata.pipeline_types import Limit
    from smoldata.registry import Registry
    from smolmix.plan import Plan
    from smolmix.planner import Profile, Stage
    from smolmix.recipe import Recipe

PROFILES: tuple["Profile", ...] = ("sample", "full", "hub")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be built."""

    which: str
    """A stage's short name, a recipe's name, or a path to a recipe."""
    preset: str | None = None
    profile: "Profile" = "sample"
    budget: str | None = None
    build: Path = Path("build")
    workers: int = 0
    """0: one a core."""
    assume_yes: bool = False
    """Do not ask before a build from the hub."""
    limit_bytes: int | None = None
    """A trial: stop each source at the first document at which its text reaches this size."""
    limit_tokens: int | None = None

    @property
    def folder(self) -> Path:
        """The profile's part of the build folder."""
        return self.build / self.profile


@dataclass(frozen=True, slots=True)
class Built:
    """What a build left behind."""

    plans: tuple["Plan", ...]
    """The stage asked for, after the stages before it."""
    bundle: Path
    catalog: Path
    report: Path
    watched: tuple[Path, ...]
    """Inputs and outputs: while they are as now, there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Job:
    """A request, read: its recipe, its registry and the stages it needs."""

    request: Request
    recipe: "Recipe"
    registry: "Registry"
    stages: tuple["Stage", ...]

    @property
    def effective(self) -> "Recipe":
        """The recipe as the profile plans it."""
        return self.recipe.scaled_to_sample() if self.request.profile == "sample" else self.recipe

    @property
    def names(self) -> list[str]:
        """The sources of all stages, sorted."""
        leaves = (leaf.name for stage in self.stages for leaf in stage.preset.tree.root.leaves())
        return sorted(set(leaves))


def read_job(request: Request) -> Job:
    """Read recipe and registry, and check them against each other before any work is done.

    Raises:
        RecipeError: the recipe, its preset or a weight is wrong.
        SourceError: the recipe names a source that the registry does not know.
    """
    from smoldata.registry import load_registry
    from smolmix.planner import chain
    from smolmix.recipe import load_recipe
    from smolmix.sources import check_names

    recipe = load_recipe(request.which)
    job = Job(request, recipe, load_registry(recipe.registry), tuple(chain(recipe, request.preset)))
    check_names(job.names, job.registry)
    return job


def plan_folder(request: Request, name: str, preset: str | None) -> Path:
    """Return where a stage's plan lies."""
    from smolmix.plan_files import plan_folder_name

    return request.folder / "plans" / plan_folder_name(name, preset)


def bundle_folder(job: Job) -> Path:
    """Return where the bundle of the stage asked for lies."""
    from smolmix.plan_files import plan_folder_name

    last = job.stages[-1]
    return job.request.folder / "bundles" / plan_folder_name(last.recipe.name, last.preset.name)


def build(request: Request) -> Built:
    """Build everything for a stage; what is there already and still true is kept.

    Raises:
        SmolError: see :mod:`smoldata.errors`; nothing half-written is left under a final name.
    """
    job = read_job(request)
    with storage_errors(request.build), single_writer(request.build):
        remove_leftovers(request.build)
        if request.profile != "full":
            with _step("documents"):
                make_documents(job)
            with _step("tokens"):
                make_tokens(job)
        with _step("plan"):
            plans = make_plans(job)
        with _step("bundle, catalog and report"):
            return _make_faces(job, plans)


def make_documents(job: Job) -> None:
    """Build the documents of every source that has text in the profile; the others are absent."""
    from smoldata.build import build_documents
    from smoldata.pipeline_types import Limit
    from smoldata.sample.build import build_sample

    request, names = job.request, names_with_text(job)
    if not names:  # nothing but rendered conversations; asked for no names, the builders would take all
        return
    sampled = [name for name in names if job.registry.source(name).location is None]
    if request.profile == "sample" and sampled:
        build_sample(job.registry, request.build, names=sampled, workers=_workers(request))
    limit = Limit(bytes=request.limit_bytes, tokens=request.limit_tokens)
    unread = [name for name in sampled if not (request.folder / "documents" / name).is_dir()]
    if request.profile == "hub" and unread:
        _ask_first(job, unread, limit)
    build_documents(
        names,
        registry=job.registry,
        profile=request.profile,
        build=request.build,
        workers=_workers(request),
        limit=limit,
    )


def _ask_first(job: Job, names: Sequence[str], limit: "Limit") -> None:
    """Show what a build from the hub needs, and go on only with a yes.

    Raises:
        InputError: nobody is there to answer, or the answer is no.
    """
    from smoldata.estimate import estimate_build, show_estimate

    sources = [job.registry.source(name) for name in names]
    show_estimate(estimate_build(sources, job.request.build, "hub", limit))
    if job.request.assume_yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nobody is at the terminal to say yes: run it again with YES=1 (--yes)")
    print("Read this from the hub? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise InputError("not confirmed: nothing was read")


def names_with_text(job: Job) -> list[str]:
    """Return the sources that can have documents in the profile.

    Conversations that `smoltrain traces` has rendered in ChatML are shards already.

    Raises:
        SourceError: none has, or a source of one's own names no data.
    """
    from smoldata.inputs import has_text
    from smoltok.manifest import holds_conversations

    sources = [job.registry.source(name) for name in job.names]
    for source in sources:
        if source.origin == "own" and source.location is None and source.hub is None:
            raise SourceError(
                f"source {source.name!r} of {job.recipe.registry} names no data; "
                "give it a `location` or a `hub`"
            )
    tokens = tokens_folder(job)
    rendered = {source.name for source in sources if holds_conversations(tokens / source.name)}
    names = [source.name for source in sources if has_text(source, job.request.profile)]
    if not names and not rendered:
        raise SourceError(f"none of the {len(sources)} sources has text in profile {job.request.profile}")
    return [name for name in names if name not in rendered]


def _workers(request: Request) -> int:
    return request.workers or os.cpu_count() or 1


def make_tokens(job: Job) -> None:
    """Tokenize the documents of every source with the recipe's tokenizer and validation share."""
    from smoldata.console import progress
    from smoltok.build import build_all, is_current
    from smoltok.tokenizer import resolve

    request, choice, names = job.request, job.recipe.tokenizer, names_with_text(job)
    if not names:
        return
    place = job.recipe.path.parent / choice.path if choice.path else choice.name
    settings: dict[str, Any] = {
        "documents": request.folder / "documents",
        "tokens": tokens_folder(job),
        "tokenizer": resolve(place, eos=choice.eos_id, name=choice.name),
        "validation_share": job.effective.validation,
    }
    if is_current(names, **settings):
        return
    with progress("tokens", _documents_of(settings["documents"], names)) as advance:
        build_all(names, workers=_workers(request), advance=advance, **settings)


def tokens_folder(job: Job) -> Path:
    """Return the folder that holds a folder of shards a source."""
    return job.request.folder / "tokens" / job.recipe.tokenizer.name


def _documents_of(documents: Path, names: Sequence[str]) -> int:
    import pyarrow.parquet as pq

    tables = (pq.read_table(documents / name / "manifest.parquet", columns=["kept"]) for name in names)
    return sum(sum(table.column("kept").to_pylist()) for table in tables)


def make_plans(job: Job) -> list["Plan"]:
    """Plan the stage and those before it; write each plan into its folder."""
    from smolmix.plan import load_plan
    from smolmix.plan_files import write_plan
    from smolmix.plan_lint import examined
    from smolmix.planner import plan_stage
    from smolmix.sources import supply_from_manifests, supply_from_registry

    request, last = job.request, job.stages[-1]
    if request.profile == "full":
        supply = supply_from_registry(job.recipe, job.names, job.registry)
    else:
        here = plan_folder(request, last.recipe.name, last.preset.name)
        supply = supply_from_manifests(job.effective, job.names, tokens_folder(job), here)
    plans = plan_stage(
        job.recipe, supply, preset=request.preset, profile=request.profile, budget=request.budget
    )
    plans = [
        examined(plan, job.registry, stage.recipe.forbidden_licences)
        for plan, stage in zip(plans, job.stages, strict=True)
    ]
    # Loaded again: what was just planned holds every shard in memory.
    return [load_plan(write_plan(plan, plan_folder(request, plan.name, plan.preset))) for plan in plans]


def _make_faces(job: Job, plans: Sequence["Plan"]) -> Built:
    """Write what people and clusters look at: bundle, catalog and report."""
    from smolmix.bundle import write_bundle
    from smolmix.catalog import write_catalog
    from smolmix.report import write_report

    request = job.request
    folders = [plan_folder(request, plan.name, plan.preset) for plan in plans]
    bundle = bundle_folder(job)
    write_bundle(folders[-1], bundle, recipe=job.recipe.text.encode(), earlier=folders[:-1])
    catalog, report = write_catalog(request.build, job.registry), write_report(request.build, job.registry)
    return Built(tuple(plans), bundle, catalog, report, _watched(job, [*folders, bundle, catalog, report]))


def _watched(job: Job, outputs: Sequence[Path]) -> tuple[Path, ...]:
    """Return what a finished build depends on: recipes, registry, own data, code, and what it wrote."""
    import smoldata
    import smolmix
    import smoltok

    request = job.request
    packages = [Path(module.__path__[0]) for module in (smoldata, smoltok, smolmix)]
    recipes = [stage.recipe.path for stage in job.stages]
    own = [job.recipe.registry] if job.recipe.registry else []
    data: list[Path] = []
    if request.profile != "full":
        data = [request.folder / "documents" / name for name in job.names]
        data += [tokens_folder(job) / name for name in job.names]
        data += [request.folder / "raw", request.folder / "packages"]
        data += _own_data(job)
    return (*packages, *recipes, *own, *data, *outputs)


def _own_data(job: Job) -> list[Path]:
    """Return the local folders and files that the recipe's own sources are read from."""
    places = [job.registry.source(name).location for name in job.names]
    return [Path(place.address()) for place in places if place and "://" not in place.url]


@contextmanager
def _step(name: str) -> Iterator[None]:
    """Say in which step an interrupt or an error happened."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped in step: {name}")
        raise
    except SmolError as error:
        error.add_note(f"in step: {name}")
        raise


def parse_profile(text: str) -> "Profile":
    """Return the profile of that name. Raises InputError."""
    for profile in PROFILES:
        if text == profile:
            return profile
    raise InputError(f"there is no profile {text!r}; PROFILE is one of {', '.join(PROFILES)}")
