"""Phases and machines -> a folder of job scripts: accelerate's files, a script a job, one that submits all.

::

    <out>/
    ├── fsdp2.yaml zero3.yaml       accelerate: FSDP2, or DeepSpeed ZeRO-3
    ├── rows.sbatch                 rows of all phases, one node
    ├── mid.sbatch sft.sbatch apo.sbatch
    ├── merge.sbatch                soup, merge, measures, page: one GPU
    ├── submit.sh                   all of them, each after the one before
    └── budget.json                 the dry run: steps, tokens, memory a GPU, GPU-hours

Each job is a step of `smoltrain post run`, in the same folders: a job that was stopped goes on when it is
submitted again, and one that is done does nothing. Cost: milliseconds.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smoldata.files import write_atomic, write_json
from smoltrain.post.budget import Budget
from smoltrain.post.template import data_file

PORT = 6100
LAUNCH_FILES = ("fsdp2.yaml", "zero3.yaml")
_TITLES = {"mid": "Mid-training", "sft": "SFT", "apo": "Preference optimization"}


def write_cluster(budgets: Sequence[Budget], out: Path, options: Sequence[str]) -> list[Path]:
    """Write the folder, return its files; ``options`` are words that every step gets (``--preset blog``)."""
    texts = {name: data_file(f"cluster/{name}").read_text(encoding="utf-8") for name in LAUNCH_FILES}
    words = shlex.join(options)
    texts["rows.sbatch"] = _alone("rows", "Rows of all phases", "step rows", words, gpus=0)
    for one in budgets:
        texts[f"{one.phase.name}.sbatch"] = _phase(one, words)
    texts["merge.sbatch"] = _alone("merge", "Soup, merge, measures and page", "run", words, gpus=1)
    texts["submit.sh"] = _submit(["rows", *(one.phase.name for one in budgets), "merge"])
    for name, text in texts.items():
        write_atomic(out / name, text)
    write_json(out / "budget.json", {"format_version": 1, "phases": [facts(one) for one in budgets]})
    return sorted(out / name for name in (*texts, "budget.json"))


def facts(one: Budget) -> dict[str, Any]:
    """Return a budget as what ``budget.json`` holds."""
    memory = {name: round(value, 2) for name, value in asdict(one.memory).items()}
    return {
        "phase": asdict(one.phase),
        "machines": asdict(one.machines) | {"gpus": one.machines.gpus},
        "corpus": asdict(one.corpus),
        "accumulation": one.accumulation,
        "steps": one.steps,
        "trained_tokens": one.trained_tokens,
        "exaflops": round(one.exaflops, 1),
        "gpu_hours": round(one.gpu_hours, 1),
        "hours": round(one.hours, 2),
        "memory_gib": memory | {"total": round(one.memory.total, 2)},
    }


def _fill(name: str, values: Mapping[str, object]) -> str:
    """Put values into a template; ``%{name}`` marks a place, so that the shell's own braces stay."""
    text = data_file(f"cluster/{name}").read_text(encoding="utf-8")
    return re.sub(r"%\{(\w+)\}", lambda found: str(values[found[1]]), text)


def _phase(one: Budget, options: str) -> str:
    machines = one.machines
    values = {
        "title": f"{_TITLES[one.phase.name]} on {machines.gpus} GPUs, {one.accumulation} passes a step",
        "phase": one.phase.name,
        "nodes": machines.nodes,
        "gpus_per_node": machines.gpus_per_node,
        "gpus": machines.gpus,
        "port": PORT,
        "options": options,
    }
    return _fill("phase.sbatch", values)


def _alone(phase: str, title: str, command: str, options: str, *, gpus: int) -> str:
    values = {"phase": phase, "title": title, "command": command, "options": options, "gpus": gpus}
    return _fill("alone.sbatch", values)


def _submit(jobs: Sequence[str]) -> str:
    """Return a script that submits the jobs in a chain, each if the one before ended well."""
    lines = [
        "#!/bin/bash",
        "# Submits all jobs, each after the one before: BASE=checkpoint bash submit.sh [sbatch options].",
        "# A job that fails ends the chain; submit again, and what is done is not done again.",
        "set -euo pipefail",
        ': "${BASE:?set BASE to the checkpoint to start from}"',
        'FOLDER=$(dirname "$(realpath "$0")")',
        "export FOLDER",
        "after=()",
    ]
    for job in jobs:
        lines.append(
            f'id=$(sbatch --parsable --kill-on-invalid-dep=yes "${{after[@]}}" "$@" "$FOLDER/{job}.sbatch")'
        )
        lines.append(f'echo "{job}: $id"')
        lines.append('after=("--dependency=afterok:${id%%;*}")')
    return "\n".join(lines) + "\n"
