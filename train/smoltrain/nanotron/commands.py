"""A launch as argument lists: a checked configuration in, what to type out. Starts nothing."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from smolmix.nanotron_schema import NanotronConfig
from smoltrain.nanotron.settings import Launch, Loader

PACKAGES = ("smoldata", "smoltok", "smolmix", "smoltrain")
PORT = 6000


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are on the machine of the launch."""

    bundle: Path
    checkout: Path
    run: Path
    python: str
    """nanotron's own."""
    gpus_per_node: int = 8
    root: str | None = None
    """Folder or URL of the shards, if not where the bundle says."""
    cache: Path | None = None
    varlen: bool = False
    cache_gb: float | None = None
    """The most that the cache is to hold."""


def nodes_of(config: NanotronConfig, gpus_per_node: int) -> tuple[int, int]:
    """Return (nodes, processes a node) of a launch."""
    each = min(config.gpus, gpus_per_node)
    return -(-config.gpus // each), each


def program(place: Place, launch: Launch, loader: Loader) -> list[str]:
    """Return what torchrun starts on each rank: nanotron's run_train.py, or ours with the plan's order."""
    if loader == "stock":
        return [str(place.checkout / "run_train.py"), "--config-file", str(launch.file)]
    words = [
        "-m",
        "smoltrain.nanotron.launch",
        "--bundle",
        str(place.bundle),
        "--config-file",
        str(launch.file),
    ]
    words += ["--out", str(place.run / launch.stage)]
    for name, value in (("--root", place.root), ("--cache", place.cache), ("--cache-gb", place.cache_gb)):
        words += [name, str(value)] if value is not None else []
    return [*words, "--attention", "varlen"] if place.varlen else words


def torchrun(place: Place, launch: Launch, loader: Loader) -> list[str]:
    """Return the command of a launch on one node; torchrun finds a free port itself."""
    _, each = nodes_of(launch.config, place.gpus_per_node)
    head = [place.python, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={each}"]
    return [*head, "--max_restarts=0", *program(place, launch, loader)]


def environment(place: Place, before: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a launch: the ones before, nanotron's and our packages on the path."""
    paths = [str(place.checkout / "src"), *package_folders(), before.get("PYTHONPATH", "")]
    return {
        "WANDB_MODE": "offline",
        **before,
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def package_folders() -> list[str]:
    """Return the folders that hold our packages, for a Python in which they are not installed."""
    return list(dict.fromkeys(str(Path(str(import_module(name).__file__)).parents[1]) for name in PACKAGES))


def shown(command: Sequence[str]) -> str:
    """Return a command as a person types it."""
    return shlex.join(command)


def sbatch(place: Place, launch: Launch) -> str:
    """Return the Slurm script of a launch with our loader; several nodes."""
    nodes, each = nodes_of(launch.config, place.gpus_per_node)
    words = program(place, launch, "plan")
    inner = [place.python, "-m", "torch.distributed.run", f"--nproc_per_node={each}"]
    meeting = '--nnodes="$SLURM_NNODES" --node_rank="$SLURM_PROCID" --master_addr="$MASTER_ADDR"'
    line = f"exec {shown(inner)} {meeting} --master_port={PORT} --max_restarts=0 {shown(words)}"
    paths = os.pathsep.join([str(place.checkout / "src"), *package_folders()])
    return "\n".join(
        [
            "#!/bin/bash",
            f"# {launch.stage} on nanotron with our loader: the order of the plan, and its ledger.",
            "# Written by `smoltrain nanotron plan --sbatch`; add partition, account and time limit.",
            f"#SBATCH --job-name=smollm3-{launch.stage}",
            f"#SBATCH --nodes={nodes}",
            "#SBATCH --ntasks-per-node=1",
            f"#SBATCH --gpus-per-node={each}",
            "#SBATCH --exclusive",
            "#SBATCH --output=%x-%j.out",
            "set -euo pipefail",
            f"cd {shlex.quote(str(place.run))}",
            f"export PYTHONPATH={shlex.quote(paths)}${{PYTHONPATH:+:$PYTHONPATH}}",
            "export CUDA_DEVICE_MAX_CONNECTIONS=1 WANDB_MODE=${WANDB_MODE:-offline}",
            "# A job that is started again goes on from its own last whole checkpoint.",
            shown([place.python, "-m", "smoltrain.nanotron.checkpoints", str(launch.file), str(place.run)]),
            'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
            "export MASTER_ADDR",
            "# SLURM_PROCID is the task's own: it must be read inside srun.",
            "# shellcheck disable=SC2016",
            f"srun --kill-on-bad-exit=1 bash -c {shlex.quote(line)}",
            "",
        ]
    )
