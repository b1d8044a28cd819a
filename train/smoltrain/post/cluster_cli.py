"""``smoltrain post cluster`` and ``smoltrain post step``: the same run, a job a step, on many GPUs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoltrain.post import asking as ask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoltrain.post.budget import Budget, Corpus
    from smoltrain.post.phases import Phase

STEPS = ("rows", "mid", "sft", "apo")


def cluster(
    preset: Annotated[str, typer.Option(help="blog or recipe: the published schedules.")] = "blog",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the job scripts (default: none, numbers alone).")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Nodes of each phase (default: the published 8, 8, 2).")
    ] = None,
    gpus_per_node: Annotated[int, typer.Option(min=1, help="GPUs of a node.")] = 8,
    micro_batch: ask.MicroBatchOption = 1,
    gpu_memory: Annotated[float, typer.Option(min=1, help="GB of a GPU.")] = 80,
    utilization: Annotated[
        float, typer.Option(min=0.01, max=1, help="Part of the peak that is reached.")
    ] = 0.3,
    size: Annotated[str, typer.Option(help="3b, or a smaller size of `smoltrain train`.")] = "3b",
    build: Annotated[Path, typer.Option(help="Rows built here are counted, not taken as published.")] = Path(
        "build"
    ),
    profile: Annotated[str, typer.Option(help="hub (the published dataset) or sample.")] = "hub",
    loss: ask.LossOption = "apo_zero",
    as_json: ask.JsonOption = False,
) -> None:
    """Say what a cluster needs for each phase (a dry run), and write its job scripts.

    Example: smoltrain post cluster --preset blog --out jobs
    """
    import json

    from smoldata.console import say, table
    from smoldata.errors import InputError
    from smoltrain.hyperparameters import SIZES
    from smoltrain.post.budget import NODES, Machines, budget, fits
    from smoltrain.post.cluster import facts, write_cluster
    from smoltrain.post.phases import PRESETS, phase_named

    ask.refuse_unknown("preset", preset, PRESETS)
    ask.refuse_unknown("size", size, SIZES)
    ask.refuse_unknown("loss", loss, ask.LOSSES)
    budgets = []
    for name, published in NODES.items():
        machines = Machines(
            nodes or published, gpus_per_node, micro_batch, gpu_memory * 1e9 / 2**30, utilization=utilization
        )
        phase = phase_named(name, preset)
        corpus = _corpus(build / profile / "post" / "rows" / name, name, phase)
        budgets.append(budget(phase, corpus, machines, SIZES[size]))
    if as_json:
        print(json.dumps([facts(one) for one in budgets], indent=2))
    else:
        columns, cells = _cells(budgets)
        table(f"dry run: {preset}, {size}", columns, cells, right=columns[1:])
    too_big = fits(budgets)
    if too_big:
        raise InputError("; ".join(too_big))
    if out is not None:
        words = ["--profile", profile, "--preset", preset, "--loss", loss]
        write_cluster(budgets, out, [*words, "--micro-batch", str(micro_batch)])
        if not as_json:
            say(f"job scripts: {out}; next: BASE=<checkpoint> bash {out / 'submit.sh'}")


def _corpus(rows: Path, name: str, phase: "Phase") -> "Corpus":
    """Return the built rows' numbers, or the published ones where none are built."""
    from smoltrain.post.budget import corpus_of, published_corpus
    from smoltrain.post.lengths import read_lengths
    from smoltrain.post.recipe import load_rows_recipe

    if (rows / "rows.json").is_file():
        return corpus_of(read_lengths(rows / "train.parquet"), phase)
    return published_corpus(load_rows_recipe(name), phase)


def _cells(budgets: "Sequence[Budget]") -> tuple[list[str], list[list[str]]]:
    """Return the table of a dry run: a row a number, a column a phase."""
    rows: list[tuple[str, list[str]]] = [
        ("GPUs", [f"{one.machines.nodes} x {one.machines.gpus_per_node}" for one in budgets]),
        ("numbers from", [one.corpus.source for one in budgets]),
        ("rows or pairs", [f"{one.corpus.rows:,}" for one in budgets]),
        ("million tokens an epoch", [f"{one.corpus.tokens / 1e6:,.1f}" for one in budgets]),
        ("epochs", [f"{one.phase.epochs:g}" for one in budgets]),
        ("tokens of a row, at most", [f"{one.phase.max_length:,}" for one in budgets]),
        ("packed rows an epoch", [f"{one.corpus.packed:,}" for one in budgets]),
        ("rows or pairs a step", [f"{one.phase.batch}" for one in budgets]),
        ("passes a step and GPU", [f"{one.accumulation}" for one in budgets]),
        ("steps", [f"{one.steps:,}" for one in budgets]),
        ("billion tokens trained", [f"{one.trained_tokens / 1e9:,.2f}" for one in budgets]),
        ("exaflop", [f"{one.exaflops:,.0f}" for one in budgets]),
        ("GPU-hours", [f"{one.gpu_hours:,.0f}" for one in budgets]),
        ("hours", [f"{one.hours:,.1f}" for one in budgets]),
        ("GiB a GPU: weights, moments", [f"{one.memory.states:.1f}" for one in budgets]),
        ("  gathered layers", [f"{one.memory.gathered:.1f}" for one in budgets]),
        ("  reference model", [f"{one.memory.reference:.1f}" for one in budgets]),
        ("  activations", [f"{one.memory.activations:.1f}" for one in budgets]),
        ("  logits", [f"{one.memory.logits:.1f}" for one in budgets]),
        ("  all", [f"{one.memory.total:.1f} of {one.machines.gpu_gib:.1f}" for one in budgets]),
    ]
    return ["", *(one.phase.name for one in budgets)], [[name, *cells] for name, cells in rows]


def step(
    which: Annotated[str, typer.Argument(help=f"{', '.join(STEPS)}.")],
    base: Annotated[Path, typer.Option(help="Checkpoint that the run starts from.")],
    build: Annotated[Path, typer.Option(help="The build folder, which all processes see.")] = Path("build"),
    profile: ask.ProfileOption = "sample",
    preset: ask.PresetOption = "tiny",
    steps: Annotated[int | None, typer.Option(min=2, help="Steps of the phase, not the preset's.")] = None,
    rows: ask.RowsOption = None,
    tokenizer: ask.TokenizerOption = None,
    loss: ask.LossOption = "apo_zero",
    micro_batch: ask.MicroBatchOption = 1,
    evaluations: ask.EvaluationsOption = None,
) -> None:
    """Do one step of `smoltrain post run`, in its folders: also as one of many, under `accelerate launch`.

    Example: accelerate launch --config_file fsdp2.yaml -m smoltrain post step sft --base checkpoint
    """
    ask.refuse_unknown("step", which, STEPS)
    ask.make_ready(profile, loss)
    from smoltrain.post.pipeline import Asked, one_step

    asked = Asked(
        build,
        base,
        profile,
        preset,
        tuple(evaluations or ()),
        steps=steps,
        rows=rows,
        tokenizer=tokenizer,
        loss=ask.LOSSES[loss],
        validation=ask.validation_of(profile),
        micro_batch=micro_batch,
    )
    one_step(asked, which)
