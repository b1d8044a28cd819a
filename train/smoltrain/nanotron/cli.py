"""``smoltrain nanotron`` and ``smoltrain doctor``: commands about the cluster's trainer."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from smoltrain.nanotron.commands import Place
    from smoltrain.nanotron.doctor import Finding
    from smoltrain.nanotron.settings import Launch, Loader

_NODE = 8
app = typer.Typer(no_args_is_help=True, help="The cluster's trainer: what to type, and our loader in it.")

Bundle = Annotated[Path, typer.Argument(help="The bundle's folder, as `make handoff` writes it.")]
Checkout = Annotated[
    Path, typer.Option("--nanotron", envvar="NANOTRON", help="A checkout of nanotron, branch smollm3.")
]
Run = Annotated[Path, typer.Option(help="Folder of the run: one for all stages; checkpoints go there.")]
Python = Annotated[str, typer.Option(envvar="NANOTRON_PYTHON", help="nanotron's own Python.")]
Node = Annotated[int, typer.Option(min=1, help="GPUs of one node.")]
Root = Annotated[str | None, typer.Option(help="Folder or URL of the shards, if not where the bundle says.")]
Cache = Annotated[Path | None, typer.Option(help="Folder that shards of a URL are copied to.")]
CacheGb = Annotated[
    float | None,
    typer.Option(min=0.001, help="Most of the cache: shards read for the last time are removed."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting, such as tokens.train_steps=20; repeatable."),
]
Attention = Annotated[
    str, typer.Option(help="flash: flash-attn, as nanotron asks; varlen: torch's own kernels, no compiler.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


@app.command()
def plan(
    bundle: Bundle,
    checkout: Checkout,
    run: Run = Path("run"),
    python: Python = "python",
    gpus_per_node: Node = _NODE,
    root: Root = None,
    cache: Cache = None,
    cache_gb: CacheGb = None,
    changes: Changes = None,
    attention: Attention = "flash",
    sbatch: Annotated[
        Path | None, typer.Option(help="Also write the Slurm script of our loader here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the commands that launch a stage: nanotron's stock loader, and ours with the order of the plan.

    Example: smoltrain nanotron plan build/sample/bundles/stage2-blog --nanotron nanotron --run run
    """
    import json

    from smoldata.files import write_atomic
    from smoltrain.nanotron import commands
    from smoltrain.nanotron.settings import prepare

    place = _place(bundle, checkout, run, python, gpus_per_node, root, cache, attention, cache_gb)
    launches: dict[Loader, Launch] = {
        "stock": prepare(bundle, place.run, loader="stock", changes=changes or [], check_resume=False),
        "plan": prepare(bundle, place.run, changes=changes or [], check_resume=False),
    }
    if sbatch is not None:
        write_atomic(sbatch, commands.sbatch(place, launches["plan"]))
    lines = {name: commands.shown(commands.torchrun(place, one, name)) for name, one in launches.items()}
    launch = launches["plan"]
    nodes, each = commands.nodes_of(launch.config, gpus_per_node)
    facts = {
        "stage": launch.stage,
        "first_step": launch.config.data_stages[-1].start_training_step,
        "last_step": launch.config.tokens.train_steps,
        "resumes_from": launch.resumes,
        "checkpoints": launch.config.checkpoints.checkpoints_path,
        "nodes": nodes,
        "gpus_per_node": each,
    }
    if as_json:
        print(json.dumps({**facts, "commands": lines}, indent=2))
        return
    _show_plan(place, launch, facts, lines, changes or [])


def _place(
    bundle: Path,
    checkout: Path,
    run: Path,
    python: str,
    gpus_per_node: int,
    root: str | None,
    cache: Path | None,
    attention: str,
    cache_gb: float | None,
) -> "Place":
    from smoltrain.nanotron.commands import Place

    if root is not None and "://" not in root:
        root = str(Path(root).resolve())
    folders = bundle.resolve(), checkout.resolve(), run.resolve()
    varlen = _is_varlen(attention)
    return Place(*folders, python, gpus_per_node, root, cache and cache.resolve(), varlen, cache_gb)


def _is_varlen(attention: str) -> bool:
    from smoldata.errors import InputError

    if attention not in {"flash", "varlen"}:
        raise InputError(f"--attention {attention}: it is flash or varlen")
    return attention == "varlen"


def _show_plan(
    place: "Place",
    launch: "Launch",
    facts: dict[str, object],
    lines: "dict[Loader, str]",
    changes: list[str],
) -> None:
    config = launch.config
    one, cp = config.parallelism, config.parallelism.context_parallel_size
    print(f"{launch.stage}: steps {facts['first_step']} to {facts['last_step']}, {config.gpus} GPUs")
    print(f"  data parallel {one.dp} x tensor {one.tp} x context {cp} x pipeline {one.pp}")
    print(f"  goes on from {launch.resumes or 'nothing: random weights'}, in {place.run}")
    print(f"  ends with a checkpoint in {config.checkpoints.checkpoints_path}")
    root = f" --root {place.root}" if place.root else ""
    print("\nbefore: the bytes, the environment")
    print(f"  smolmix verify {place.bundle}{root}")
    print(f"  smoltrain doctor --nanotron {place.checkout} --python {place.python}")
    print("\n(a) nanotron's own loader: its greedy order; counts as planned; shards through links")
    print(f"  cd {place.run} && smolmix link-shards {place.bundle}{root} --into .")
    if facts["nodes"] == 1:
        print(f"  CUDA_DEVICE_MAX_CONNECTIONS=1 PYTHONPATH={place.checkout}/src {lines['stock']}")
    data = f" DATA={place.root}" if place.root else ""
    variables = f"BUNDLE={place.bundle} NANOTRON={place.checkout} RUN={place.run}{data}"
    print(f"  {variables} sbatch {place.bundle}/train.sbatch")
    given = shlex.join(_given(place, changes))
    print("\n(b) our loader: exactly the plan's order, with its ledger; no links")
    if facts["nodes"] == 1:
        print(f"  smoltrain nanotron run {given}")
    print(f"  smoltrain nanotron plan {given} --sbatch exact.sbatch && sbatch exact.sbatch")


def _given(place: "Place", changes: list[str]) -> list[str]:
    """Return bundle and options as they were given, for a command that is shown."""
    words = [
        str(place.bundle),
        "--nanotron",
        str(place.checkout),
        "--run",
        str(place.run),
        "--python",
        place.python,
    ]
    words += ["--gpus-per-node", str(place.gpus_per_node)] if place.gpus_per_node != _NODE else []
    words += ["--root", place.root] if place.root else []
    words += ["--cache", str(place.cache)] if place.cache else []
    words += ["--cache-gb", str(place.cache_gb)] if place.cache_gb is not None else []
    words += ["--attention", "varlen"] if place.varlen else []
    return [*words, *(word for change in changes for word in ("--set", change))]


@app.command("run")
def run_command(
    bundle: Bundle,
    checkout: Checkout,
    run: Run = Path("run"),
    python: Python = "python",
    gpus_per_node: Node = _NODE,
    root: Root = None,
    cache: Cache = None,
    cache_gb: CacheGb = None,
    changes: Changes = None,
    attention: Attention = "flash",
) -> None:
    """Train a stage with nanotron on this machine's GPUs, in exactly the order of the plan.

    Run again, it goes on from its last checkpoint. Example:

    smoltrain nanotron run build/sample/bundles/stage2-blog --nanotron nanotron --run run
    """
    import subprocess

    from smoldata.console import say
    from smoldata.errors import InputError, TrainingError
    from smoldata.files import single_writer
    from smoltrain.nanotron import commands
    from smoltrain.nanotron.settings import prepare

    place = _place(bundle, checkout, run, python, gpus_per_node, root, cache, attention, cache_gb)
    launch = prepare(bundle, place.run, changes=changes or [])
    nodes, _ = commands.nodes_of(launch.config, gpus_per_node)
    if nodes > 1:
        raise InputError(
            f"{launch.stage} is configured for {launch.config.gpus} GPUs, {nodes} nodes of {gpus_per_node}: "
            "start it with the script of `smoltrain nanotron plan --sbatch`, or change parallelism with --set"
        )
    command = commands.torchrun(place, launch, "plan")
    if launch.warning:
        say(f"{launch.warning}; goes on from {launch.resumes or 'random weights'}")
    with single_writer(place.run / launch.stage):
        pass  # nobody trains there; from here on the first rank holds it, as long as it lives
    done = subprocess.run(command, cwd=place.run, env=commands.environment(place, os.environ), check=False)
    if done.returncode:
        raise TrainingError(
            f"nanotron ended with exit code {done.returncode}; its own messages stand above; "
            f"`smoltrain doctor --nanotron {checkout}` finds what is missing; the same command goes on"
        )


def doctor(
    checkout: Checkout,
    python: Python = "python",
    attention: Attention = "flash",
    loader: Annotated[str, typer.Option(help="plan: our loader; stock: nanotron's own.")] = "plan",
    blend: Annotated[
        bool, typer.Option("--blend", help="Compile and call nanotron's blending extension as well.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say whether nanotron can run here, what is missing, and what to do. Exit code 1 if something is.

    Example: smoltrain doctor --nanotron nanotron --python nanotron/.venv/bin/python
    """
    import json
    from dataclasses import asdict

    from smoltrain.nanotron.doctor import examine

    findings = examine(checkout, python, varlen=_is_varlen(attention), blend=blend)
    if as_json:
        print(json.dumps([asdict(one) for one in findings], indent=2))
    else:
        for one in findings:
            print(f"{one.state:<8} {one.what}: {one.seen}" + (f"\n         -> {one.fix}" if one.fix else ""))
    if any(one.state == "missing" and _matters(one, loader) for one in findings):
        raise typer.Exit(1)


def _matters(finding: "Finding", loader: str) -> bool:
    """Say whether a finding is about the loader that is to be used."""
    other = "stock loader" if loader == "plan" else "our loader"
    return not finding.what.startswith(other)
