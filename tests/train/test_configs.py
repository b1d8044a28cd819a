"""Configurations: every published number stands in what is emitted, for each phase and both presets."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from smoldata.errors import InputError
from smolmix.nanotron_schema import parse_config
from smoltrain.configs import LLAMA_VOCABULARY, nanotron_text, transformers_config
from smoltrain.flops import parameters, token_flops
from smoltrain.hyperparameters import PHASES, SIZES, Optimizer, configs_folder, phase_named, size_named

STAGES = ("stage1", "stage2", "stage3", "long_context_32k", "long_context_64k")
GROUPS = ("model", "optimizer", "parallelism", "tokens", "tokenizer", "checkpoints")
DIFFERENT = {
    # A launch of a stage stops at its own end; the schedule is in absolute steps.
    "tokens.train_steps",
    # nanotron's main branch does not know it.
    "parallelism.moe_layer_recompute",
    # Private hub names of the released run; ours is the tokenizer of all stages.
    "tokenizer.tokenizer_name_or_path",
    # The released files resume their own runs; ours are the first launch of a lineage.
    "checkpoints.load_lr_scheduler",
    "checkpoints.load_optimizer",
}


def published(phase: str, origin: str = "released config") -> dict[str, Any]:
    """Return the published numbers of a phase by name."""
    with (configs_folder() / "published.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["phase"] == phase and row["origin"] == origin]
    return {row["parameter"]: value_of(row["value"]) for row in rows}


def value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


@pytest.fixture(scope="module")
def emitted() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (name, preset): yaml.safe_load(nanotron_text(phase_named(name, preset)))
        for name in PHASES
        for preset in ("released", "blog")
    }


@pytest.mark.parametrize("phase", STAGES)
def test_every_published_number_of_the_released_files(
    phase: str, emitted: dict[tuple[str, str], dict[str, Any]]
) -> None:
    ours, compared = flat(emitted[phase, "released"]), 0
    for name, value in published(phase).items():
        if name.partition(".")[0] in GROUPS and name not in DIFFERENT:
            assert ours[name] == value, name
            compared += 1
    assert compared > 70


def test_steps_and_tokens_of_each_phase(emitted: dict[tuple[str, str], dict[str, Any]]) -> None:
    for name in STAGES:
        facts = published(name)
        phase = phase_named(name)
        assert phase.steps == facts["summary.stage_steps"]
        assert (
            phase.batch_windows * phase.sequence_length == facts["summary.global_batch_tokens"] == 2_359_296
        )
        assert phase.steps * 2_359_296 == facts["summary.stage_tokens"]
        asked = published(name, "blog")["summary.stage_tokens"]
        assert phase_named(name, "blog").steps == asked // 2_359_296
    ends = [emitted[name, "released"]["tokens"]["train_steps"] for name in STAGES]
    assert ends == [3_450_000, 4_198_000, 4_720_000, 20_000, 22_000]
    ends = [emitted[name, "blog"]["tokens"]["train_steps"] for name in STAGES]
    assert ends == [3_390_842, 4_238_552, 4_704_792, 21_192, 21_192]


def test_the_decay_of_both_presets(emitted: dict[tuple[str, str], dict[str, Any]]) -> None:
    for preset, total, steps in (("released", 4_720_000, 522_000), ("blog", 4_704_792, 470_479)):
        for name in STAGES[:3]:
            phase = phase_named(name, preset)
            assert (phase.total_steps, phase.decay_steps, phase.warmup_steps) == (total, steps, 2000)
            scheduler = emitted[name, preset]["optimizer"]["learning_rate_scheduler"]
            assert scheduler["lr_decay_starting_step"] == total - steps + 1
            assert scheduler["lr_decay_steps"] == steps
        fraction = published("stage1", "released config" if preset == "released" else "blog")
        assert round(steps / total, 4) == fraction["summary.lr_decay_fraction"]


def test_the_rotary_base_of_the_blog(emitted: dict[tuple[str, str], dict[str, Any]]) -> None:
    name = "model.model_config.rope_theta"
    blog = emitted["long_context_32k", "blog"]["model"]["model_config"]["rope_theta"]
    assert blog == published("long_context_32k", "blog")[name] == 1.5e6
    assert [phase_named(name).rope_theta for name in PHASES] == [5e4, 5e4, 5e4, 2e6, 5e6, 5e6]


def test_mid_training_as_its_recipe_has_it(emitted: dict[tuple[str, str], dict[str, Any]]) -> None:
    facts, blog = published("mid"), published("mid", "blog")
    phase = phase_named("mid")
    assert phase.learning_rate == facts["learning_rate"]
    assert phase.minimum_rate == pytest.approx(
        facts["learning_rate"] * facts["lr_scheduler_kwargs.min_lr_rate"]
    )
    assert (phase.warmup_ratio, phase.clip_grad) == (facts["warmup_ratio"], facts["max_grad_norm"])
    assert (phase.sequence_length, phase.batch_windows) == (
        facts["max_length"],
        facts["summary.global_batch_sequences"],
    )
    assert phase.epochs == facts["num_train_epochs"] == 5
    assert phase_named("mid", "blog").epochs == blog["num_train_epochs"] == 4
    for preset, tokens in (("released", facts), ("blog", blog)):
        values = emitted["mid", preset]
        steps = values["tokens"]["train_steps"]
        assert steps == tokens["summary.total_tokens"] // (128 * 32_768)
        scheduler = values["optimizer"]["learning_rate_scheduler"]
        assert scheduler["lr_warmup_steps"] == round(0.03 * steps)
        assert scheduler["lr_warmup_steps"] + scheduler["lr_decay_steps"] == steps
        assert (scheduler["learning_rate"], values["optimizer"]["clip_grad"]) == (2e-5, 0.2)


@pytest.mark.parametrize("size", sorted(SIZES))
def test_every_size_is_a_configuration_of_nanotron(size: str) -> None:
    values = yaml.safe_load(nanotron_text(phase_named("stage1"), size))
    config = parse_config(values)
    shape = size_named(size)
    model = config.model.architecture
    assert (model.hidden_size, model.num_hidden_layers) == (shape.hidden_size, shape.num_layers)
    assert shape.num_kv_heads % config.parallelism.tp == 0
    assert shape.num_layers % 4 == 0
    assert config.batch_windows == 576


def test_what_is_written_is_read_back_as_it_was(emitted: dict[tuple[str, str], dict[str, Any]]) -> None:
    for values in emitted.values():
        once = parse_config(values).model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert once == values
        assert parse_config(yaml.safe_load(yaml.safe_dump(once))) == parse_config(values)


@pytest.mark.nanotron
@pytest.mark.skipif(not os.environ.get("SMOLLM"), reason="needs SMOLLM=<checkout of huggingface/smollm>")
def test_the_five_official_files_go_round() -> None:
    """What the schema makes of a published file is the file: nothing changed, nothing lost."""
    files = sorted((Path(os.environ["SMOLLM"]) / "text/pretraining/smollm3").glob("*.yaml"))
    assert len(files) == 5
    for file in files:
        values = yaml.safe_load(file.read_text())
        config = parse_config(values)
        assert config.model_dump(mode="json", by_alias=True, exclude_unset=True) == values, file.name
        again = yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json", by_alias=True)))
        assert parse_config(again) == config, file.name


def test_the_configuration_for_transformers() -> None:
    pytest.importorskip("torch")
    values = transformers_config(phase_named("long_context_64k"), size_named("3b"))
    facts = published("long_context_64k")
    for name in (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "rms_norm_eps",
        "vocab_size",
        "tie_word_embeddings",
        "attention_bias",
        "hidden_act",
    ):
        assert values[name] == facts[f"model.model_config.{name}"], name
    assert values["no_rope_layers"] == [1, 1, 1, 0] * 9
    assert values["rope_parameters"] == {"rope_type": "default", "rope_theta": 5e6}
    long = transformers_config(phase_named("long_context_64k"), size_named("3b"), yarn=True)
    assert (long["max_position_embeddings"], long["rope_parameters"]["factor"]) == (131_072, 2.0)
    with pytest.raises(InputError, match="YaRN needs 64k"):
        transformers_config(phase_named("stage1"), size_named("3b"), yarn=True)


def test_parameters_and_operations_of_the_published_model() -> None:
    assert parameters(SIZES["3b"], LLAMA_VOCABULARY) == 3_075_098_624
    flops = token_flops(SIZES["3b"], LLAMA_VOCABULARY, 4096, keys=1.0)
    assert [round(value / 1e9, 2) for value in (flops.full, flops.causal)] == [22.07, 20.26]
    assert flops.documents < flops.causal < flops.full


def test_the_optimizer_of_every_stage() -> None:
    values = Optimizer()
    for name in STAGES:
        facts = published(name)
        assert facts["optimizer.weight_decay_exclude_named_params"] == [".*token_embedding.*"]
        assert (values.beta1, values.beta2, values.eps, values.weight_decay, values.clip_grad) == (
            facts["optimizer.optimizer_factory.adam_beta1"],
            facts["optimizer.optimizer_factory.adam_beta2"],
            facts["optimizer.optimizer_factory.adam_eps"],
            facts["optimizer.weight_decay"],
            facts["optimizer.clip_grad"],
        )


def test_unknown_names_list_those_that_there_are() -> None:
    with pytest.raises(InputError, match="the phases are stage1, stage2"):
        phase_named("stage9")
    with pytest.raises(InputError, match="the presets are released, blog"):
        phase_named("stage1", "book")
