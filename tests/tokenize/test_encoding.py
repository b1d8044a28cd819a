"""Ids: known answers, three engines that agree, look-alikes that stay text, surrogates by rule."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smoltok
from smoltok import LLAMA_3_2
from smoltok.control import llama_names, smollm3_names
from smoltok.encoding import encode_flat, end_documents, has_seams, repair_surrogates
from smoltok.engines import ENGINES, Engine, Reference, load
from smoltok.selftest import differing, hard_texts, judge
from smoltok.sources import SEAM

SCALARS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def test_known_ids() -> None:
    # From the published Llama-3 tokenizer: no BOS, no EOS.
    assert smoltok.encode(["hi", "Hello world", ""]) == [[6151], [9906, 1917], []]


def test_look_alikes_of_control_tokens_stay_text() -> None:
    names = sorted({*llama_names().values(), *smollm3_names().values()})
    texts = [*names, *(f"a{name}b" for name in names)]
    reference = Reference(LLAMA_3_2)
    for text, ids in zip(texts, smoltok.encode(texts), strict=True):
        assert max(ids) < 128_000
        assert reference.decode(ids) == text


@pytest.fixture
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the self-test use the engines of this process: loading each of them again takes seconds."""
    engines = {name: load(LLAMA_3_2, name) for name in ENGINES}

    class Loaded:
        name = Reference.name

        def __new__(cls, _: smoltok.Tokenizer) -> Engine:  # type: ignore[misc]
            return engines[Reference.name]

    monkeypatch.setattr("smoltok.selftest.Reference", Loaded)
    for name in ("fastokens", "tiktoken"):
        monkeypatch.setitem(ENGINES, name, lambda _, engine=engines[name]: engine)


@pytest.mark.usefixtures("loaded_once")
@pytest.mark.parametrize("name", ["fastokens", "tiktoken"])
def test_engines_pass_the_self_test(name: str) -> None:
    assert judge(LLAMA_3_2, name, again=True).passed


@given(st.lists(SCALARS, max_size=20))
@settings(max_examples=60, deadline=None)
def test_three_engines_agree_on_any_text(texts: list[str]) -> None:
    reference = load(LLAMA_3_2, "tokenizers")
    for name in ENGINES:
        assert differing(load(LLAMA_3_2, name), reference, texts) == []


@given(SCALARS)
@settings(max_examples=200, deadline=None)
def test_decoding_gives_the_text_back(text: str) -> None:
    reference = load(LLAMA_3_2, "tokenizers")
    assert isinstance(reference, Reference)
    assert reference.decode(smoltok.encode([text])[0]) == text


def test_unicode_forms_are_not_normalised() -> None:
    composed, decomposed = smoltok.encode(["caf\u00e9", "cafe\u0301"])
    assert composed != decomposed


def test_lone_surrogates_are_repaired_and_counted() -> None:
    texts, count = repair_surrogates(["ok", "\ud83d\udc4d", "a\ud800b", "\udfff"])
    assert (texts, count) == (["ok", "\U0001f44d", "a\ufffdb", "\ufffd"], 3)
    assert smoltok.encode(["a\ud800b"]) == smoltok.encode(["a\ufffdb"])


def test_one_string_is_not_a_sequence_of_texts() -> None:
    with pytest.raises(TypeError, match="sequence of texts"):
        encode_flat("text")


@given(st.lists(st.lists(st.integers(0, 127_999), max_size=8), max_size=8))
def test_every_document_ends_with_eos_and_nothing_is_lost(rows: list[list[int]]) -> None:
    flat = np.array([i for row in rows for i in row], np.uint32)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    ids, ends = end_documents((flat, offsets), LLAMA_3_2)
    assert ids.dtype == np.dtype("<u4")
    begins = [0, *ends.tolist()[:-1]]
    seen = [ids[begin:end].tolist() for begin, end in zip(begins, ends.tolist(), strict=False)]
    assert seen == [[*row, 128_001] for row in rows]


def test_long_documents_take_the_other_way_and_end_the_same() -> None:
    rows = [list(range(n)) for n in (3000, 0, 1, 2000, 1500)]
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    ids, ends = end_documents((np.concatenate(rows).astype(np.uint32), offsets), LLAMA_3_2)
    assert ids.tolist() == [i for row in rows for i in [*row, 128_001]]
    assert ends.tolist() == [3001, 3002, 3004, 5005, 6506]


@pytest.mark.usefixtures("loaded_once")
def test_a_wrong_engine_is_passed_over_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Only the engine's answer is changed: the self-test that must notice is the real one."""
    from smoltok import selftest

    monkeypatch.setenv("SMOLTOK_CACHE", str(tmp_path))
    real = ENGINES["fastokens"]

    class Wrong:
        name = "fastokens"

        def __init__(self, tokenizer: smoltok.Tokenizer) -> None:
            self._engine = real(tokenizer)

        def encode_flat(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
            ids, offsets = self._engine.encode_flat(texts)
            return np.where(ids == ids[-1], 0, ids), offsets

    monkeypatch.setitem(ENGINES, "fastokens", Wrong)
    assert selftest.choose(LLAMA_3_2) == "tiktoken"
    assert "fastokens" in capsys.readouterr().err
    assert not judge(LLAMA_3_2, "fastokens").passed  # The verdict is kept.


def test_the_hard_list_is_fixed() -> None:
    assert hard_texts() == hard_texts.__wrapped__()
    assert len(hard_texts()) > 4_000


PIECES = st.sampled_from(
    [" ", "\n", "\r\n", "  ", "a", "Z", "é", "'s", "'ll", "'", "1", "12", ".", "=", "的", "👍", "\u0301"]
)


@given(st.lists(PIECES | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)).map("".join))
@settings(max_examples=300, deadline=None)
def test_a_cut_at_every_seam_leaves_the_ids_as_they_are(text: str) -> None:
    data, pieces, begin = text.encode(), [], 0
    while seam := SEAM.match(data, begin, begin + 12):
        pieces.append(data[begin : seam.end()].decode())
        begin = seam.end()
    pieces.append(data[begin:].decode())
    assert "".join(pieces) == text
    for name in ENGINES:
        whole, parts = (load(LLAMA_3_2, name).encode_flat(texts)[0] for texts in ([text], pieces))
        assert whole.tolist() == parts.tolist()


def test_only_llamas_split_pattern_is_known_to_have_seams() -> None:
    assert has_seams(LLAMA_3_2)
    assert not has_seams(replace(LLAMA_3_2, pattern=r"\S+\s*|\s+"))
    assert not has_seams(replace(LLAMA_3_2, kind="json"))
