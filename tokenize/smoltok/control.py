"""The 256 control tokens above Llama-3.2's ranks, and the ten that SmolLM3 renamed.

Control tokens are no part of encoding: text that spells one stays text. They matter where a tokenizer is
handed to another library (:mod:`smoltok.export`), and to name an id. Source: the tokenizer files of
Llama-3.2 (hub) and of HuggingFaceTB/SmolLM3-3B; ids start at 128000.
"""

FIRST = 128000

_NAMED = {
    0: "<|begin_of_text|>",
    1: "<|end_of_text|>",
    4: "<|finetune_right_pad_id|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    8: "<|eom_id|>",
    9: "<|eot_id|>",
    10: "<|python_tag|>",
}
_SMOLLM3 = {
    2: "<think>",
    3: "</think>",
    11: "<|im_start|>",
    12: "<|im_end|>",
    13: "<tool_response>",
    14: "</tool_response>",
    15: "<tool_call>",
    16: "</tool_call>",
    17: "<code>",
    18: "</code>",
}
_COUNT = 256


def llama_names() -> dict[int, str]:
    """Return id → name of Llama-3.2's control tokens; the unnamed are numbered in order."""
    names: dict[int, str] = {}
    for slot in range(_COUNT):
        reserved = slot - sum(named < slot for named in _NAMED)
        names[FIRST + slot] = _NAMED.get(slot, f"<|reserved_special_token_{reserved}|>")
    return names


def smollm3_names() -> dict[int, str]:
    """Return id → name of SmolLM3's control tokens: Llama-3.2's with ten reserved ones renamed."""
    return llama_names() | {FIRST + slot: name for slot, name in _SMOLLM3.items()}
