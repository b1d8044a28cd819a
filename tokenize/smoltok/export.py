"""The tokenizer as a Hugging Face folder: ranks and control tokens → files that any library loads offline.

``smollm3`` has the ten renamed control tokens of mid- and post-training, ``llama-3.2`` the names of the
pretraining tokenizer; ids are the same. 128,256 entries; no BOS is added, because SmolLM3 was trained
without. Here, unlike in shards, control tokens are recognised in text: this folder is for chat and for
models, not for raw documents. The vocabulary is Meta's, under the Llama licence: the folder is for use, not
for a repository.

Unverified: which of the renamed tokens the published files mark as ``special``; here those that a
reader should see (``<think>``, ``<tool_call>``, ``<code>`` and their ends) are not, all others are.
Cost: about 2 s, 17 MB on disk.
"""

import json
from pathlib import Path
from typing import Literal

from smoldata.files import write_atomic
from smoltok.control import llama_names, smollm3_names
from smoltok.tokenizer import LLAMA_3_2
from smoltok.vocabulary import model_json

Flavour = Literal["llama-3.2", "smollm3"]

_PAD = "<|finetune_right_pad_id|>"
_CHAT_END = "<|im_end|>"
_VISIBLE = (
    "<think>",
    "</think>",
    "<tool_response>",
    "</tool_response>",
    "<tool_call>",
    "</tool_call>",
    "<code>",
    "</code>",
)
_LONGEST = 131072
"""Tokens; SmolLM3's published context after extrapolation."""


def export(
    folder: Path, flavour: Flavour = "smollm3", *, chat: bool = False, template: str | None = None
) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``special_tokens_map.json`` into ``folder``.

    ``chat`` makes ``<|im_end|>`` the end of sequence, as the instruct model has it; else it is the base
    model's. ``template`` is a Jinja chat template to ship along. Raises TokenizerError without a
    vocabulary.
    """
    names = smollm3_names() if flavour == "smollm3" else llama_names()
    eos = _CHAT_END if chat else names[LLAMA_3_2.eos_id]
    specials = {"eos_token": eos, "pad_token": _PAD}
    config = specials | {
        "added_tokens_decoder": {str(number): _added(name) for number, name in names.items()},
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": _LONGEST,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    model = json.loads(model_json(LLAMA_3_2, reachable_only=False))
    model["added_tokens"] = [{"id": number} | _added(name) for number, name in names.items()]
    _write(folder / "tokenizer_config.json", config | ({"chat_template": template} if template else {}))
    _write(folder / "special_tokens_map.json", specials)
    # Last: a folder with this file is whole.
    _write(folder / "tokenizer.json", model)


def _added(name: str) -> dict[str, object]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"content": name, **flags, "special": name not in _VISIBLE}


def _write(path: Path, value: object) -> None:
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
