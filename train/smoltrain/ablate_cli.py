"""``smoltrain ablate``: variants on the same windows here, or the published grid for a cluster."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from smoltrain.ablate import Outcome

ablate_app = typer.Typer(
    no_args_is_help=True, help="Variants of the model on the same windows, side by side."
)


@ablate_app.command("run")
def run(
    bundle: Annotated[Path, typer.Option(help="The bundle's folder, as `make handoff` writes it.")],
    out: Annotated[Path, typer.Option(help="Where runs and results go.")] = Path("build/ablations"),
    steps: Annotated[int, typer.Option(min=2, help="Steps of each variant.")] = 20,
    size: Annotated[str, typer.Option(help="tiny, debug, 200m, 370m, 1b or 3b.")] = "tiny",
    variant: Annotated[
        list[str] | None, typer.Option(help="mha, rope, unmasked or decayed (default: all); repeat it.")
    ] = None,
    micro_batch: Annotated[int, typer.Option(min=1, help="Windows of one pass.")] = 2,
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
    heldout_windows: Annotated[int, typer.Option(min=1, help="Held-out windows of each source.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Train each variant on the same windows in the same order; write results.json and losses.svg.

    Example: smoltrain ablate run --bundle build/sample/bundles/stage2-blog --steps 20
    """
    from smoltrain.bundle import open_bundle
    from smoltrain.cli import need_torch
    from smoltrain.hyperparameters import rope_theta_of, size_named
    from smoltrain.run import Settings

    need_torch()
    from smoltrain.ablate import ablate
    from smoltrain.engine import Compute

    opened, best = open_bundle(bundle), Compute.best(device)
    settings = Settings(
        lock=opened.plan.lock.hash,
        size=size,
        steps=steps,
        micro_batch=micro_batch,
        checkpoint_every=steps,
        learning_rate=size_named(size).learning_rate,
        rope_theta=rope_theta_of(opened.plan.name),
        seed=6,
        device=best.device,
        precision=best.precision,
        compiled=best.compiled,
        deterministic=best.deterministic,
        heldout_every=steps,
        heldout_windows=heldout_windows,
    )
    outcomes = ablate(opened, settings, out, variant or None)
    if as_json:
        print(json.dumps([asdict(one) for one in outcomes], indent=2))
    else:
        show(outcomes, out)


def show(outcomes: "list[Outcome]", out: Path) -> None:
    """Print a table of the variants."""
    from smoldata.console import say, table

    columns = ["variant", "parameters", "loss", "held-out", "embedding norm", "KV bytes a token", "tok/s"]
    rows = [
        [
            one.variant,
            f"{one.parameters:,}",
            f"{one.final_loss:.4f}",
            "" if one.heldout_loss is None else f"{one.heldout_loss:.4f}",
            f"{one.embedding_norm:.2f}",
            f"{one.kv_cache_bytes_per_token:,}",
            f"{one.tokens_per_second:,.0f}",
        ]
        for one in outcomes
    ]
    windows = outcomes[0].ledger_windows
    title = f"{len(outcomes)} variants on the same {windows:,} windows"
    table(title, columns, rows, right=columns[1:])
    say(f"written: {out / 'results.json'}, {out / 'losses.svg'}")


@ablate_app.command("grid")
def grid(
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("build/ablation-grid"),
    gpus: Annotated[int, typer.Option(min=1, help="GPUs, for the days that it takes.")] = 384,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Write the published grid for a cluster: 3B x 100B tokens of FineWeb-Edu, a nanotron file a variant.

    Example: smoltrain ablate grid --out build/ablation-grid
    """
    from smoldata.console import table
    from smoltrain.ablation_grid import write_grid

    made = write_grid(out, gpus)
    if as_json:
        print(json.dumps({**asdict(made), "folder": str(made.folder)}, indent=2))
        return
    rows = [[name, f"{made.tokens_each:,}", made.gpu_hours_each] for name in made.variants]
    rows.append(["all", f"{made.tokens_each * len(made.variants):,}", made.gpu_hours])
    title = f"{out}: {made.days} days on {made.gpus} GPUs, one variant after the other"
    table(title, ["variant", "tokens", "GPU-hours"], rows, right=["tokens", "GPU-hours"])
