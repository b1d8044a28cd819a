"""A small post-training world: a byte-level tokenizer with SmolLM3's control tokens, a few rows."""

import json
from pathlib import Path

import pytest

from smoltok.vocabulary import byte_alphabet
from smoltrain.post.template import add_response_template, chat_template

_CONTROL = ("<|end_of_text|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
_VISIBLE = ("<think>", "</think>", "<tool_call>", "</tool_call>")


def write_byte_tokenizer(folder: Path) -> Path:
    """Write a tokenizer whose tokens are bytes and control tokens: 264 entries, exact offsets."""
    vocabulary = {letter: number for number, letter in enumerate(byte_alphabet().values())}
    added = [
        {"id": 256 + n, "content": name, "special": name in _CONTROL}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for n, name in enumerate((*_CONTROL, *_VISIBLE))
    ]
    model = {"type": "BPE", "vocab": vocabulary, "merges": [], "ignore_merges": True}
    model |= dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"))
    model |= {"fuse_unk": False, "byte_fallback": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    text = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": model,
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
        "chat_template": chat_template(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(text), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    add_response_template(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_byte_tokenizer(tmp_path_factory.mktemp("tokenizer"))
