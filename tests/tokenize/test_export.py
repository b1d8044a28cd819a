"""The exported folder loads offline in `tokenizers` and transformers, with SmolLM3's names and our ids."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import smoltok
from smoltok.cli import app
from smoltok.control import llama_names, smollm3_names
from smoltok.export import export


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    template = folder / "chat.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    )
    result = CliRunner().invoke(app, ["export", str(folder), "--chat", "--template", str(template)])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def test_it_has_every_entry_and_smollm3s_names(loaded: Any) -> None:
    assert len(loaded) == 128_256
    names = smollm3_names()
    assert loaded.convert_tokens_to_ids(list(names.values())) == list(names)
    assert (loaded.eos_token_id, loaded.pad_token_id, loaded.bos_token) == (128_012, 128_004, None)


def test_ordinary_text_has_our_ids_and_no_bos(loaded: Any, library_texts: list[str]) -> None:
    texts = [text for text in library_texts[:200] if "<" not in text]
    assert len(texts) > 50
    assert loaded(texts)["input_ids"] == smoltok.encode(texts)
    assert [loaded.decode(ids) for ids in loaded(texts)["input_ids"]] == texts


def test_control_tokens_are_control_tokens_here(loaded: Any) -> None:
    text = "<|im_start|>assistant\n<think>\n</think>\nhi<|im_end|>"
    ids = loaded(text)["input_ids"]
    assert [ids[0], ids[-1]] == [128_011, 128_012]
    assert {128_002, 128_003} <= set(ids)
    assert loaded.decode(ids) == text
    assert "<think>" in loaded.decode(ids, skip_special_tokens=True)


def test_the_template_is_shipped(loaded: Any) -> None:
    text = loaded.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert text == "<|im_start|>user\nhi<|im_end|>\n"


def test_datatroves_way_of_loading_works(folder: Path) -> None:
    from datatrove.utils.tokenization import load_tokenizer

    assert load_tokenizer(str(folder / "tokenizer.json")).get_vocab_size() == 128_256


def test_the_base_tokenizer_ends_with_end_of_text(tmp_path: Path) -> None:
    export(tmp_path, "llama-3.2")
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["eos_token"] == llama_names()[128_001]
    added = json.loads((tmp_path / "tokenizer.json").read_text())["added_tokens"]
    assert {token["content"]: token["id"] for token in added}["<|reserved_special_token_0|>"] == 128_002
