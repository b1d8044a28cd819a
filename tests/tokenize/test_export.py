"""The exported folder loads offline in `tokenizers` and transformers, with SmolLM3's names and our ids."""

import json
from pathlib import Path
from types import SimpleNamespace
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


def test_lighteval_loads_it(folder: Path) -> None:
    """Through lighteval's own loader of tokenizers, offline: `python -m pip install lighteval==0.13.0`."""
    module = pytest.importorskip(
        "lighteval.models.transformers.transformers_model", reason="python -m pip install lighteval==0.13.0"
    )
    settings = SimpleNamespace(
        tokenizer=None, model_name=str(folder), subfolder=None, revision="main", trust_remote_code=False
    )
    # Its loader reads two attributes of a model; the weights of one are not wanted here.
    model = SimpleNamespace(config=settings, max_length=4096)
    tokenizer = module.TransformersModel._create_auto_tokenizer(model)
    assert len(tokenizer) == 128_256
    assert tokenizer(["Hello world"])["input_ids"] == smoltok.encode(["Hello world"])


def test_trl_renders_and_tokenizes_a_chat_with_it(loaded: Any) -> None:
    """Through TRL's own data functions: `python -m pip install trl==1.16.0`."""
    data = pytest.importorskip("trl.data_utils", reason="python -m pip install trl==1.16.0")
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    text = data.apply_chat_template({"messages": messages}, loaded)["text"]
    assert text.rstrip() == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>"
    ids = loaded(text)["input_ids"]
    assert (ids.count(128_011), ids.count(128_012)) == (2, 2)


def test_nanotrons_check_of_the_vocabulary_passes(loaded: Any) -> None:
    """As nanotron compares its model's vocab_size with the tokenizer's, and ours with the shards'."""
    assert len(loaded) == smoltok.LLAMA_3_2.vocab_size
    assert max(loaded.get_vocab().values()) == smoltok.LLAMA_3_2.vocab_size - 1


def test_the_base_tokenizer_ends_with_end_of_text(tmp_path: Path) -> None:
    export(tmp_path, "llama-3.2")
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["eos_token"] == llama_names()[128_001]
    added = json.loads((tmp_path / "tokenizer.json").read_text())["added_tokens"]
    assert {token["content"]: token["id"] for token in added}["<|reserved_special_token_0|>"] == 128_002
