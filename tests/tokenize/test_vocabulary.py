"""The vocabulary is found where the issue says, and is the pinned one or none."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

from smoldata.errors import TokenizerError
from smoltok import LLAMA_3_2, resolve
from smoltok.vocabulary import byte_alphabet, canonical, load_ranks, model_json, read_ranks, spell


def test_the_installed_package_holds_the_pinned_ranks() -> None:
    ranks = load_ranks(LLAMA_3_2)
    assert sorted(ranks.values()) == list(range(128_000))
    assert {bytes([byte]) for byte in range(256)} <= set(ranks)
    assert hashlib.sha256(canonical(ranks)).hexdigest() == LLAMA_3_2.sha256


def test_ranks_survive_a_tokenizer_json_and_back(tmp_path: Path) -> None:
    ranks = load_ranks(LLAMA_3_2)
    path = tmp_path / "tokenizer.json"
    alphabet = byte_alphabet()
    path.write_text(json.dumps({"model": {"vocab": {spell(t, alphabet): r for t, r in ranks.items()}}}))
    assert read_ranks(path) == ranks


def test_a_named_file_wins_and_must_be_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "ranks"
    wrong.write_bytes(base64.b64encode(b"a") + b" 0\n")
    monkeypatch.setenv("SMOLTOK_VOCABULARY", str(wrong))
    with pytest.raises(TokenizerError, match=r"ranks has other ranks \(sha256 .* wanted 82e9d319"):
        load_ranks(LLAMA_3_2)
    right = tmp_path / "right"
    monkeypatch.delenv("SMOLTOK_VOCABULARY")
    right.write_bytes(canonical(load_ranks(LLAMA_3_2)))
    monkeypatch.setenv("SMOLTOK_VOCABULARY", str(right))
    assert len(load_ranks(LLAMA_3_2)) == 128_000


def test_the_hub_cache_comes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file that was only found is passed over; its path shows that it was looked at first."""
    folder = tmp_path / "models--HuggingFaceTB--SmolLM3-3B"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    vocabulary = {"a": 0}
    (folder / "snapshots" / "abc" / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    # The hub library reads its own settings when it is imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    from smoltok.vocabulary import places

    assert [path.name for path, _ in places(LLAMA_3_2)] == ["tokenizer.json", "tokenizer.model"]
    assert len(load_ranks(LLAMA_3_2)) == 128_000


@pytest.mark.parametrize("content", [b"not base64 at all", b"{}", b'{"model": 3}', b"YQ== x\n", b"\xff\xfe"])
def test_a_file_that_is_no_vocabulary_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match="neither tiktoken ranks nor"):
        read_ranks(path)


def test_no_vocabulary_anywhere_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smoltok.vocabulary.PACKAGE_FILE", ("no-such-package", "x"))
    with pytest.raises(TokenizerError, match="pip install no-such-package"):
        load_ranks(LLAMA_3_2)


def test_llama_models_is_never_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys, smoltok; smoltok.encode(['hi']);"
        "print('llama_models' in sys.modules, 'models' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_unreachable_merges_are_the_only_ones_left_out() -> None:
    whole = json.loads(model_json(LLAMA_3_2, reachable_only=False))["model"]["merges"]
    reachable = json.loads(model_json(LLAMA_3_2, reachable_only=True))["model"]["merges"]
    assert len(whole) == 280_147
    assert set(reachable) <= {" ".join(pair) for pair in whole}
    assert len({merge.replace(" ", "") for merge in reachable}) == len(reachable)


def test_names_that_cannot_stand_in_a_path_are_refused() -> None:
    from dataclasses import replace

    with pytest.raises(TokenizerError, match="must be letters"):
        replace(LLAMA_3_2, name="a|b")
    with pytest.raises(TokenizerError, match="outside its vocabulary"):
        replace(LLAMA_3_2, eos_id=LLAMA_3_2.vocab_size)
    with pytest.raises(TokenizerError, match="ends documents with 128001"):
        resolve("llama-3.2", eos=7)
