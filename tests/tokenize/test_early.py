"""What is begun ahead: the engine in a thread, workers before their tasks are known."""

import threading
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest

from smoldata.errors import TokenizerError
from smoltok import LLAMA_3_2, preload
from smoltok.build import build_all
from smoltok.early import early_crew
from smoltok.engines import load


def test_an_engine_begun_ahead_is_the_engine() -> None:
    threads = threading.active_count()
    preload.start(LLAMA_3_2)
    native = preload.native(LLAMA_3_2)
    assert threading.active_count() == threads
    ids, _ = native.encode_batch_flat(["Hello world"], split_special_tokens=True)
    assert ids == load(LLAMA_3_2).encode_flat(["Hello world"])[0].tobytes()


def test_an_error_met_ahead_is_told_by_whoever_asks(tmp_path: Path) -> None:
    wrong = tmp_path / "ranks"
    wrong.write_text("")
    tokenizer = replace(LLAMA_3_2, path=wrong, sha256="0" * 64)
    preload.start(tokenizer)
    with pytest.raises(TokenizerError, match="not the vocabulary"):
        preload.native(tokenizer)
    preload.start(tokenizer)
    preload.wait()
    assert not preload._begun


def test_workers_are_started_ahead_only_for_much_that_is_not_made_yet(
    documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guess(workers: int = 2) -> int:
        with early_crew(
            ["library"], documents=documents, tokens=tmp_path, tokenizer=LLAMA_3_2, workers=workers
        ) as recruits:
            return 0 if recruits is None else len(recruits.connections)

    assert guess() == 0
    monkeypatch.setattr("smoltok.early._LEAST_BYTES", 0)
    assert guess(workers=1) == 0
    assert guess(workers=9) == len(list((documents / "library").glob("0*.parquet")))
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "manifest.parquet").touch()
    assert guess() == 0


@pytest.mark.parametrize("worth", [0, 1 << 60])
def test_a_build_with_workers_started_ahead_gives_the_same_bytes(
    folder_bytes: Callable[[Path], dict[str, bytes]],
    documents: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    worth: int,
) -> None:
    """They do the work if it is worth it, and are sent away if it is not."""
    monkeypatch.setattr("smoltok.early._LEAST_BYTES", 0)
    monkeypatch.setattr("smoltok.pool._WORTH_A_CREW_BYTES", worth)
    alone, tokens = tmp_path / "alone", tmp_path / "tokens"
    build = partial(build_all, ["library"], documents=documents, validation_share=Fraction(1, 20))
    build(tokens=alone)
    with early_crew(
        ["library"], documents=documents, tokens=tokens, tokenizer=LLAMA_3_2, workers=2
    ) as recruits:
        assert recruits is not None
        build(tokens=tokens, workers=2, recruits=recruits)
        assert recruits.are_told == (worth == 0)
        assert not any(process.is_alive() for process in recruits.processes)
    assert folder_bytes(tokens) == folder_bytes(alone)
