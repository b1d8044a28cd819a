"""Any tokenizer: described from its file, chosen by the same self-test, its shards proved back to text."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import smoltok
from smoldata.errors import TokenizerError
from smoltok import LLAMA_3_2, open_shard, read_shard, resolve
from smoltok.build import build_tokens
from smoltok.engines import load
from smoltok.prove import compare, prove_round_trip
from smoltok.verify import verify
from smoltok.vocabulary import canonical, load_ranks


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, library_texts: Sequence[str]) -> Path:
    """Return a byte-level tokenizer.json of 1,000 entries, trained here, that adds <s> and knows </s>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(library_texts[:200], trainer)
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    path = tmp_path_factory.mktemp("small") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def change(path: Path, target: Path, **changes: Any) -> Path:
    target.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return target


def test_it_is_described_from_its_file(trained: Path) -> None:
    tokenizer = resolve(trained)
    assert (tokenizer.eos_id, tokenizer.bos_id, tokenizer.vocab_size) == (1001, 1000, 1002)
    assert (tokenizer.token_width, tokenizer.dtype) == (2, "<u2")
    assert resolve(trained.parent) == tokenizer
    assert resolve(trained, eos="<s>", name="mine").eos_id == 1000
    assert resolve(trained, eos=7, name="mine").name == "mine"


def test_what_stands_beside_the_file_tells_its_eos(trained: Path, tmp_path: Path) -> None:
    path = change(trained, tmp_path / "tokenizer.json")
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [5, 6]}')
    assert resolve(path).eos_id == 5
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<s>"}}')
    assert resolve(path).eos_id == 1000


def test_an_unknown_eos_is_an_error_not_a_guess(trained: Path, tmp_path: Path) -> None:
    path = change(trained, tmp_path / "tokenizer.json", added_tokens=[])
    with pytest.raises(TokenizerError, match="does not tell its end-of-document token"):
        resolve(path)
    with pytest.raises(TokenizerError, match="has no token '</x>'"):
        resolve(trained, eos="</x>")


def test_no_text_forges_its_control_tokens(trained: Path) -> None:
    tokenizer = resolve(trained)
    for ids in smoltok.encode(["</s>", "a<s>b</s>"], tokenizer=tokenizer):
        assert ids
        assert max(ids) < 1000


def test_a_vocabulary_in_which_text_forges_is_refused(tmp_path: Path) -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "</s>": 1, "?": 2}, unk_token="?"))  # noqa: S106 - no password
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.add_special_tokens(["</s>"])
    path = tmp_path / "tokenizer.json"
    words.save(str(path))
    with pytest.raises(TokenizerError, match="text that spells </s> becomes that control token"):
        load(resolve(path))


def test_its_shards_are_narrow_sound_and_give_the_text_back(
    trained: Path, documents: Path, tmp_path: Path
) -> None:
    tokenizer = resolve(trained, name="small")
    build_tokens(
        "library", documents=documents, tokens=tmp_path, tokenizer=tokenizer, validation_share=Fraction(1, 20)
    )
    shard = open_shard(tmp_path / "library" / "00000.ds")
    assert shard.ids.dtype == np.dtype("<u2")
    assert shard.ids[shard.ends.astype(int) - 1].tolist() == [1001] * len(shard.ends)
    assert all(1001 not in ids for _, ids in read_shard(shard.path))
    assert verify([tmp_path]).findings == []
    folder = tmp_path / "library"
    assert prove_round_trip(tokenizer, documents=documents / "library", tokens=folder) > 500_000


def test_its_engines_agree(trained: Path, library_texts: list[str]) -> None:
    result = compare(resolve(trained), "library", library_texts[:200])
    assert result.differences == 0
    assert result.engines == ("fastokens", "tokenizers")


def test_tiktoken_ranks_with_their_own_eos(tmp_path: Path) -> None:
    ranks = {token: rank for token, rank in load_ranks(LLAMA_3_2).items() if rank < 5000}
    path = tmp_path / "ranks.tiktoken"
    path.write_bytes(canonical(ranks))
    with pytest.raises(TokenizerError, match="give the end-of-document id as a number"):
        resolve(path)
    tokenizer = resolve(path, eos=5000)
    assert (tokenizer.name, tokenizer.vocab_size, tokenizer.token_width) == ("ranks", 5001, 2)
    result = compare(tokenizer, "x", ["Hello world, these are 5,000 ranks.", "def f(x): return x ** 2", ""])
    assert (result.differences, result.engines) == (0, ("fastokens", "tiktoken", "tokenizers"))


@pytest.mark.parametrize("content", ["{", "[]", '{"model": []}', '{"model": {"vocab": {}}}'])
def test_a_file_that_is_no_tokenizer_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(TokenizerError):
        resolve(path, eos=0)


def test_a_name_that_is_neither_shipped_nor_a_file_is_refused() -> None:
    with pytest.raises(TokenizerError, match="neither a shipped one"):
        resolve("llama-3.3")


def test_a_file_that_changed_since_it_was_named_is_refused(trained: Path, tmp_path: Path) -> None:
    path = change(trained, tmp_path / "tokenizer.json")
    tokenizer = resolve(path)
    change(trained, path, version="2.0")
    with pytest.raises(TokenizerError, match="changed: its sha256"):
        load(tokenizer, "tokenizers")
