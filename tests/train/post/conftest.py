"""A small post-training world: a byte-level tokenizer with SmolLM3's control tokens, a few rows."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from smoltok.vocabulary import byte_alphabet
from smoltrain.hyperparameters import ModelSize
from smoltrain.model import build_config, build_model
from smoltrain.post.data import RowsData, build_rows
from smoltrain.post.recipe import load_rows_recipe
from smoltrain.post.sources import FolderSource
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


SIZE = ModelSize(32, 64, 4, 2, 1, learning_rate=1e-2)
SYSTEM = {"role": "system", "content": "/system_override Be brief."}
"""Short: the default instructions would be most of each row."""


def turns(*contents: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [SYSTEM, *({"role": roles[n % 2], "content": text} for n, text in enumerate(contents))]


def with_tool(number: int) -> list[dict[str, str]]:
    call = {
        "role": "assistant",
        "content": f'<tool_call>\n{{"name": "f", "arguments": {{"x": {number}}}}}\n</tool_call>',
    }
    result = {"role": "tool", "content": f"secret {number}"}
    return [
        SYSTEM,
        {"role": "user", "content": "Call."},
        call,
        result,
        {"role": "assistant", "content": "Done."},
    ]


PLAIN = [{"messages": turns(f"Say {n}", f"It is {n}. " * (1 + n % 5), "More", f"{n}!")} for n in range(20)]
TOOLS = [{"messages": with_tool(n)} for n in range(6)]
DEEP = [{"messages": turns(f"Why {n}?", f"<think>\nBecause {n}.\n</think>\nSo {n}.")} for n in range(12)]
PAIRS = [
    {
        "chosen": turns(f"Pick {n}", f"right {n}"),
        "rejected": turns(f"Pick {n}", f"wrong {n + 1}"),
        "prompt": "x",
    }
    for n in range(24)
]
ROWS = {
    "mid": {"OpenThoughts3_1.2M": DEEP, "Llama_Nemotron_Post_Training_Dataset_reasoning_r1": PLAIN},
    "sft": {"xlam_traces_no_think": TOOLS, "table_gpt_no_think": PLAIN, "s1k_1.1_think": DEEP},
    "apo": {"llama_3.1_tulu_3_8b_preference_mixture_no_think": PAIRS},
}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    config = build_config(SIZE, vocab_size=264, eos_id=256, sequence_length=256, rope_theta=1e4)
    build_model(config, seed=1).save_pretrained(folder)  # type: ignore[operator]
    return folder


@pytest.fixture(scope="session")
def raw_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder of rows in the hub's layout."""
    root = tmp_path_factory.mktemp("raw")
    for phase, subsets in ROWS.items():
        for name, values in subsets.items():
            path = root / load_rows_recipe(phase).config / f"{name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(values), path)
    return root


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory, raw_rows: Path, tokenizer: Path) -> dict[str, RowsData]:
    root = tmp_path_factory.mktemp("rows")
    recipes = {phase: load_rows_recipe(phase) for phase in ROWS}
    return {
        phase: build_rows(recipe, FolderSource(raw_rows, recipe), root / phase, tokenizer=tokenizer)
        for phase, recipe in recipes.items()
    }


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
