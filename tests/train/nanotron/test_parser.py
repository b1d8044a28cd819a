"""nanotron's own parser takes every configuration of ours, and reads in it what we wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from smoldata.registry import load_registry
from smolmix.nanotron import emit
from smolmix.nanotron_schema import load_config
from smolmix.planner import chain, plan_stage
from smolmix.recipe import load_recipe
from smolmix.sources import names_of, supply_from_registry
from smoltrain.nanotron.settings import prepare

if TYPE_CHECKING:
    from tests.train.nanotron.conftest import Curriculum

pytestmark = pytest.mark.nanotron
HARNESS = Path(__file__).with_name("cpu.py")
RECIPES = ("1", "2", "3", "32k", "64k", "mid")
SCRIPT = """
import json, sys
from nanotron.config import get_config_from_file
for path in sys.argv[1:]:
    one = get_config_from_file(path)
    model, scheduler = one.model.model_config, one.optimizer.learning_rate_scheduler
    print(json.dumps([
        one.global_batch_size, one.tokens.train_steps,
        [stage.start_training_step for stage in one.data_stages],
        one.parallelism.context_parallel_size, model.rope_theta, model._attn_implementation,
        scheduler.lr_warmup_steps, scheduler.lr_decay_starting_step, one.optimizer.clip_grad,
    ]))
"""


def test_every_recipe_and_preset_and_what_our_launch_makes_of_a_bundle(
    curriculum: "Curriculum", checkout: Path, tmp_path: Path
) -> None:
    files = [tmp_path / f"{name}.yaml" for name in write_published(tmp_path)]
    two = curriculum.bundles["two"]
    files += [prepare(two, tmp_path, check_resume=False).file]
    files += [prepare(two, tmp_path, loader="stock", check_resume=False).file]
    (tmp_path / "parse.py").write_text(SCRIPT, "utf-8")
    done = subprocess.run(
        [os.environ.get("NANOTRON_PYTHON", sys.executable), str(HARNESS), str(tmp_path / "parse.py"),
         *map(str, files)],
        env=os.environ | {"PYTHONPATH": python_path(checkout)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    seen = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert seen == [written(path) for path in files]


def write_published(folder: Path) -> list[str]:
    """Write the configuration of every shipped recipe, each preset, at its published size."""
    names = []
    for name in RECIPES:
        recipe = load_recipe(name)
        supply = supply_from_registry(recipe, names_of(one.recipe for one in chain(recipe)), load_registry())
        for preset in recipe.presets:
            plans = plan_stage(recipe, supply, preset=preset.name, profile="full")
            values = [plan.as_json() for plan in plans]
            names.append(f"{name}-{preset.name}")
            (folder / f"{names[-1]}.yaml").write_text(emit(values[-1], values[:-1]).text, "utf-8")
    assert len(names) == 10
    return names


def python_path(checkout: Path) -> str:
    root = Path(__file__).resolve().parents[3]
    ours = (str(root / name) for name in ("data", "tokenize", "mixtures", "train"))
    return os.pathsep.join([str(checkout / "src"), *ours, os.environ.get("PYTHONPATH", "")])


def written(path: Path) -> list[object]:
    """Return the same numbers as they stand in our file."""
    values = yaml.safe_load(path.read_text("utf-8"))
    tokens, parallel, model = values["tokens"], values["parallelism"], values["model"]["model_config"]
    scheduler = values["optimizer"]["learning_rate_scheduler"]
    batch = tokens["micro_batch_size"] * tokens["batch_accumulation_per_replica"] * parallel["dp"]
    if values["data_stages"][0]["data"]["dataset"] is not None:
        assert load_config(path).batch_windows == batch
    return [
        batch,
        tokens["train_steps"],
        [stage["start_training_step"] for stage in values["data_stages"]],
        parallel["context_parallel_size"],
        model["rope_theta"],
        model["_attn_implementation"],
        scheduler["lr_warmup_steps"],
        scheduler["lr_decay_starting_step"],
        values["optimizer"]["clip_grad"],
    ]
