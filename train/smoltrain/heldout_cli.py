"""``smoltrain heldout``: held-out losses of a run's checkpoints, beside its log."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from smoltrain.runlog import Row


def heldout(
    run: Annotated[
        Path,
        typer.Argument(help="The run: a stage's folder of nanotron's, or one of the reference trainer's."),
    ],
    bundle: Annotated[Path | None, typer.Option(help="The bundle (default: the one the run names).")] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where the shards are, if not where the bundle says.")
    ] = None,
    windows: Annotated[int, typer.Option(min=1, help="Validation windows of each source.")] = 4,
    micro_batch: Annotated[int, typer.Option(min=1, help="Windows of one forward pass.")] = 1,
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
    follow: Annotated[
        bool, typer.Option("--follow", help="Score checkpoints as they appear, to the run's last.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks, with --follow.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program: a line a row.")] = False,
) -> None:
    """Add held-out losses of a run's checkpoints to its log: the same keys, shown by `smoltrain watch`.

    For nanotron, which does not evaluate while it trains; the reference trainer has --heldout-every.

    Example: smoltrain heldout run/stage2
    """
    import json

    from smoldata.console import progress, say
    from smoldata.errors import InputError
    from smoltrain.bundle import open_bundle
    from smoltrain.cli import need_torch
    from smoltrain.run import RunFolder, bundle_of, check_lock, run_of

    folder = RunFolder(run_of(run))
    opened = open_bundle(bundle or bundle_of(folder.path), root)
    check_lock(folder.path, opened.plan.lock.hash)
    need_torch()
    from smoltrain import heldout as scoring

    asked = scoring.Asked(windows, micro_batch, device)
    if follow:
        for row in scoring.follow(folder, opened, asked, every):
            print(json.dumps(row) if as_json else _told(row), flush=True)
        return
    if not scoring.saved(folder):
        raise InputError(f"{run} has no whole checkpoint yet; look again later, or with --follow")
    with progress("held-out loss", len(scoring.missing(folder, asked))) as advance:
        rows = scoring.score(folder, opened, asked, advance)
    for row in rows:
        print(json.dumps(row) if as_json else _told(row))
    if not as_json:
        say(f"{len(rows)} checkpoints in {folder.heldout}; `smoltrain watch {run} --once` shows the last")


def _told(row: "Row") -> str:
    """Return a row for a person: the step and each source's loss."""
    losses = (f"{key.split('/')[1]} {loss:.4f}" for key, loss in row.items() if key.startswith("heldout/"))
    return f"step {row['step']}: {', '.join(losses)}"
