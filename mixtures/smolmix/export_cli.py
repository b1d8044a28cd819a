"""The commands of ``smolmix`` for other trainers and for their disks: digest, export, staging."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoldata.console import out, progress, say, table
from smoldata.errors import InputError

if TYPE_CHECKING:
    from smolmix.staging import NodeDisk

BundleOption = Annotated[Path | None, typer.Option("--bundle", help="A bundle's folder.")]
PlanOption = Annotated[Path | None, typer.Option("--plan", help="A plan's folder.")]
Root = Annotated[Path | None, typer.Option(help="Folder that holds tokens/, if the shards were moved.")]
First = Annotated[int, typer.Option("--first", "--from", min=0, help="First sample index.")]
End = Annotated[int, typer.Option("--end", help="Sample index after the last; -1: the end of the stage.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def add_export_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    for command in (digest, export, staging):
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


def staging(
    disk: Annotated[str, typer.Option(help="What a node's disk may hold: 2T, 1.5TB, 800GiB.")],
    nodes: Annotated[int, typer.Option(min=1, help="Nodes that share each batch equally.")],
    bundle: BundleOption = None,
    plan: PlanOption = None,
    ahead: Annotated[int, typer.Option(help="Steps before its first use that a shard is fetched.")] = 200,
    node: Annotated[int, typer.Option(min=0, help="Node that a list is for.")] = 0,
    first: Annotated[int, typer.Option("--from", min=0, help="First step that a list is for.")] = 0,
    end: Annotated[int, typer.Option("--to", help="Step after the last; -1: the end of the stage.")] = -1,
    s5cmd: Annotated[str, typer.Option(metavar="URL", help="List copies for `s5cmd run`.")] = "",
    into: Annotated[str, typer.Option(help="Folder of the node that s5cmd copies to.")] = ".",
    rsync: Annotated[bool, typer.Option("--rsync", help="List paths for `rsync --files-from=-`.")] = False,
    evict: Annotated[bool, typer.Option("--evict", help="List paths that may be removed.")] = False,
    save: Annotated[bool, typer.Option("--save", help="Write staging/NAME.parquet: view timetable.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say which shard must be on which node before which step, within a disk budget a node.

    A shard is fetched --ahead steps early and may go after its last use in the pass. Fails, with the number
    needed, if a disk is too small. Steps count from 0 in the stage.

    Example: smolmix staging --bundle build/sample/bundles/stage2-blog --nodes 2 --disk 1G
    """
    from smolmix import staging_lists as lists
    from smolmix.plan import load_plan
    from smolmix.staging import check_disk, parse_bytes, shard_sizes, timetable

    folder = _folder(bundle, plan)
    if node >= nodes:
        raise InputError(f"node {node} is outside the {nodes} nodes: they are 0 to {nodes - 1}")
    if sum((bool(s5cmd), rsync, evict, as_json)) > 1:
        raise InputError("one output at a time: --s5cmd, --rsync, --evict or --json")
    loaded, disk_bytes = load_plan(folder / "plan" if bundle else folder), parse_bytes(disk)
    found = timetable(loaded, shard_sizes(folder, loaded), nodes=nodes, ahead=ahead)
    seen, names = check_disk(found, disk_bytes), lists.shard_names(folder, loaded)
    until = found.steps if end < 0 else end
    if save:
        path = folder.resolve().parent.parent / "staging" / f"{folder.resolve().name}.parquet"
        lists.write_timetable(found, names, path, loaded.lock.hash)
        say(f"wrote {path}; `smolmix report` brings it into the catalog")
    if found.unsized:
        say(f"not in the timetable, their sizes are unknown: {', '.join(found.unsized)}")
    if s5cmd:
        print(*lists.s5cmd_lines(lists.fetches(found, names, node, first, until), s5cmd, into), sep="\n")
    elif rsync or evict:
        print(*(lists.removals if evict else lists.fetches)(found, names, node, first, until), sep="\n")
    elif as_json:
        out.print_json(json.dumps(lists.as_json(found, seen, disk_bytes)))
    else:
        _print_disks(seen, disk_bytes)


def _print_disks(seen: Sequence["NodeDisk"], disk_bytes: int) -> None:
    columns = ("node", "shards", "visits", "GB fetched", "GB at most", "at step", "% of disk")
    rows = [
        (
            one.node,
            f"{one.shards:,}",
            f"{one.visits:,}",
            f"{one.fetched_bytes / 1e9:,.3f}",
            f"{one.peak_bytes / 1e9:,.3f}",
            f"{one.peak_step:,}",
            f"{100 * one.peak_bytes / disk_bytes:.1f}",
        )
        for one in seen
    ]
    table("Disks of the nodes", columns, rows, right=columns)
