"""``smoldata run``, ``pipelines`` and ``steps``: recipes over files of one's own, and what there is."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
import yaml

from smoldata.console import table
from smoldata.errors import InputError
from smoldata.lint_cli import ForbidLicences

if TYPE_CHECKING:
    from smoldata.build import Built, Runner
    from smoldata.identifiers import DuplicateIds

ExecutorOption = Annotated[
    str, typer.Option("--executor", help="local (processes here), ray or slurm (datatrove's executors).")
]
ExecutorOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--executor-option", help="NAME=VALUE for datatrove's executor, such as time=10:00:00; repeatable."
    ),
]


def chosen_runner(executor: str, options: list[str] | None, workers: int) -> "Runner | None":
    """Return what runs tasks on a cluster; None runs them here."""
    given = _pairs(options, "--executor-option")
    if executor == "local":
        if given:
            raise InputError("--executor-option needs --executor ray or slurm")
        return None
    if executor not in {"ray", "slurm"}:
        raise InputError(f"--executor is {executor!r}; valid: local, ray, slurm")
    from smoldata.cluster import runner

    return runner("ray" if executor == "ray" else "slurm", given, workers)


DuplicateIdsOption = Annotated[
    str, typer.Option("--duplicate-ids", help="An identifier's second text: error, drop (counted) or rename.")
]


def _pairs(entries: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for entry in entries or ():
        name, equals, value = entry.partition("=")
        if not equals or not name:
            raise InputError(f"{option} is {entry!r}; want NAME=VALUE")
        pairs[name] = value
    return pairs


def run(
    recipe: Annotated[
        str, typer.Argument(help="A shipped pipeline (smoldata pipelines) or a path to a YAML file.")
    ],
    inputs: Annotated[list[str], typer.Option("--input", help="File, folder or address; repeatable.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for the documents and their manifest.")],
    parameters: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE for a parameter of the recipe; repeatable.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column", help="FIELD=COLUMN, such as text=content; fields: text id url path language license."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Source name in the documents; default: the recipe's.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="FineWeb2 code, such as cmn_Hani, or a programming language.")
    ] = None,
    tasks: Annotated[int | None, typer.Option(min=1, help="Files that the documents become.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 2,
    limit_documents: Annotated[int | None, typer.Option(min=1, help="Stop after so many documents.")] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Licence of documents that state none, such as cc-by-4.0.")
    ] = None,
    forbid_licences: ForbidLicences = None,
    duplicate_ids: DuplicateIdsOption = "error",
    executor: ExecutorOption = "local",
    executor_option: ExecutorOptions = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a pipeline over files of your own: Parquet, JSON Lines, WARC, notebooks, XML dumps.

    Example: smoldata run web --input crawl/ --output pages --set damage=drop
    Example: smoldata run stackexchange --input posts.jsonl --output qa --limit-documents 100
    Example: smoldata run text --input books/ --output books-clean --forbid-licences non-commercial,unknown
    """
    from smoldata.pipeline_types import Limit
    from smoldata.running import run_pipeline

    built = run_pipeline(
        recipe,
        inputs,
        output,
        parameters={key: _parameter(value) for key, value in _pairs(parameters, "--set").items()},
        columns=_pairs(columns, "--column"),
        name=name,
        language=language,
        tasks=tasks,
        workers=workers,
        limit=Limit(documents=limit_documents),
        run=chosen_runner(executor, executor_option, workers),
        licence=licence,
        forbid_licences=forbid_licences or (),
        duplicate_ids=cast("DuplicateIds", duplicate_ids),
    )
    show_built([built], as_json=as_json)


def _parameter(text: str) -> Any:
    """Return a value as YAML reads it, so that ``null``, ``3`` and ``[a, b]`` are what they look like.

    A path that exists from here is made absolute: in a recipe, paths start from the recipe's folder.
    """
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set value {text!r} is not YAML: {error}") from error
    if isinstance(value, list):
        return [_from_here(entry) for entry in value]
    return _from_here(value)


def _from_here(value: Any) -> Any:
    is_path = isinstance(value, str) and value and Path(value).exists()
    return str(Path(value).absolute()) if is_path else value


def show_built(built: "list[Built]", *, as_json: bool) -> None:
    """Print what sources became."""
    if as_json:
        print(json.dumps([dataclasses.asdict(entry) for entry in built], ensure_ascii=False))
        return
    rows = [
        (
            entry.source,
            f"{entry.read:,}",
            f"{entry.kept:,}",
            f"{entry.text_bytes / 1e6:,.2f}",
            "built" if entry.fresh else "up to date",
            ", ".join(f"{count:,} {reason}" for reason, count in entry.dropped.items()),
        )
        for entry in built
    ]
    columns = ("source", "read", "kept", "MB", "state", "dropped")
    table(f"documents of {len(rows)} sources", columns, rows, right=("read", "kept", "MB"))


def pipelines(
    which: Annotated[
        str | None, typer.Argument(help="A pipeline: show its steps and where numbers are from.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the shipped pipelines, or show one.

    Example: smoldata pipelines web
    """
    from smoldata.recipe import RecipeModel, outline, shipped_pipelines

    if which is not None:
        model = outline(which)
        if as_json:
            print(json.dumps(model.model_dump(mode="json"), ensure_ascii=False))
            return
        print(
            f"{model.name}: {model.description}\nsource: {model.source}\n"
            f"parameters: {json.dumps(model.parameters)}"
        )
        rows = [
            (step.step, json.dumps(step.settings), step.when or "", step.source or "") for step in model.steps
        ]
        table("", ("step", "settings", "when", "source of its numbers"), rows)
        return
    models: list[RecipeModel] = [outline(entry) for entry in shipped_pipelines()]
    if as_json:
        print(json.dumps([model.model_dump(mode="json") for model in models], ensure_ascii=False))
        return
    listed = [
        (model.name, model.description, " ".join(step.step for step in model.steps)) for model in models
    ]
    table(f"{len(models)} pipelines", ("pipeline", "what", "steps"), listed)


def steps(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the steps that a pipeline can name, with their settings.

    Example: smoldata steps
    """
    from smoldata.steps import STEPS, settings_of

    rows = [
        (name, spec.summary, ", ".join(settings_of(name)), spec.group or "core")
        for name, spec in STEPS.items()
    ]
    if as_json:
        keys = ("step", "summary", "settings", "group")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
        return
    table(f"{len(rows)} steps", ("step", "what", "settings", "needs"), rows)


def register(app: typer.Typer) -> None:
    """Add the commands to ``smoldata``."""
    for command in (run, pipelines, steps):
        app.command()(command)
