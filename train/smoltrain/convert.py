"""A checkpoint of nanotron into Hugging Face's form, and back, in pure safetensors.

Queries, keys and values are one matrix in nanotron, gate and up another; Hugging Face has them apart. Ranks
are merged (:mod:`smoltrain.nanotron_weights`), tied weights stay tied, ``no_rope_layer: n`` becomes the list
``no_rope_layers`` (1: the layer has rotary positions), ``rope_theta`` goes into ``rope_parameters``. YaRN to
128k is configuration alone: the released model's factor 2 over 65,536 positions. Names as in nanotron's own
``examples/smollm3`` at the pinned commit. Cost: the model once in memory, both forms once on disk.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

from smoldata.errors import InputError, IntegrityError
from smoldata.files import write_json
from smoltrain.folders import atomic_folder
from smoltrain.hyperparameters import YARN
from smoltrain.nanotron_weights import Split, read_weights, write_weights

Form = Literal["nanotron", "hf"]
Weights = dict[str, torch.Tensor]
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}

_PLAIN = {
    "self_attn.o_proj": "attn.o_proj",
    "mlp.down_proj": "mlp.down_proj",
    "input_layernorm": "input_layernorm",
    "post_attention_layernorm": "post_attention_layernorm",
}
_EMBEDDING = ("model.embed_tokens.weight", "model.token_position_embeddings.pp_block.token_embedding.weight")
_NORM = ("model.norm.weight", "model.final_layer_norm.pp_block.weight")
_HEAD = ("lm_head.weight", "model.lm_head.pp_block.weight")
_SHARED_KEYS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "pretraining_tp",
    "rms_norm_eps",
    "tie_word_embeddings",
    "vocab_size",
    "attention_bias",
)


def form_of(folder: Path) -> Form:
    """Return which form a checkpoint is in; raises :class:`InputError` if neither."""
    if (folder / "model_config.json").is_file() and (folder / "model").is_dir():
        return "nanotron"
    if (folder / "config.json").is_file():
        return "hf"
    raise InputError(
        f"{folder} is no checkpoint: neither nanotron's (model_config.json, model/) nor Hugging Face's "
        "(config.json, *.safetensors); give the folder of one step"
    )


def nanotron_to_hf(
    source: Path,
    out: Path,
    *,
    dtype: str | None = None,
    yarn: bool = False,
    tokenizer: Path | None = None,
) -> Path:
    """Write ``out`` in Hugging Face's form; ``dtype`` None keeps the checkpoint's. Whole or not at all.

    ``tokenizer`` is a folder whose tokenizer and chat template are copied beside the model.
    """
    facts = json.loads((source / "model_config.json").read_text(encoding="utf-8"))
    weights = hf_weights(read_weights(source), facts)
    with atomic_folder(out) as folder:
        _save_hf(folder, cast(weights, dtype), hf_config(facts, yarn=yarn))
        if tokenizer is not None:
            _copy_tokenizer(tokenizer, folder)
    return out


def hf_to_nanotron(source: Path, out: Path, *, dtype: str | None = None, ranks: int = 1) -> Path:
    """Write ``out`` in nanotron's form, split over ``ranks`` tensor-parallel ranks. Whole or not at all."""
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    facts = nanotron_config(config)
    weights = cast(nanotron_weights(_load_hf(source), facts), dtype)
    with atomic_folder(out) as folder:
        write_weights(folder, weights, splits(facts, weights), ranks)
        write_json(folder / "model_config.json", facts)
    return out


def cast(weights: Mapping[str, torch.Tensor], dtype: str | None) -> Weights:
    """Return the tensors in ``dtype``; None keeps them. Raises :class:`InputError` for an unknown one."""
    if dtype is None:
        return dict(weights)
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}; there are {', '.join(DTYPES)}")
    return {name: tensor.to(DTYPES[dtype]) for name, tensor in weights.items()}


@dataclass(slots=True)
class _Tensors:
    """Tensors that are taken one by one, so that what is missing or left over is noticed."""

    left: Weights
    says: str
    """The file that says which tensors there should be."""

    def take(self, name: str) -> torch.Tensor:
        if name not in self.left:
            raise IntegrityError(f"the checkpoint has no tensor {name}; its {self.says} says it should")
        return self.left.pop(name)

    def finish(self) -> None:
        if self.left:
            names = ", ".join(sorted(self.left)[:3])
            raise IntegrityError(f"the checkpoint has tensors that SmolLM3 has not: {names}")


def hf_weights(found: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> Weights:
    """Rename nanotron's tensors and take them apart.

    Raises :class:`IntegrityError` for one that is missing or left over.
    """
    tensors, made = _Tensors(dict(found), "model_config.json"), {}
    for theirs, ours in (_EMBEDDING, _NORM):
        made[theirs] = tensors.take(ours)
    if not facts["tie_word_embeddings"]:
        made[_HEAD[0]] = tensors.take(_HEAD[1])
    for layer in range(facts["num_hidden_layers"]):
        ours, theirs = f"model.decoder.{layer}.pp_block", f"model.layers.{layer}"
        for kind in _kinds(facts):
            parts = _attention_parts(tensors.take(f"{ours}.attn.qkv_proj.{kind}"), facts)
            made |= {
                f"{theirs}.self_attn.{letter}_proj.{kind}": part
                for letter, part in zip("qkv", parts, strict=True)
            }
        gate, up = tensors.take(f"{ours}.mlp.gate_up_proj.weight").chunk(2)
        made |= {f"{theirs}.mlp.gate_proj.weight": gate, f"{theirs}.mlp.up_proj.weight": up}
        for name, inside in _PLAIN.items():
            made[f"{theirs}.{name}.weight"] = tensors.take(f"{ours}.{inside}.weight")
    tensors.finish()
    return made


def _kinds(facts: Mapping[str, Any]) -> tuple[str, ...]:
    return ("weight", "bias") if facts["attention_bias"] else ("weight",)


def _attention_parts(packed: torch.Tensor, facts: Mapping[str, Any]) -> list[torch.Tensor]:
    """Return queries, keys and values of a packed matrix, rotary pairs as Hugging Face has them."""
    head = facts["hidden_size"] // facts["num_attention_heads"]
    queries, keys = facts["num_attention_heads"] * head, facts["num_key_value_heads"] * head
    parts = list(torch.split(packed, [queries, keys, keys]))
    if facts.get("rope_interleaved"):
        parts[:2] = [_halves(part, head) for part in parts[:2]]
    return parts


def _halves(rows: torch.Tensor, head: int) -> torch.Tensor:
    """Reorder the rows of each head from interleaved rotary pairs to one half after the other."""
    heads = rows.reshape(-1, head // 2, 2, *rows.shape[1:])
    return heads.transpose(1, 2).reshape(rows.shape)


def nanotron_weights(found: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> Weights:
    """Rename Hugging Face's tensors and put them together.

    Raises :class:`IntegrityError` for one that is missing or left over.
    """
    tensors, made = _Tensors(dict(found), "config.json"), {}
    for theirs, ours in (_EMBEDDING, _NORM):
        made[ours] = tensors.take(theirs)
    if facts["tie_word_embeddings"]:
        tensors.left.pop(_HEAD[0], None)  # some write it twice
    else:
        made[_HEAD[1]] = tensors.take(_HEAD[0])
    for layer in range(facts["num_hidden_layers"]):
        ours, theirs = f"model.decoder.{layer}.pp_block", f"model.layers.{layer}"
        for kind in _kinds(facts):
            parts = [tensors.take(f"{theirs}.self_attn.{letter}_proj.{kind}") for letter in "qkv"]
            made[f"{ours}.attn.qkv_proj.{kind}"] = torch.cat(parts)
        both = [tensors.take(f"{theirs}.mlp.{name}_proj.weight") for name in ("gate", "up")]
        made[f"{ours}.mlp.gate_up_proj.weight"] = torch.cat(both)
        for name, inside in _PLAIN.items():
            made[f"{ours}.{inside}.weight"] = tensors.take(f"{theirs}.{name}.weight")
    tensors.finish()
    return made


def splits(facts: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> dict[str, Split]:
    """Return how tensor parallelism splits each tensor of nanotron's SmolLM3; norms are not split."""
    head = facts["hidden_size"] // facts["num_attention_heads"]
    queries, keys = facts["num_attention_heads"] * head, facts["num_key_value_heads"] * head
    found = {}
    for name in weights:
        if ".qkv_proj." in name:
            found[name] = Split(0, (queries, keys, keys))
        elif ".gate_up_proj." in name:
            found[name] = Split(0, (facts["intermediate_size"],) * 2)
        elif ".o_proj." in name or ".down_proj." in name:
            found[name] = Split(1)
        elif name in (_EMBEDDING[1], _HEAD[1]):
            found[name] = Split(0)
    return found


def hf_config(facts: Mapping[str, Any], *, yarn: bool = False) -> dict[str, Any]:
    """Return the keywords of ``SmolLM3Config`` for a ``model_config.json`` of nanotron."""
    if facts.get("rope_scaling") is not None:
        raise InputError(
            f"rope_scaling {facts['rope_scaling']} in model_config.json: only null can be converted"
        )
    interval = facts.get("no_rope_layer")
    layers = facts["num_hidden_layers"]
    window = facts.get("sliding_window_size")
    values = {key: facts[key] for key in _SHARED_KEYS}
    if (values["bos_token_id"] or 0) >= values["vocab_size"]:
        values["bos_token_id"] = None  # nanotron's default under another tokenizer: no token of this model
    rope = {"rope_type": "default", "rope_theta": float(facts["rope_theta"])}
    if yarn:
        rope, values["max_position_embeddings"] = yarn_parameters()
    return values | {
        "rope_parameters": rope,
        "no_rope_layers": [int(not interval or (layer + 1) % interval != 0) for layer in range(layers)],
        "no_rope_layer_interval": interval or layers + 1,
        "use_sliding_window": window is not None,
        "sliding_window": window,
        "use_cache": True,
    }


def yarn_parameters() -> tuple[dict[str, Any], int]:
    """Return ``rope_parameters`` and ``max_position_embeddings`` of the released model's 128k."""
    rope = {
        "rope_type": "yarn",
        "rope_theta": YARN["rope_theta"],
        "factor": YARN["factor"],
        "original_max_position_embeddings": YARN["original_max_position_embeddings"],
    }
    return rope, YARN["max_position_embeddings"]


def nanotron_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return nanotron's ``model_config.json`` for a ``config.json``.

    Raises :class:`InputError` for what nanotron's SmolLM3 can't say: layers without rotary positions that do
    not come at one interval, scaled rotary positions.
    """
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise InputError(
            f"rope_type {rope['rope_type']!r}: nanotron has no such; convert the model before YaRN"
        )
    layers = config["num_hidden_layers"]
    uses_rope = list(config["no_rope_layers"])
    first = uses_rope.index(0) + 1 if 0 in uses_rope else None
    if uses_rope != [int(first is None or (layer + 1) % first != 0) for layer in range(layers)]:
        raise InputError(f"no_rope_layers {uses_rope} come at no one interval, as nanotron has them")
    values = {key: config.get(key) for key in _SHARED_KEYS}
    return values | {
        "pretraining_tp": config.get("pretraining_tp") or 1,
        "is_qwen2_config": True,
        "rope_theta": float(rope.get("rope_theta", config.get("rope_theta", 0.0))),
        "rope_scaling": None,
        "rope_interleaved": False,
        "no_rope_layer": first,
        "sliding_window_size": config.get("sliding_window") if config.get("use_sliding_window") else None,
        "use_cache": True,
        "_attn_implementation": "flash_attention_2",
        "_use_doc_masking": True,
        "_use_qkv_packed": True,
        "_fused_rms_norm": True,
        "_fused_rotary_emb": True,
    }


def _load_hf(folder: Path) -> Weights:
    files = sorted(path for path in folder.glob("*.safetensors") if re.match(r"model[-.]", path.name))
    if not files:
        raise InputError(f"{folder} has no model*.safetensors; other formats are not read")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def _save_hf(folder: Path, weights: Weights, config: Mapping[str, Any]) -> None:
    from transformers import SmolLM3Config

    made = SmolLM3Config(**config, architectures=["SmolLM3ForCausalLM"])
    made.dtype = next(iter(weights.values())).dtype
    made.save_pretrained(folder)
    save_file(
        {name: one.contiguous() for name, one in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )


def _copy_tokenizer(source: Path, folder: Path) -> None:
    found = [source / name for name in TOKENIZER_FILES if (source / name).is_file()]
    if not any(path.name == "tokenizer.json" for path in found):
        raise InputError(f"{source} has no tokenizer.json; `smoltok export` writes such a folder")
    for path in found:
        shutil.copyfile(path, folder / path.name)
