"""``smoleval run`` and ``smoleval tasks``: arguments in, smoleval.engine works, a table or JSON out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from smoldata.errors import EXIT_FAILED
from smoleval.cli_options import (
    BUILD,
    Build,
    Checkpoint,
    Device,
    Dtype,
    Json,
    Limit,
    MaxLength,
    Out,
    Tasks,
    Tokenizer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoleval.scores import Score

ProfileName = Literal["hub", "packaged", "fixture", "generated", "offline"]


def run_tasks_command(
    checkpoint: Checkpoint = None,
    tasks: Tasks = "base",
    profile: Annotated[
        ProfileName,
        typer.Option(help="Rows: the hub's, real ones in packages, fixtures, or what is offline."),
    ] = "hub",
    limit: Limit = None,
    modes: Annotated[str | None, typer.Option(help="think, no_think, or both, for instruct tasks.")] = None,
    build: Build = BUILD,
    out: Out = None,
    tokenizer: Tokenizer = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    max_length: MaxLength = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Bound on generated tokens, under the tasks' own.")
    ] = None,
    batch_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of one forward pass.")] = None,
    seed: Annotated[int, typer.Option(help="For sampled answers.")] = 0,
    prompts: Annotated[
        Path | None,
        typer.Option(help="RULER: the folder of `smoleval ruler build` (default: prompts are made)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score a checkpoint on tasks with lighteval; what is scored already is not run again.

    Example: smoleval run build/sample/runs/stage2-blog-tiny --tasks base --profile offline --limit 20
    """
    from smoleval.cli import newest_checkpoint
    from smoleval.engine import Settings, run_tasks
    from smoltrain.cli import need_torch
    from smoltrain.run import newest_run

    need_torch()
    need_lighteval()
    settings = Settings(
        profile=profile,
        limit=limit,
        modes=tuple(modes.split(",")) if modes else None,
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        max_length=max_length,
        max_new_tokens=max_new_tokens,
        batch_tokens=batch_tokens,
        seed=seed,
        prompts=prompts,
    )
    folder = newest_checkpoint(checkpoint or newest_run(build))
    scores = run_tasks(folder, tasks.split(","), build, settings, out=out)
    _show(scores, as_json=as_json)


def need_lighteval() -> None:
    """Raise :class:`InputError` where lighteval is not installed."""
    from importlib.util import find_spec

    from smoldata.errors import InputError

    if find_spec("lighteval") is None:
        raise InputError("lighteval is not installed here; `make setup-eval` installs it")


def tasks_command(
    names: Annotated[list[str] | None, typer.Argument(help="Suites, names or patterns; none: all.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Show findings only; exit 1 if there are any.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the definitions as JSON.")] = False,
) -> None:
    """List the task definitions: dataset, shots, metrics, where rows come from, and their findings.

    Example: smoleval tasks base
    """
    from smoldata.console import table
    from smoleval.definition import registry, select

    chosen = select(names) if names else list(registry().values())
    if as_json:
        shown = [
            task.model_dump(mode="json") | {"task_version": task.task_version, "findings": task.findings()}
            for task in chosen
        ]
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    elif check:
        rows = [[task.name, finding] for task in chosen for finding in task.findings()]
        table("findings", ["task", "finding"], rows)
    else:
        columns = ["task", "suite", "shots", "dataset", "metrics", "profiles", "version"]
        table(
            f"{len(chosen)} tasks",
            columns,
            [
                [
                    task.name,
                    task.suite,
                    task.few_shot.shots,
                    task.dataset or "(generated)",
                    ", ".join(name.partition(".")[2] for name in task.metrics),
                    " ".join(_profiles(task)),
                    task.task_version,
                ]
                for task in chosen
            ],
            right=["shots"],
        )
    if check and any(task.findings() for task in chosen):
        raise typer.Exit(EXIT_FAILED)


def _profiles(task: object) -> list[str]:
    from smoleval.data import PROFILES, has_rows
    from smoleval.definition import TaskDefinition

    assert isinstance(task, TaskDefinition)
    return [profile for profile in PROFILES if has_rows(task, profile)]


def _show(scores: "Sequence[Score]", *, as_json: bool) -> None:
    from smoldata.console import table
    from smoleval.scores import as_row

    if as_json:
        print(json.dumps([as_row(score) for score in scores], indent=2))
        return
    # RULER of fewer than thirteen tasks: "(11 of 13)" is the mean.
    whole = [
        score for score in scores if not score.subset or (score.suite == "ruler" and score.subset[0] == "(")
    ]
    rows = [
        [
            f"{score.task} {score.subset}".strip(),
            score.mode,
            score.metric,
            number(score),
            score.items,
            score.data_profile,
        ]
        for score in whole
    ]
    first, engines = scores[0], ", ".join(dict.fromkeys(score.engine for score in scores))
    columns = ["task", "mode", "metric", "value", "items", "rows"]
    table(
        f"scores of {first.checkpoint} (weights {first.checkpoint_sha256[:12]}, {engines})",
        columns,
        rows,
        right=["value", "items"],
    )


def number(score: "Score") -> str:
    """Return a value with its standard error, for people."""
    return f"{score.value:.3f}" + ("" if score.stderr is None else f" ± {score.stderr:.3f}")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("run")(run_tasks_command)
    app.command("tasks")(tasks_command)
