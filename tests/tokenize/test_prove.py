"""The proof itself: its short form passes, is reproducible, notices a wrong engine and a wrong shard."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from smoldata.errors import InputError, IntegrityError
from smoltok import LLAMA_3_2, resolve
from smoltok.build import build_tokens
from smoltok.cli import app
from smoltok.decode import Decoder
from smoltok.fuzz import FAMILIES, SCALARS, scalar_strings, strings
from smoltok.ordering import DocumentOrder
from smoltok.prove import compare, engines, proof, prove_round_trip


def test_short_proof_finds_no_difference() -> None:
    """Every family once, and each 101st scalar value; `smoltok prove` is the long form."""
    for family in FAMILIES:
        result = compare(LLAMA_3_2, family, strings(family, 0, seed=1, count=400))
        assert (result.differences, result.texts) == (0, 400), result.example
    result = compare(LLAMA_3_2, "scalars", scalar_strings(0, SCALARS // 101, 101))
    assert result.differences == 0, result.example
    assert result.engines == ("fastokens", "tiktoken", "tokenizers")


def test_all_documents_and_their_round_trip(documents: Path, tmp_path: Path) -> None:
    build_tokens("library", documents=documents, tokens=tmp_path, validation_share=Fraction(1, 9))
    report = proof(LLAMA_3_2, total=0, scalar_step=SCALARS, documents=documents, tokens=tmp_path)
    [compared] = [row for row in report.compared if row.family == "library"]
    assert compared.differences == 0
    assert compared.bytes == report.decoded_bytes > 500_000


def test_shuffled_documents_come_back_too(documents: Path, tmp_path: Path) -> None:
    order = DocumentOrder(seed=1)
    build_tokens("library", documents=documents, tokens=tmp_path, validation_share=Fraction(0), order=order)
    folder = tmp_path / "library"
    assert prove_round_trip(LLAMA_3_2, documents=documents / "library", tokens=folder) > 500_000


def test_documents_that_chunks_cut_are_joined_again(documents: Path, tmp_path: Path) -> None:
    def compared(order: DocumentOrder, name: str) -> int:
        tokens = tmp_path / name
        build_tokens("library", documents=documents, tokens=tokens, validation_share=Fraction(0), order=order)
        return prove_round_trip(LLAMA_3_2, documents=documents / "library", tokens=tokens / "library")

    whole = compared(DocumentOrder(), "whole")
    assert compared(DocumentOrder(seed=2, chunk=257), "cut") == whole
    # A dropped tail takes the documents at the end with it: what is left is still compared.
    assert whole * 0.9 < compared(DocumentOrder(seed=2, chunk=257, drop_tail=True), "dropped") < whole


def test_a_shard_that_is_not_its_documents_is_found(documents: Path, tmp_path: Path) -> None:
    build_tokens("library", documents=documents, tokens=tmp_path, validation_share=Fraction(0))
    path = tmp_path / "library" / "00001.ds"
    ids = np.fromfile(path, "<u4")
    ids[1000] = 5 if ids[1000] != 5 else 6
    ids.tofile(path)
    with pytest.raises(IntegrityError, match=r"00001.ds, entry \d+: is not row \d+ of 00001.parquet"):
        prove_round_trip(LLAMA_3_2, documents=documents / "library", tokens=tmp_path / "library")


def test_a_wrong_engine_is_found_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    right = engines(LLAMA_3_2)

    class Wrong:
        name = "wrong"

        def encode_flat(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
            ids, offsets = right[0].encode_flat(texts)
            return np.where(ids == 64, 65, ids), offsets

    monkeypatch.setattr("smoltok.prove.engines", lambda _: (*right, Wrong()))
    result = compare(LLAMA_3_2, "x", ["b", "é a", "a"])
    assert (result.differences, result.example) == (1, "'a'")


def test_blocks_of_strings_are_reproducible_and_differ() -> None:
    for family in FAMILIES:
        block = strings(family, 3, seed=7, count=50)
        assert block == strings(family, 3, seed=7, count=60)[:50]
        assert block != strings(family, 4, seed=7, count=50)
        assert block != strings(family, 3, seed=8, count=50)


def test_scalar_values_are_all_there_and_no_surrogate_is() -> None:
    everything = "".join(scalar_strings(0, SCALARS // 64, 64)[::3])
    assert len(everything) == SCALARS // 64
    assert scalar_strings(0xD7FF, 2)[::3] == ["\ud7ff", "\ue000"]
    assert scalar_strings(SCALARS - 1, 5)[::3] == ["\U0010ffff"]
    assert scalar_strings(0x41, 1) == ["A", "aAb", " A1AA\n"]


def test_the_table_decodes_every_token() -> None:
    decoder = Decoder(LLAMA_3_2)
    assert decoder.decode(np.array([], np.uint32)) == b""
    assert decoder.decode(np.array([9906, 128_001, 1917], np.uint32)) == b"Hello world"


def test_command_prints_what_it_compared(documents: Path) -> None:
    result = CliRunner().invoke(
        app, ["prove", "--strings", "1", "--scalar-step", "9999", "--workers", "1", "--json"]
    )
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["total"]["differences"] == 0
    assert [row["family"] for row in report["families"]] == ["every scalar value", "scripts"]


def test_shards_without_their_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --documents too"):
        proof(resolve(), total=0, tokens=tmp_path)
