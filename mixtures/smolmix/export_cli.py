"""The commands of ``smolmix`` for other trainers and for their disks: digest, export, staging."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from smoldata.console import out, progress, say
from smoldata.errors import InputError

BundleOption = Annotated[Path | None, typer.Option("--bundle", help="A bundle's folder.")]
PlanOption = Annotated[Path | None, typer.Option("--plan", help="A plan's folder.")]
Root = Annotated[Path | None, typer.Option(help="Folder that holds tokens/, if the shards were moved.")]
First = Annotated[int, typer.Option("--first", "--from", min=0, help="First sample index.")]
End = Annotated[int, typer.Option("--end", help="Sample index after the last; -1: the end of the stage.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def add_export_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    for command in (digest, export):
        app.command()(command)


def _folder(bundle: Path | None, plan: Path | None) -> Path:
    found = [one for one in (bundle, plan) if one is not None]
    if len(found) != 1:
        raise InputError("say which stage: --bundle build/sample/bundles/stage2-blog, or --plan FOLDER")
    return found[0]


def digest(
    bundle: BundleOption = None,
    plan: PlanOption = None,
    first: First = 0,
    end: Annotated[
        int, typer.Option("--end", "--to", help="Index after the last; -1: the stage's end.")
    ] = -1,
    places: Annotated[bool, typer.Option("--places", help="Only places: reads no token.")] = False,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Print the digest of a stage's order, and of its tokens, to compare with another trainer's stream.

    Example: smolmix digest --bundle build/sample/bundles/stage2-blog --from 0 --to 1000
    """
    from smolmix.order_digest import check_range, digest_places, digest_windows
    from smolmix.plan import load_plan
    from smolmix.windows import Windows

    folder = _folder(bundle, plan)
    until = None if end < 0 else end
    if places:
        found = digest_places(load_plan(folder / "plan" if bundle else folder), first, until)
    else:
        windows = Windows(folder, root)
        first, last = check_range(windows.plan, first, until)
        with progress("digest", last - first) as advance:
            found = digest_windows(windows, first, last, advance)
    if as_json:
        out.print_json(json.dumps(asdict(found)))
        return
    print(f"windows {found.first} to {found.end}")
    print(f"order   {found.order}")
    print(f"tokens  {found.tokens or '(not read)'}")


def export(
    to: Annotated[str, typer.Option("--to", help="grain, torchtitan, megatron or mds.")],
    into: Annotated[Path, typer.Option("--out", help="Folder to write; an earlier export is replaced.")],
    bundle: BundleOption = None,
    plan: PlanOption = None,
    first: First = 0,
    end: End = -1,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Give the order of a stage to another trainer, with the digest that its stream must have.

    megatron and mds copy the windows into the trainer's own format; grain and torchtitan copy nothing.

    Example: smolmix export --to mds --bundle build/sample/bundles/stage2-blog --out build/mds
    """
    from smolmix.exports import export as write_export
    from smolmix.windows import Windows

    done = write_export(to, Windows(_folder(bundle, plan), root), into, first, None if end < 0 else end)
    if as_json:
        out.print_json(json.dumps(asdict(done) | {"folder": str(done.folder)}))
        return
    print(f"folder  {done.folder}, {done.bytes:,} bytes")
    print(f"order   {done.digest.order}")
    print(f"tokens  {done.digest.tokens}")
    say(f"next: read {done.folder / 'README.md'}")
