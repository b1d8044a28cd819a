"""``smoldata lint``: arguments in, :mod:`smoldata.registry_lint` looks, a table or JSON out."""

import dataclasses
import json
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer

from smoldata.console import say, table
from smoldata.errors import EXIT_FAILED

ForbidLicences = Annotated[
    list[str] | None,
    typer.Option(
        "--forbid-licences",
        help="Classes of licences, such as non-commercial,unknown: see `smoldata lint --help`.",
    ),
]


def lint_command(
    source: Annotated[list[str] | None, typer.Option("--source", help="Again for more; none: all.")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="Sources of a published stage.")] = None,
    profile: Annotated[str, typer.Option("--profile", help="What was built: sample or hub.")] = "hub",
    build: Annotated[Path, typer.Option("--build", help="Build folder.")] = Path("build"),
    registry: Annotated[
        Path | None,
        typer.Option("--registry", help="YAML with sources of your own."),
    ] = None,
    forbid_licences: ForbidLicences = None,
    online: Annotated[bool, typer.Option("--online", help="Ask the hub for the newest revisions.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at sources: licences that ask for a decision, revisions not pinned, moved or gone.

    Classes: unknown, proprietary, non-commercial, no-derivatives, share-alike, copyleft, attribution,
    public-domain (the last two together: permissive). Exit code 1 if there is an error.

    Example: smoldata lint --stage stage2 --forbid-licences non-commercial
    """
    from smoldata.licences import read_classes
    from smoldata.registry import load_registry
    from smoldata.registry_lint import hub_newest, lint_sources

    found = lint_sources(
        load_registry(registry).select(source, stage=stage),
        forbidden=read_classes(forbid_licences or ()),
        documents=build / profile / "documents",
        newest=hub_newest() if online else None,
    )
    if as_json:
        print(json.dumps([dataclasses.asdict(one) for one in found], ensure_ascii=False))
    else:
        groups: dict[tuple[str, str], list[str]] = defaultdict(list)
        for one in found:
            groups[one.code, one.severity].append(one.message)
        rows = [(level, code, f"{len(listed):,}", listed[0]) for (code, level), listed in groups.items()]
        columns = ("severity", "code", "sources", "the first of them")
        table(f"{len(found)} findings", columns, rows, right=("sources",))
        for code, fix in {one.code: one.fix for one in found}.items():
            say(f"{code}: {fix}")
    if any(one.severity == "error" for one in found):
        raise typer.Exit(EXIT_FAILED)
