"""The published ablations for a cluster: 3B x 100B tokens of FineWeb-Edu as plan, nanotron files and cost.

One plan for all variants (train/configs/ablation.yaml), so that all read the same windows in the same order;
a nanotron file a variant that changes one thing. Planned on published sizes where there is no data. Cost: a
second.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoldata.files import write_atomic, write_json
from smoltrain.hyperparameters import SIZES, configs_folder

RECIPE = "ablation.yaml"


@dataclass(frozen=True, slots=True)
class Grid:
    """What was written, and what it costs."""

    folder: Path
    variants: tuple[str, ...]
    tokens_each: int
    gpu_hours_each: str
    gpu_hours: str
    days: str
    gpus: int


def changes_of(size: str = "3b") -> dict[str, dict[str, Any]]:
    """Return what each variant changes in nanotron's file, by dotted key."""
    return {
        "baseline": {},
        "mha": {"model.model_config.num_key_value_heads": SIZES[size].num_heads},
        "rope": {"model.model_config.no_rope_layer": None},
        "unmasked": {"model.model_config._use_doc_masking": False},
        "decayed": {"optimizer.weight_decay_exclude_named_params": []},
    }


def write_grid(out: Path, gpus: int = 384) -> Grid:
    """Write a plan, and nanotron.yaml and train.sbatch of each variant, and cost.json, below ``out``."""
    import yaml

    from smolmix.bundle_text import sbatch
    from smolmix.cost import Speeds, cost_of, rounded
    from smolmix.nanotron import Emitted, Launch, emit
    from smolmix.nanotron_schema import parse_config
    from smolmix.plan_files import write_plan

    plan = _plan()
    write_plan(plan, out / "plan")
    values = plan.as_json()
    values["tokenizer"] |= {"vocab_size": 128_256, "eos_id": 128_001, "token_width": 4}
    emitted = emit(values)
    for name, changes in changes_of().items():
        changed = yaml.safe_load(emitted.text)
        for key, value in changes.items():
            _set(changed, key.split("."), value)
        changed["checkpoints"]["checkpoints_path"] = f"checkpoints/ablation-{name}"
        changed["general"]["run"] = f"ablation-{name}"
        config = parse_config(changed)
        head = f"# nanotron configuration of the ablation {name}, plan {plan.lock.hash}.\n"
        text = head + yaml.safe_dump(changed, sort_keys=True, width=1000)
        write_atomic(out / name / "nanotron.yaml", text)
        write_atomic(out / name / "train.sbatch", sbatch(values, Emitted(config, text, ()), Launch()))
    cost = cost_of([plan] * len(changes_of()), Speeds(gpus=gpus))
    write_json(out / "cost.json", cost.as_json())
    return Grid(
        folder=out,
        variants=tuple(changes_of()),
        tokens_each=plan.tokens,
        gpu_hours_each=rounded(cost.stages[0].gpu_hours, 0),
        gpu_hours=rounded(cost.total.gpu_hours, 0),
        days=rounded(cost.total.days),
        gpus=gpus,
    )


def _plan() -> Any:
    from smoldata.registry import load_registry
    from smolmix.planner import chain, plan_stage
    from smolmix.recipe import load_recipe
    from smolmix.sources import names_of, supply_from_registry

    recipe = load_recipe(configs_folder() / RECIPE)
    names = names_of(stage.recipe for stage in chain(recipe, None))
    supply = supply_from_registry(recipe, names, load_registry(recipe.registry))
    return plan_stage(recipe, supply, profile="full")[-1]


def _set(values: dict[str, Any], path: list[str], value: object) -> None:
    for key in path[:-1]:
        values = values[key]
    assert path[-1] in values, "a key of nanotron's file"
    values[path[-1]] = value
