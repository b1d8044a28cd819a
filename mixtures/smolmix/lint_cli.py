"""The command ``smolmix lint``: a nanotron configuration, bundle or plan into findings; nanotron's replay."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smoldata.console import out as console
from smoldata.console import say, table
from smoldata.errors import EXIT_FAILED, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoldata.licences import LicenceClass
    from smolmix.findings import Finding
    from smolmix.nanotron_replay import Replay
    from smolmix.nanotron_schema import NanotronConfig

_SHOWN = 24
_FIRST_STEP = "0:1"


def add_lint_command(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(lint)


def lint(
    file: Annotated[
        Path, typer.Argument(help="A nanotron configuration (YAML), a bundle's folder or a plan's.")
    ],
    replay: Annotated[
        bool, typer.Option("--replay", help="nanotron's windows one by one, beside the plan's order.")
    ] = False,
    steps: Annotated[
        str, typer.Option(help="With --replay: steps A:B of the stage, from 0; B is not replayed.")
    ] = _FIRST_STEP,
    stage: Annotated[str, typer.Option(help="With --replay: which stage; default the last.")] = "",
    plan: Annotated[
        Path | None, typer.Option(help="With --replay: the plan to compare with; default the bundle's.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --replay: write the windows as Parquet.")] = None,
    forbid: Annotated[
        list[str] | None, typer.Option(help="A licence class that must not be read; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Say whether nanotron can run a configuration, or what a plan leaves open: numbers and what to do.

    Needs no data and no plan; folders and documents on this machine are looked at. Exit code 1 if something
    would fail or a forbidden licence is read.

    Example: smolmix lint build/sample/bundles/stage2-blog --replay --steps 0:100
    """
    from smoldata.licences import read_classes

    classes = read_classes(forbid or [])
    config_file, own_plan = _parts(file)
    findings, config = _findings(config_file, own_plan, classes)
    values: Any = [finding.as_json() for finding in findings]
    if replay:
        if config is None:
            raise InputError(f"{file} has no nanotron configuration; give a bundle, or its nanotron.yaml")
        seen = _replay(config, stage, _range(steps), plan or own_plan)
        values = {"findings": values, "replay": _as_json(seen, with_rows=out is None)}
        if out is not None:
            say(f"wrote {seen.write(out)}: {seen.folder.size:,} windows")
    elif steps != _FIRST_STEP or stage or plan or out:
        raise InputError("--steps, --stage, --plan and --out belong to --replay")
    if as_json:
        console.print_json(json.dumps(values))
    else:
        for finding in findings:
            print(f"{finding.severity:<8} {finding.code}: {finding.message}\n         fix: {finding.fix}")
        if replay:
            _show(seen)
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(EXIT_FAILED)


def _parts(file: Path) -> tuple[Path | None, Path | None]:
    """Return the configuration and the plan that are meant: of a file, a bundle's or a plan's folder."""
    if not file.is_dir():
        return file, _if_plan(file.parent / "plan")
    if _if_plan(file):
        return None, file
    if not (file / "nanotron.yaml").is_file():
        raise InputError(
            f"{file} holds neither plan.json nor nanotron.yaml; give a plan's or a bundle's folder, or a "
            "nanotron configuration"
        )
    return file / "nanotron.yaml", _if_plan(file / "plan")


def _if_plan(folder: Path) -> Path | None:
    return folder if (folder / "plan.json").is_file() else None


def _findings(
    config_file: Path | None, plan_folder: Path | None, forbidden: "Sequence[LicenceClass]"
) -> tuple[list["Finding"], "NanotronConfig | None"]:
    from smolmix.nanotron_lint import lint as examine
    from smolmix.nanotron_lint import lint_licences
    from smolmix.nanotron_schema import load_config
    from smolmix.plan_lint import lint_plan

    config = load_config(config_file) if config_file else None
    found = examine(config) if config else []
    if plan_folder:
        found = [*found, *lint_plan(plan_folder, forbidden)]
    elif config:
        found = [*found, *lint_licences(config, forbidden)]
    return found, config


def _range(text: str) -> range:
    first, colon, end = text.partition(":")
    if not (colon and first.isdecimal() and end.isdecimal()):
        raise InputError(f"--steps {text}: write A:B, such as 0:100 for the first hundred steps")
    return range(int(first), int(end))


def _replay(config: "NanotronConfig", stage: str, steps: range, plan_folder: Path | None) -> "Replay":
    from smolmix.nanotron_lint import runs_of
    from smolmix.nanotron_replay import replay
    from smolmix.plan import load_plan

    runs = {run.name: run for run in runs_of(config)}
    name = stage or next(reversed(runs))
    if name not in runs:
        raise InputError(f"there is no stage {name!r}; the file has {', '.join(runs)}")
    plan = load_plan(plan_folder) if plan_folder else None
    if plan is not None and plan.name != name:
        say(f"not compared: the plan is of {plan.name}, the stage is {name}")
        plan = None
    return replay(runs[name], config.batch_windows, steps, plan)


def _as_json(seen: "Replay", *, with_rows: bool) -> dict[str, Any]:
    names = ("step", "index", "folder", "window")
    rows = [dict(zip(names, row, strict=True)) for row in seen.rows()] if with_rows else None
    return {"windows": rows, "difference": asdict(seen.difference) if seen.difference else None}


def _show(seen: "Replay") -> None:
    from itertools import islice

    columns = ("step", "index", "folder", "window")
    rows = list(islice(seen.rows(), _SHOWN))
    table("What nanotron reads", columns, rows, right=("step", "index", "window"))
    if seen.folder.size > _SHOWN:
        print(f"{_SHOWN} of {seen.folder.size:,} windows; --out FILE.parquet or --json gives them all")
    one = seen.difference
    if one is None:
        print("no plan to compare with: give one with --plan")
    elif one.first is None:
        print(f"the sources are the plan's in all {one.samples:,} windows")
    else:
        print(
            f"first difference from the plan: window {one.first:,}, where nanotron reads {one.nanotron} and "
            f"the plan {one.planned}\nlargest drift in {one.samples:,} windows: {one.drift} of "
            f"{one.drift_source}, after {one.drift_sample:,}"
        )
