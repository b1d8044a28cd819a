"""A phase, a preset and a size into the configuration that a trainer reads.

``transformers``: the ``config.json`` of that phase's model. ``nanotron``: the whole file for stock nanotron,
as the published plan of the phase has it (:mod:`smolmix.nanotron`), with another size's shape if one is asked
for; no data is needed, weights and steps are the recipe's. Cost: a plan of published sizes, a second.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoldata.errors import InputError
from smoltrain.hyperparameters import YARN, ModelSize, Phase, size_named

if TYPE_CHECKING:
    from smolmix.plan import Plan

LLAMA_VOCABULARY = 128_256
LLAMA_EOS = 128_001


def transformers_config(phase: Phase, size: ModelSize, *, yarn: bool = False) -> dict[str, Any]:
    """Return the keys of the ``config.json`` of a phase's model, as ``SmolLM3Config`` writes them."""
    from smoltrain.model import build_config

    config = build_config(
        size,
        vocab_size=LLAMA_VOCABULARY,
        eos_id=LLAMA_EOS,
        sequence_length=phase.sequence_length,
        rope_theta=phase.rope_theta,
    )
    if yarn:
        from smoltrain.convert import yarn_parameters

        if phase.rope_theta != YARN["rope_theta"]:
            raise InputError(
                f"{phase.name} has rotary base {phase.rope_theta:,.0f}; YaRN needs 64k's or mid's"
            )
        config.rope_parameters, config.max_position_embeddings = yarn_parameters()
    return dict(config.to_dict())


def nanotron_text(phase: Phase, size_name: str = "3b") -> str:
    """Return the YAML of a phase for stock nanotron, with the shape of a size."""
    import yaml

    from smolmix.nanotron import emit
    from smolmix.nanotron_schema import parse_config

    plans = [plan.as_json() for plan in _published_plans(phase)]
    for plan in plans:  # a plan without data knows no vocabulary; the recipes' is Llama's
        plan["tokenizer"] |= {"vocab_size": LLAMA_VOCABULARY, "eos_id": LLAMA_EOS, "token_width": 4}
    values = yaml.safe_load(emit(plans[-1], plans[:-1]).text)
    _set_phase(values, phase)
    _set_size(values, size_named(size_name))
    parse_config(values)
    head = f"# nanotron configuration of {phase.name}, preset {phase.preset}, size {size_name}.\n"
    return head + yaml.safe_dump(values, sort_keys=True, width=1000)


def _published_plans(phase: Phase) -> "list[Plan]":
    from smoldata.registry import load_registry
    from smolmix.planner import chain, plan_stage
    from smolmix.recipe import load_recipe
    from smolmix.sources import names_of, supply_from_registry

    recipe = load_recipe(phase.name)
    known = {preset.name for preset in recipe.presets}
    # Only stages 1 to 3 and mid-training have percentages of the blog; elsewhere it gives tokens alone.
    preset = phase.preset if phase.preset in known else None
    budget = f"{phase.steps} steps" if preset is None else None
    names = names_of(stage.recipe for stage in chain(recipe, preset))
    supply = supply_from_registry(recipe, names, load_registry(recipe.registry))
    return plan_stage(recipe, supply, preset=preset, profile="full", budget=budget)


def _set_phase(values: dict[str, Any], phase: Phase) -> None:
    """Put in what the phase says and the stages' file does not: mid-training's optimizer, a preset's base."""
    values["model"]["model_config"]["rope_theta"] = phase.rope_theta
    if phase.warmup_ratio is None:
        return
    steps = values["tokens"]["train_steps"]
    warmup = max(1, round(steps * phase.warmup_ratio))
    values["optimizer"]["clip_grad"] = phase.clip_grad
    values["optimizer"]["learning_rate_scheduler"] |= {
        "learning_rate": phase.learning_rate,
        "min_decay_lr": phase.minimum_rate,
        "lr_warmup_steps": warmup,
        "lr_decay_style": phase.decay_style,
        "lr_decay_starting_step": warmup,
        "lr_decay_steps": steps - warmup,
    }


def _set_size(values: dict[str, Any], size: ModelSize) -> None:
    values["model"]["model_config"] |= {
        "hidden_size": size.hidden_size,
        "intermediate_size": size.intermediate_size,
        "num_hidden_layers": size.num_layers,
        "num_attention_heads": size.num_heads,
        "num_key_value_heads": size.num_kv_heads,
    }
    if size.num_kv_heads % values["parallelism"]["tp"]:
        values["parallelism"] |= {"tp": 1, "tp_linear_async_communication": False}
        values["model"]["model_config"]["pretraining_tp"] = 1


def write_text(text: str, out: Path | None) -> None:
    """Write a configuration to a file, or print it."""
    from smoldata.files import write_atomic

    if out is None:
        print(text, end="")
    else:
        write_atomic(out, text)
