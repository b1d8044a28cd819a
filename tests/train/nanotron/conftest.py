"""Three short stages that follow each other, and nanotron on this machine's CPU where a checkout is."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smolmix.bundle import write_bundle
from smolmix.nanotron import Launch
from smolmix.plan_files import write_plan
from smolmix.planner import plan_stage
from smolmix.recipe import load_recipe
from smolmix.sources import supply_from_manifests
from smoltrain.nanotron import commands
from smoltrain.nanotron.settings import Loader, prepare

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

HARNESS = Path(__file__).with_name("cpu.py")
STATES = ("optimizer", "lr_scheduler")
SOURCES = ("asyncio", "email", "idlelib", "json")
STAGES = ("one", "two", "three")
STEPS = 20
RECIPE = """
format_version: 1
name: {name}
{follows}
tokenizer: {{name: trial, path: trial/tokenizer.json}}
sequence_length: 64
batch_windows: 6
validation: 1/8
seed: 6
budget: {steps} steps
sample: {{sequence_length: 64, batch_windows: 6, max_passes: 2}}
weights: {{prose: {{email: {email}%, idlelib: {idlelib}%}}, code: {{json: 10%, asyncio: 20%}}}}
"""
TINY = (
    "model.dtype=float32",
    "optimizer.accumulate_grad_in_fp32=false",
    "model.model_config.hidden_size=64",
    "model.model_config.intermediate_size=344",
    "model.model_config.num_hidden_layers=4",
    "model.model_config.num_attention_heads=4",
    "model.model_config.num_key_value_heads=1",
    "optimizer.learning_rate_scheduler.learning_rate=0.01",
    "parallelism.tp_mode=ALL_REDUCE",
)


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Bundles of three stages by name, in order, and the tokenizer's folder."""

    bundles: dict[str, Path]
    tokenizer: Path


@pytest.fixture(scope="session")
def curriculum(small_house: "SmallHouse", tmp_path_factory: pytest.TempPathFactory) -> Curriculum:
    """Plan three stages of the small house and write their bundles, for one or two ranks."""
    build = tmp_path_factory.mktemp("curriculum")
    for name in ("tokens", "trial"):
        shutil.copytree(small_house.build / name, build / name)
    tokenizer = _tokenizer_folder(build)
    for number, name in enumerate(STAGES):
        follows = f"follows: {STAGES[number - 1]}.yaml" if number else ""
        email = 20 + 10 * number
        text = RECIPE.format(name=name, follows=follows, steps=STEPS, email=email, idlelib=70 - email)
        (build / f"{name}.yaml").write_text(text, "utf-8")
    last = load_recipe(build / "three.yaml")
    supply = supply_from_manifests(last, SOURCES, build / "tokens/trial", build / "plans/any")
    plans = plan_stage(last, supply, profile="hub")  # hub: the budget as the recipe has it
    folders = [build / "plans" / plan.name for plan in plans]
    for plan, folder in zip(plans, folders, strict=True):
        write_plan(plan, folder)
    launch = Launch(model="debug", gpus=1, total_steps=STEPS * len(STAGES), tokenizer=str(tokenizer))
    bundles = {
        plan.name: write_bundle(
            folder, build / "bundles" / plan.name, recipe=b"x", earlier=folders[:at], launch=launch
        )
        for at, (plan, folder) in enumerate(zip(plans, folders, strict=True))
    }
    return Curriculum(bundles, tokenizer)


def _tokenizer_folder(build: Path) -> Path:
    """Return a folder that transformers' AutoTokenizer loads: what nanotron's own loader asks for."""
    folder = build / "tokenizer"
    folder.mkdir()
    shutil.copy(build / "trial/tokenizer.json", folder)
    settings = '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}'
    (folder / "tokenizer_config.json").write_text(settings, "utf-8")
    return folder


def write_checkpoint(folder: Path, tp: int = 1, dp: int = 1, zero_stage: int = 0) -> Path:
    """Write a checkpoint as nanotron's ranks leave it, its tensors small; see its ``serialize/``."""
    import torch
    from safetensors.torch import save_file

    ranks = [f"tp-{rank}-of-{tp}" for rank in range(tp)]
    states = [f"dp-{d}-of-{dp}_{rank}" for rank in ranks for d in range(dp)] if zero_stage else ranks
    files = [f"{kind}/{kind}_pp-0-of-1_{one}_exp-0-of-1.pt" for kind in STATES for one in states]
    files += [f"random/{rank}_dp-{d}-of-{dp}_pp-0-of-1.pt" for rank in ranks for d in range(dp)]
    weights = folder / "model/model/decoder/0/pp_block/attn/qkv_proj"
    for path in (weights, *((folder / name).parent for name in files)):
        path.mkdir(parents=True, exist_ok=True)
    for rank in range(tp):
        name = f"model_weight_pp-rank-0-of-1_tp-rank-{rank}-of-{tp}.safetensors"
        save_file({"data": torch.zeros(8, 8)}, weights / name, {"version": "1.5"})
    for name in files:
        torch.save({"state": torch.zeros(8)}, folder / name)
    parallelism = {"dp": dp, "tp": tp, "pp": 1, "expert_parallel_size": 1}
    config = {"parallelism": parallelism, "optimizer": {"zero_stage": zero_stage}}
    for name, value in (("config.yaml", config), ("model_config.json", {}), ("checkpoint_metadata.json", {})):
        (folder / name).write_text(json.dumps(value), "utf-8")
    return folder


Start = Callable[..., str]


@pytest.fixture
def checkout() -> Path:
    """Return the checkout of nanotron that the environment names."""
    folder = os.environ.get("NANOTRON")
    if not folder:
        pytest.skip("needs nanotron: make test-nanotron NANOTRON=<checkout> [NANOTRON_PYTHON=<its Python>]")
    return Path(folder).resolve()


@pytest.fixture
def start(checkout: Path, tmp_path: Path) -> Start:
    """Return a function that launches a stage on the CPU and returns what nanotron printed."""

    def launch(
        bundle: Path,
        *changes: str,
        ranks: int = 1,
        loader: Loader = "plan",
        run: str = "run",
        fails: bool = False,
    ) -> str:
        folder = tmp_path / run
        python = os.environ.get("NANOTRON_PYTHON", sys.executable)
        place = commands.Place(bundle, checkout, folder, python)
        shared = [f"parallelism.dp={ranks}", f"tokens.batch_accumulation_per_replica={6 // ranks}"]
        shared.append("tokens.micro_batch_size=1")
        prepared = prepare(bundle, folder, loader=loader, changes=[*TINY, *shared, *changes])
        words = commands.torchrun(place, prepared, loader)
        words.insert(words.index("--max_restarts=0") + 1, str(HARNESS))
        return _run(words, folder, commands.environment(place, os.environ), fails=fails)

    return launch


def _run(words: Sequence[str], folder: Path, environment: dict[str, str], *, fails: bool) -> str:
    # nanotron's Makefile calls the python3 of the path: it must be one that has pybind11.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    settings = environment | {"OMP_NUM_THREADS": "1", "PATH": path}
    done = subprocess.run(
        words,
        cwd=folder,
        env=settings,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert (done.returncode != 0) is fails, done.stdout[-8000:]
    return done.stdout
