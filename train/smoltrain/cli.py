"""The command line of smoltrain. Nothing heavy is imported before a command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoldata.console import run_command
from smoltrain.ablate_cli import ablate_app
from smoltrain.heldout_cli import heldout
from smoltrain.nanotron.cli import app as nanotron_app
from smoltrain.nanotron.cli import doctor
from smoltrain.post.cli import post_app
from smoltrain.spike_cli import spike
from smoltrain.traces_cli import traces

if TYPE_CHECKING:
    from smoltrain.bundle import Bundle
    from smoltrain.train import Result

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="A bundle in; checkpoints and a ledger out."
)
ledger_app = typer.Typer(no_args_is_help=True, help="What a run consumed, against what was planned.")
app.add_typer(ledger_app, name="ledger")
app.add_typer(post_app, name="post")
app.add_typer(ablate_app, name="ablate")
app.add_typer(nanotron_app, name="nanotron")
app.command()(doctor)
app.command()(heldout)
app.command()(spike)
app.command()(traces)

BundleOption = Annotated[Path, typer.Option(help="The bundle's folder, as `make handoff` writes it.")]
RootOption = Annotated[
    Path | None, typer.Option(help="Where the shards are, if not where the bundle's relative paths point.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
StepsOption = Annotated[int, typer.Option(min=1, help="Steps of this run, counted from the stage's first.")]
SizeOption = Annotated[str, typer.Option(help="tiny, debug, 200m, 370m, 1b or 3b.")]
OutOption = Annotated[
    Path | None, typer.Option(help="The run's folder (default: beside bundles/, runs/<name>).")
]
MicroBatchOption = Annotated[int, typer.Option(min=1, help="Windows of one forward and backward pass.")]
CheckpointOption = Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")]
KeepOption = Annotated[int | None, typer.Option(min=0, help="Checkpoints that stay; 0: all (default: 2).")]
RateOption = Annotated[float | None, typer.Option(help="Peak rate (default: the size's).")]
ScheduleOption = Annotated[
    str, typer.Option(help="scaled to the run's steps, or planned: as the bundle's nanotron file has it.")
]
SeedOption = Annotated[int, typer.Option(help="Of the initial weights.")]
DeviceOption = Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")]
AttentionOption = Annotated[
    str, typer.Option(help="varlen, flex_attention, sdpa, or auto: varlen on a GPU, sdpa elsewhere.")
]
RecomputeOption = Annotated[
    bool, typer.Option("--recompute", help="Keep only layers' inputs for the backward pass: less memory.")
]
DeterministicOption = Annotated[
    bool | None, typer.Option(help="The same bits on every run (default: on a CPU yes, on a GPU no).")
]
HeldoutOption = Annotated[
    int, typer.Option(min=0, help="Steps between held-out losses of each source in the log; 0: none.")
]
TrackOption = Annotated[str | None, typer.Option(help="Send the log to trackio or wandb as well.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Delete the run in the folder and start again.")]


@app.command()
def train(
    bundle: BundleOption,
    steps: StepsOption = 24,
    size: SizeOption = "tiny",
    out: OutOption = None,
    root: RootOption = None,
    micro_batch: MicroBatchOption = 2,
    checkpoint_every: CheckpointOption = 10,
    keep: KeepOption = None,
    learning_rate: RateOption = None,
    schedule: ScheduleOption = "scaled",
    seed: SeedOption = 6,
    device: DeviceOption = "auto",
    attention: AttentionOption = "auto",
    recompute: RecomputeOption = False,
    deterministic: DeterministicOption = None,
    heldout_every: HeldoutOption = 0,
    track: TrackOption = None,
    fresh: FreshOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a SmolLM3 on a bundle in the order of the plan, or go on with a run that was stopped.

    This is the reference trainer, not nanotron; for 8 GPUs: torchrun --nproc-per-node 8 -m smoltrain train.

    Example: smoltrain train --bundle build/sample/bundles/stage2-blog --steps 24
    """
    from smoltrain.bundle import open_bundle
    from smoltrain.hyperparameters import rope_theta_of, size_named
    from smoltrain.run import Settings

    opened = open_bundle(bundle, root)
    _check_steps(opened, steps)
    shape = size_named(size)
    need_torch()
    from smoltrain.engine import Compute
    from smoltrain.train import train as run_training

    best = Compute.best(device)
    settings = Settings(
        lock=opened.plan.lock.hash,
        size=size,
        steps=steps,
        micro_batch=micro_batch,
        checkpoint_every=checkpoint_every,
        learning_rate=shape.learning_rate if learning_rate is None else learning_rate,
        rope_theta=rope_theta_of(opened.plan.name),
        seed=seed,
        schedule=schedule,
        device=best.device,
        precision=best.precision,
        attention=attention,
        compiled=best.compiled,
        recompute=recompute,
        deterministic=best.deterministic if deterministic is None else deterministic,
        heldout_every=heldout_every,
    )
    place = out or default_run(opened, size)
    result = run_training(opened, settings, place, fresh=fresh, track=track, keep=keep)
    _show(result, as_json=as_json)


def default_run(bundle: "Bundle", size: str) -> Path:
    """Return where a run goes unless said otherwise: ``runs/`` beside ``bundles/``, by plan and size.

    The first digits of the plan's lock are in the name: another plan is another run, none is in the way.
    """
    folder = bundle.folder.resolve()
    return folder.parent.parent / "runs" / f"{folder.name}-{size}-{bundle.plan.lock.hash[:8]}"


def need_torch() -> None:
    """Raise :class:`InputError` that says how to install it, if torch or transformers is missing."""
    from importlib.util import find_spec

    from smoldata.errors import InputError

    missing = [name for name in ("torch", "transformers", "safetensors") if find_spec(name) is None]
    if missing:
        raise InputError(f"{' and '.join(missing)} not installed; run `make setup-train`")


def _check_steps(bundle: "Bundle", steps: int) -> None:
    from smoldata.errors import InputError

    if steps > bundle.steps:
        raise InputError(
            f"--steps {steps}, but the stage in {bundle.folder} has {bundle.steps} steps; give fewer"
        )


def _show(result: "Result | None", *, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from smoldata.console import say, table

    if result is None:
        return  # a process that is not the first
    values = {**asdict(result), "run": str(result.run)}
    if as_json:
        print(json.dumps(values, indent=2))
        return
    here = Path.cwd()
    values["run"] = str(result.run.relative_to(here) if result.run.is_relative_to(here) else result.run)
    table("", ["training", "value"], [[key.replace("_", " "), _cell(value)] for key, value in values.items()])
    say(
        f"proved: the ledger equals the plan, window for window, over {result.steps:,} steps "
        f"({result.ledger_windows:,} windows); loss {result.first_loss:.2f} -> {result.last_loss:.2f}"
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


@app.command()
def what(
    step: Annotated[int, typer.Argument(min=0, help="Step of the stage, from 0.")],
    bundle: BundleOption,
    root: RootOption = None,
    tokenizer: Annotated[Path | None, typer.Option(help="File of a tokenizer of one's own.")] = None,
    full: Annotated[bool, typer.Option("--full", help="All the text that the step saw.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the documents that a step sees: source, document, how the text begins.

    Example: smoltrain what 17 --bundle build/sample/bundles/stage2-blog
    """
    import json
    from dataclasses import asdict

    from smoldata.console import table
    from smoltrain.bundle import open_bundle
    from smoltrain.pieces import load_pieces, tokenizer_of
    from smoltrain.what import PREVIEW_TOKENS, seen_in_step

    opened = open_bundle(bundle, root)
    pieces = load_pieces(tokenizer_of(opened, tokenizer))
    rows = list(seen_in_step(opened, step, pieces, None if full else PREVIEW_TOKENS))
    if as_json:
        print(json.dumps([asdict(row) for row in rows], ensure_ascii=False, indent=2))
        return
    if full:
        for row in rows:
            print(
                f"== {row.index} {row.source} {row.document}, from its token {row.first_token}\n{row.text}\n"
            )
        return
    columns = ["index", "source", "document", "from token", "tokens", "text"]
    cells = [
        [row.index, row.source, row.document, row.first_token, row.tokens, " ".join(row.text.split())[:60]]
        for row in rows
    ]
    table(f"step {step}", columns, cells, right=["index", "from token", "tokens"])


@app.command()
def watch(
    run: Annotated[Path | None, typer.Argument(help="The run (default: the newest of --build).")] = None,
    bundle: Annotated[Path | None, typer.Option(help="The bundle (default: the one the run names).")] = None,
    build: Annotated[Path, typer.Option(help="The build folder in which runs are looked for.")] = Path(
        "build"
    ),
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print how far it is, and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch a run: planned against consumed, passes, when a source runs out, losses, norms, time left.

    Example: smoltrain watch build/sample/runs/stage2-blog-tiny-0f3a
    """
    import json

    from smoldata.console import out
    from smoldata.errors import InputError
    from smoltrain import watch as watching
    from smoltrain.bundle import open_bundle
    from smoltrain.run import RunFolder, bundle_of, check_lock, newest_run, run_of

    folder = run_of(run or newest_run(build))
    opened = open_bundle(bundle or bundle_of(folder))
    check_lock(folder, opened.plan.lock.hash)
    settings = json.loads(RunFolder(folder).facts.read_text(encoding="utf-8"))["settings"]
    steps = int(settings.get("steps") or opened.steps)  # nanotron's runs are whole stages
    following = watching.Watch(opened, RunFolder(folder).log, steps, RunFolder(folder).heldout)
    if not once and not as_json:
        watching.follow(following, every)
        return
    state = following.look()
    if state is None:
        raise InputError(f"{RunFolder(folder).log} has no step yet; look again later, or without --once")
    if as_json:
        print(json.dumps(watching.as_json(state), indent=2))
    else:
        out.print(watching.picture(state))


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(help="A checkpoint: nanotron's folder of a step, or Hugging Face's.")
    ],
    out: Annotated[Path, typer.Argument(help="The folder to write; it must not be there yet.")],
    ranks: Annotated[
        int, typer.Option(min=1, help="Tensor-parallel ranks to write for nanotron; it reads any number.")
    ] = 1,
    dtype: Annotated[
        str | None, typer.Option(help="bfloat16, float32 or float16 (default: the checkpoint's).")
    ] = None,
    yarn: Annotated[bool, typer.Option("--yarn", help="Write YaRN to 128k into config.json.")] = False,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder whose tokenizer and chat template go beside the model.")
    ] = None,
) -> None:
    """Convert a checkpoint: nanotron's into Hugging Face's form, or back, whichever it is not.

    Example: smoltrain convert checkpoints/stage1/3450000 smollm3-stage1 --dtype bfloat16
    """
    from smoldata.console import say
    from smoldata.errors import InputError

    need_torch()
    from smoltrain.convert import form_of, hf_to_nanotron, nanotron_to_hf

    if out.exists():
        raise InputError(f"{out} exists; give another folder, or remove it")
    form = form_of(source)
    if form == "nanotron":
        nanotron_to_hf(source, out, dtype=dtype, yarn=yarn, tokenizer=tokenizer)
    elif yarn or tokenizer is not None:
        raise InputError("--yarn and --tokenizer are of Hugging Face's form; nanotron's file has neither")
    else:
        hf_to_nanotron(source, out, dtype=dtype, ranks=ranks)
    say(f"{out}: {'Hugging Face' if form == 'nanotron' else 'nanotron'}'s form of {source}")


@app.command()
def config(
    phase: Annotated[
        str, typer.Argument(help="stage1, stage2, stage3, long_context_32k, long_context_64k, mid.")
    ],
    preset: Annotated[str, typer.Option(help="released or blog.")] = "released",
    size: SizeOption = "3b",
    form: Annotated[str, typer.Option("--for", help="nanotron or transformers.")] = "nanotron",
    yarn: Annotated[bool, typer.Option("--yarn", help="With YaRN to 128k (transformers).")] = False,
    out: Annotated[Path | None, typer.Option(help="The file to write (default: print).")] = None,
) -> None:
    """Print the configuration of a phase: nanotron's whole file, or transformers' config.json.

    Example: smoltrain config stage1 --preset released --for nanotron
    """
    import json

    from smoldata.errors import InputError
    from smoltrain.configs import nanotron_text, transformers_config, write_text
    from smoltrain.hyperparameters import phase_named, size_named

    chosen = phase_named(phase, preset)
    if form == "nanotron":
        write_text(nanotron_text(chosen, size), out)
    elif form == "transformers":
        need_torch()
        values = transformers_config(chosen, size_named(size), yarn=yarn)
        write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", out)
    else:
        raise InputError(f"--for {form}: there are nanotron and transformers")


@ledger_app.command("check")
def ledger_check(
    run: Annotated[Path | None, typer.Argument(help="The run (default: the newest of --build).")] = None,
    bundle: Annotated[Path | None, typer.Option(help="The bundle (default: the one the run names).")] = None,
    build: Annotated[Path, typer.Option(help="The build folder in which runs are looked for.")] = Path(
        "build"
    ),
    as_json: JsonOption = False,
) -> None:
    """Prove that what a run consumed is exactly what was planned.

    Example: smoltrain ledger check --build build
    """
    import json
    from dataclasses import asdict

    from smoldata.console import table
    from smoltrain.bundle import open_bundle
    from smoltrain.ledger import check_ledger
    from smoltrain.run import RunFolder, bundle_of, check_lock, newest_run, run_of

    run = run or newest_run(build)
    opened = open_bundle(bundle or bundle_of(run_of(run)))
    check_lock(run, opened.plan.lock.hash)
    proof = check_ledger(RunFolder(run).ledger, opened)
    if as_json:
        print(json.dumps(asdict(proof), indent=2))
        return
    rows = [[name, f"{windows:,}"] for name, windows in proof.windows_by_source.items()]
    title = f"{run.name}: the ledger equals the plan, {proof.windows:,} windows in {proof.steps:,} steps"
    table(title, ["source", "windows"], rows, right=["windows"])


def main() -> None:
    """Run the command line."""
    run_command(app)
