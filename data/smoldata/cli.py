"""The ``smoldata`` command: sources, sample, estimate, build, inspect.

Arguments in, work in the modules beside this one, tables or ``--json`` out. Nothing heavy is imported
before a command runs.
"""

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoldata.console import run_command, say, table
from smoldata.decontamination.cli import decontaminate_command
from smoldata.dedup.cli import dedup_command
from smoldata.errors import InputError
from smoldata.inspect_cli import inspect_command
from smoldata.lint_cli import ForbidLicences, lint_command
from smoldata.run_cli import ExecutorOption, ExecutorOptions, chosen_runner, register, show_built
from smoldata.scoring.cli import train_classifier_command
from smoldata.statistics.cli import statistics_command

if TYPE_CHECKING:
    from smoldata.pipeline_types import Limit
    from smoldata.registry import Registry

app = typer.Typer(
    help="Raw datasets to documents, every drop counted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

RegistryOption = Annotated[
    Path | None, typer.Option("--registry", help="YAML with sources of your own, laid over the shipped ones.")
]
BuildOption = Annotated[Path, typer.Option("--build", help="Build folder.")]
ProfileOption = Annotated[str, typer.Option("--profile", help="sample (offline) or hub (the real datasets).")]
SourceOption = Annotated[
    list[str] | None, typer.Option("--source", help="Source; again for more; none: all with text.")
]
StageOption = Annotated[
    str | None, typer.Option("--stage", help="Sources of a published stage, such as stage2 or mid.")
]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, help="Processes.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LimitDocuments = Annotated[int | None, typer.Option(min=1, help="Stop a source after so many documents.")]
LimitBytes = Annotated[str | None, typer.Option(help="Stop a source after so much text, such as 50MB.")]
LimitTokens = Annotated[str | None, typer.Option(help="The same in tokens (4 bytes each), such as 10M.")]


@app.command()
def sources(
    stage: StageOption = None,
    group: Annotated[str | None, typer.Option(help="Group, such as web, web/english, code or math.")] = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the sources of the registry.

    Example: smoldata sources --stage stage2 --group web/multilingual
    """
    from smoldata.registry import load_registry

    chosen = load_registry(registry).select(stage=stage, group=group)
    if as_json:
        print(
            json.dumps(
                [source.model_dump(mode="json", by_alias=True) for source in chosen], ensure_ascii=False
            )
        )
        return
    rows = []
    for source in chosen:
        origin = source.hub.dataset if source.hub else (source.location.url if source.location else "")
        size = source.size
        tokens = f"{size.tokens / 1e9:,.2f}" if size and size.tokens else ""
        sample = "own data" if source.location else ("yes" if source.sample else "absent")
        gated = "gated" if source.hub and source.hub.gated else ""
        rows.append((source.name, source.group, source.kind, source.language, origin, tokens, gated, sample))
    columns = ("source", "group", "kind", "language", "dataset", "published B tokens", "access", "sample")
    table(f"{len(rows)} sources", columns, rows, right=("published B tokens",))


@app.command()
def sample(
    build: BuildOption = Path("build"),
    registry: RegistryOption = None,
    lock: Annotated[Path | None, typer.Option(help="Another list of pinned packages.")] = None,
    workers: WorkersOption = 2,
    as_json: JsonOption = False,
) -> None:
    """Fetch the sample's packages (as data, unbuilt) and cut real text out of them.

    Example: smoldata sample --build build
    """
    from smoldata.registry import load_registry
    from smoldata.sample.build import build_sample

    known = load_registry(registry)
    folders = build_sample(known, build, lock=lock, workers=workers)
    absent = {name: source.why_absent for name, source in known.sources.items() if name not in folders}
    if as_json:
        print(json.dumps({"present": sorted(folders), "absent": absent}, ensure_ascii=False))
        return
    say(f"sample: text for {len(folders)} of {len(known.sources)} sources under {build / 'sample' / 'raw'}")


@app.command("build")
def build_command(
    source: SourceOption = None,
    stage: StageOption = None,
    profile: ProfileOption = "sample",
    build: BuildOption = Path("build"),
    registry: RegistryOption = None,
    tasks: Annotated[int | None, typer.Option(min=1, help="Files that a source becomes.")] = None,
    workers: WorkersOption = 2,
    limit_documents: LimitDocuments = None,
    limit_bytes: LimitBytes = None,
    limit_tokens: LimitTokens = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before reading from the hub.")] = False,
    executor: ExecutorOption = "local",
    executor_option: ExecutorOptions = None,
    forbid_licences: ForbidLicences = None,
    as_json: JsonOption = False,
) -> None:
    """Build documents: read, filter, drop copies, write; what is up to date is kept.

    Example: smoldata build --source wiki --source finemath-4plus
    Example: smoldata build --profile hub --source fineweb-edu --limit-bytes 50MB
    Example: smoldata build --executor slurm --executor-option partition=cpu --executor-option time=10:00:00
    """
    from smoldata.build import build_documents
    from smoldata.inputs import has_text
    from smoldata.registry import load_registry

    known = load_registry(registry)
    names = source
    if stage is not None:
        names = [entry.name for entry in known.select(source, stage=stage) if has_text(entry, profile)]
    limit = _limit(limit_documents, limit_bytes, limit_tokens)
    if profile == "hub":
        _ask(names, known, build, limit, yes=yes)
    run = chosen_runner(executor, executor_option, workers)
    built = build_documents(
        names,
        registry=known,
        profile=profile,
        build=build,
        tasks=tasks,
        workers=workers,
        limit=limit,
        run=run,
        forbid_licences=forbid_licences or (),
    )
    show_built(built, as_json=as_json)


@app.command()
def estimate(
    source: SourceOption = None,
    stage: StageOption = None,
    profile: ProfileOption = "hub",
    build: BuildOption = Path("build"),
    registry: RegistryOption = None,
    limit_documents: LimitDocuments = None,
    limit_bytes: LimitBytes = None,
    limit_tokens: LimitTokens = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a build from the hub would need: disk, time, access rights that are missing.

    Example: smoldata estimate --stage stage2
    """
    from smoldata.estimate import estimate_build, show_estimate
    from smoldata.registry import load_registry

    chosen = load_registry(registry).select(source, stage=stage)
    result = estimate_build(chosen, build, profile, _limit(limit_documents, limit_bytes, limit_tokens))
    if as_json:
        print(json.dumps(dataclasses.asdict(result), ensure_ascii=False))
        return
    show_estimate(result)


register(app)


def _ask(names: list[str] | None, registry: "Registry", build: Path, limit: "Limit", *, yes: bool) -> None:
    from smoldata.estimate import estimate_build, show_estimate
    from smoldata.inputs import has_text

    chosen = [source for source in registry.select(names) if names or has_text(source, "hub")]
    show_estimate(estimate_build(chosen, build, "hub", limit))
    if not yes and not typer.confirm("Read from the hub?", err=True):
        raise typer.Abort


def _limit(documents: int | None, text: str | None, tokens: str | None) -> "Limit":
    from smoldata.pipeline_types import Limit

    return Limit(documents, _amount(text, "--limit-bytes"), _amount(tokens, "--limit-tokens"))


def _amount(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKMGBT]?)[bB]?", text.strip())
    if not match or float(match[1]) <= 0:
        raise InputError(f"{option} is {text!r}; want a number such as 500k, 50MB, 10M or 2G")
    factor = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}[match[2].upper()]
    return int(float(match[1]) * factor)


app.command("inspect")(inspect_command)
app.command("decontaminate")(decontaminate_command)
app.command("dedup")(dedup_command)
app.command("train-classifier")(train_classifier_command)
app.command("lint")(lint_command)
app.command("statistics")(statistics_command)


def main() -> None:
    """Run the command line program."""
    run_command(app)


if __name__ == "__main__":
    main()
