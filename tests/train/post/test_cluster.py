"""Job scripts and their arithmetic; the whole chain of jobs on a real Slurm, two processes a phase."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.cluster import slurm, why_no_slurm
from typer.testing import CliRunner

from smoldata.errors import InputError
from smoltrain.flops import parameters
from smoltrain.hyperparameters import SIZES
from smoltrain.post.budget import NODES, Budget, Machines, budget, corpus_of, fits, published_corpus
from smoltrain.post.cli import post_app
from smoltrain.post.cluster import write_cluster
from smoltrain.post.data import RowsData
from smoltrain.post.lengths import read_lengths
from smoltrain.post.phases import phase_named
from smoltrain.post.pipeline import Asked, one_step, posttrain
from smoltrain.post.recipe import load_rows_recipe

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def published(name: str, preset: str = "blog", nodes: int | None = None) -> Budget:
    phase = phase_named(name, preset)
    corpus = published_corpus(load_rows_recipe(name), phase)
    return budget(phase, corpus, Machines(nodes or NODES[name]))


def test_the_published_runs_by_arithmetic() -> None:
    found = {name: published(name) for name in NODES}
    assert {name: one.accumulation for name, one in found.items()} == {"mid": 2, "sft": 2, "apo": 2}
    assert found["apo"].steps == ceil(169_346 / 32)
    assert found["mid"].trained_tokens == pytest.approx(140.7e9, rel=1e-3), "the blog's 140B"
    assert found["sft"].trained_tokens == pytest.approx(7.6e9, rel=1e-2)
    assert published("mid", "recipe").trained_tokens == pytest.approx(175.9e9, rel=1e-3)
    assert published("sft", nodes=1).accumulation == 16
    assert published("apo", nodes=1).accumulation == 4
    assert not fits(list(found.values()))


def test_operations_and_memory_are_their_formulas() -> None:
    one = published("sft")
    size = SIZES["3b"]
    weights = parameters(size, 128_256)
    keys = (float(Fraction(one.corpus.tokens, one.corpus.rows)) + 1) / 2
    a_token = 6 * weights + 12 * size.num_layers * size.hidden_size * keys
    assert one.exaflops * 1e18 == pytest.approx(a_token * 4 / 3 * one.trained_tokens, rel=1e-6)
    assert one.gpu_hours == pytest.approx(one.exaflops * 1e18 / (989e12 * 0.3) / 3600)
    assert one.memory.states == pytest.approx(16 * weights / 64 / 2**30)
    half = replace(one.phase, max_length=32_768)
    shorter = budget(half, one.corpus, one.machines)
    assert shorter.memory.activations == pytest.approx(one.memory.activations / 2)


def test_what_does_not_fit_is_said() -> None:
    phase = phase_named("sft")
    corpus = published_corpus(load_rows_recipe("sft"), phase)
    (line,) = fits([budget(phase, corpus, Machines(1, 1, gpu_gib=40))])
    assert line.startswith("sft: 6")
    with pytest.raises(InputError, match=r"no multiple of 24 GPUs x 1; use 1, 2 nodes"):
        budget(phase, corpus, Machines(3))
    refused = CliRunner().invoke(
        post_app, ["cluster", "--nodes", "1", "--gpus-per-node", "1", "--gpu-memory", "40"]
    )
    assert isinstance(refused.exception, InputError)


def test_built_rows_are_counted(rows: dict[str, RowsData]) -> None:
    phase = replace(phase_named("apo"), max_length=100)
    lengths = read_lengths(rows["apo"].train)
    found = corpus_of(lengths, phase)
    assert (found.rows, found.packed, found.source) == (12, 12, "rows")
    assert found.tokens == np.minimum(lengths, 100).sum()
    sft = replace(phase_named("sft"), max_length=256)
    packed = corpus_of(read_lengths(rows["sft"].train), sft)
    assert packed.packed < packed.rows
    assert 1 < packed.keys < 128


def test_the_scripts_are_written_and_accelerate_reads_its_files(tmp_path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    written = write_cluster([published(name) for name in NODES], tmp_path, ["--preset", "blog"])
    assert len(written) == 9
    for path in tmp_path.glob("*.s*"):
        assert subprocess.run(["bash", "-n", path], check=False).returncode == 0
        assert "%{" not in path.read_text()
    assert "--num_machines 2 --num_processes 16" in (tmp_path / "apo.sbatch").read_text()
    facts = json.loads((tmp_path / "budget.json").read_bytes())
    assert [one["machines"]["gpus"] for one in facts["phases"]] == [64, 64, 16]
    sharded, deepspeed = (
        load_config_from_file(str(tmp_path / f"{name}.yaml")) for name in ("fsdp2", "zero3")
    )
    assert (sharded.fsdp_config["fsdp_version"], deepspeed.deepspeed_config["zero_stage"]) == (2, 3)
    words = ["--config_file", str(tmp_path / "fsdp2.yaml"), "-m", "smoltrain"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    assert (arguments.use_fsdp, arguments.fsdp_version) == (True, 2)
    assert arguments.fsdp_transformer_layer_cls_to_wrap == "SmolLM3DecoderLayer"


def test_a_step_needs_the_one_before(base: Path, tmp_path: Path, rows: dict[str, RowsData]) -> None:
    asked = Asked(tmp_path, base)
    with pytest.raises(InputError, match="step rows"):
        one_step(asked, "sft")
    folder = asked.home / "rows"
    folder.mkdir(parents=True)
    (folder / "sft").symlink_to(rows["sft"].folder)
    with pytest.raises(InputError, match="step mid"):
        one_step(asked, "sft")


CPU = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_GPU", "use_cpu": True}
"""accelerate starts processes for MULTI_GPU alone; on CPUs they are DDP over gloo."""


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(bool(why_no_slurm()), reason=why_no_slurm())
def test_the_chain_of_jobs_on_a_real_slurm(
    base: Path, raw_rows: Path, tokenizer: Path, tmp_path: Path
) -> None:
    """Rows, three phases of two processes each, merge: as jobs; against one process that does it all."""
    options = ["--rows", str(raw_rows), "--tokenizer", str(tokenizer), "--steps", "2"]
    machines = Machines(1, 2)
    budgets = []
    for name in NODES:
        phase = phase_named(name, "tiny")
        budgets.append(budget(phase, published_corpus(load_rows_recipe(name), phase), machines))
    jobs = tmp_path / "jobs"
    write_cluster(budgets, jobs, options)
    (jobs / "cpu.yaml").write_text(yaml.safe_dump(CPU), encoding="utf-8")
    variables = {
        "BASE": str(base),
        "BUILD": str(tmp_path / "build"),
        "SMOLTRAIN": sys.executable,
        "LAUNCH": str(jobs / "cpu.yaml"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "CUDA_VISIBLE_DEVICES": "",
    }
    with slurm(tmp_path / "slurm") as environment:
        words = ["bash", str(jobs / "submit.sh"), "--gpus-per-node=0", "--wait"]
        done = subprocess.run(
            words, env=environment | variables, cwd=tmp_path, capture_output=True, text=True, check=False
        )
    said = "\n".join(path.read_text() for path in sorted(tmp_path.glob("*.out")))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{said}"
    (made,) = (tmp_path / "build").glob("*/post/runs/*/post.json")
    alone = posttrain(
        Asked(
            tmp_path / "alone", base, steps=2, rows=raw_rows, tokenizer=tokenizer, validation=Fraction(1, 20)
        )
    )
    together: dict[str, Any] = json.loads(made.read_bytes())
    for name in NODES:
        losses = [[line["loss"] for line in run["phases"][name]["log"]] for run in (together, alone)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-3), name
