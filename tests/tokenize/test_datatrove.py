"""Shards are datatrove's own, byte for byte, with and without its shuffles; and no tail is lost unless asked.

Each case runs the real ``DocumentTokenizer`` on the same documents. DESIGN's two exceptions: the documents
hold no look-alike of a control token, which datatrove would parse; and datatrove is given a path that reads
as our tokenizer's name, so that line 1 of the metadata is comparable.
"""

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datatrove.data import Document
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.utils.tokenization import chunk_doc_ends
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldata.errors import InputError
from smoltok import LLAMA_3_2, open_shard, read_shard
from smoltok.build import build_tokens
from smoltok.control import llama_names
from smoltok.ordering import DocumentOrder, arrange
from smoltok.vocabulary import model_json

Write = Callable[[Path, str, dict[str, Sequence[str]]], Path]


@pytest.fixture(scope="module")
def texts(library_texts: list[str]) -> list[str]:
    names = llama_names().values()
    clean = [text for text in library_texts if not any(name in text for name in names)][:350]
    return [*clean, "", "x", "x" * 9000]


@pytest.fixture(scope="module")
def datatrove_files(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[bytes]]:
    """Return a function that runs datatrove's step and gives the bytes of its three files."""
    folder = tmp_path_factory.mktemp("datatrove")
    model = json.loads(model_json(LLAMA_3_2, reachable_only=False))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    model["added_tokens"] = [{"id": i, "content": name, **flags} for i, name in llama_names().items()]
    (folder / LLAMA_3_2.name).write_text(json.dumps(model))

    def run(subset: Sequence[str] = texts, **options: Any) -> list[bytes]:
        output = folder / f"output{len(list(folder.iterdir()))}"
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            step = DocumentTokenizer(str(output), LLAMA_3_2.name, eos_token="<|end_of_text|>", **options)  # noqa: S106
            step.run(iter([Document(text=text, id=str(i)) for i, text in enumerate(subset)]))
        [shard] = output.glob("*.ds")
        return [shard.with_name(shard.name + suffix).read_bytes() for suffix in ("", ".index", ".metadata")]

    return run


def ours(
    folder: Path, write_documents: Write, texts: Sequence[str], order: DocumentOrder
) -> tuple[Path, list[bytes]]:
    """Build one file without validation; return the shard and the bytes of datatrove's three files."""
    write_documents(folder, "library", {"00000.parquet": texts})
    build_tokens(
        "library", documents=folder, tokens=folder / "tokens", validation_share=Fraction(0), order=order
    )
    path = folder / "tokens" / "library" / "00000.ds"
    return path, [path.with_name(path.name + suffix).read_bytes() for suffix in ("", ".index", ".metadata")]


CASES = [
    (DocumentOrder(), {"shuffle_documents": False}),
    (DocumentOrder(seed=6), {"seed": 6}),
    (DocumentOrder(seed=0), {"seed": 0}),
    *(
        (
            DocumentOrder(seed=6, documents=documents, chunk=chunk, drop_tail=True),
            {"seed": 6, "shuffle_documents": documents, "shuffle_chunk_size": chunk},
        )
        for chunk in (1, 7, 4097, 32769, 65537)
        for documents in (True, False)
    ),
]


@pytest.mark.parametrize(("order", "options"), CASES, ids=[order.describe() for order, _ in CASES])
def test_shards_are_datatroves_byte_for_byte(
    order: DocumentOrder,
    options: dict[str, Any],
    texts: list[str],
    datatrove_files: Callable[..., list[bytes]],
    write_documents: Write,
    tmp_path: Path,
) -> None:
    # One-token chunks make an entry a token: fewer texts keep that case short.
    subset = texts[-12:] if (order.chunk or 4097) < 100 else texts
    _, seen = ours(tmp_path, write_documents, subset, order)
    assert seen == datatrove_files(subset, **options)


@pytest.mark.parametrize("chunk", [4097, 32769, 65537, 10**9])
def test_no_tail_is_lost_unless_asked(
    chunk: int, texts: list[str], write_documents: Write, tmp_path: Path
) -> None:
    path, _ = ours(tmp_path, write_documents, texts, DocumentOrder(seed=6, chunk=chunk))
    pieces: dict[int, list[tuple[int, list[int]]]] = {}
    shard = open_shard(path)
    for entry, row in enumerate(shard.docs().to_pylist()):
        pieces.setdefault(row["row"], []).append((row["offset"], shard.entry(entry).tolist()))
    plain = tmp_path / "plain"
    plain_path, _ = ours(plain, write_documents, texts, DocumentOrder())
    for row, (_, ids) in enumerate(read_shard(plain_path)):
        joined = [i for _, piece in sorted(pieces[row]) for i in piece]
        assert joined == [*ids, LLAMA_3_2.eos_id]


def test_dropping_all_of_a_shard_is_refused(texts: list[str], write_documents: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dropping its tail would lose all of it"):
        ours(tmp_path, write_documents, texts[:3], DocumentOrder(seed=6, chunk=65537, drop_tail=True))
    assert not list(tmp_path.rglob("*.ds"))


def test_the_validation_split_keeps_the_order_of_the_file(
    texts: list[str], write_documents: Write, tmp_path: Path
) -> None:
    write_documents(tmp_path, "library", {"00000.parquet": texts})
    order = DocumentOrder(seed=6, chunk=4097)
    build_tokens(
        "library", documents=tmp_path, tokens=tmp_path / "t", validation_share=Fraction(1, 4), order=order
    )
    rows = open_shard(tmp_path / "t" / "library" / "validation" / "00000.ds").docs().column("row").to_pylist()
    assert rows == sorted(rows)
    manifest = pq.read_table(tmp_path / "t" / "library" / "manifest.parquet").to_pylist()
    assert [row["document_order"] for row in manifest] == ["documents, chunks of 4097, seed 6", "file"]
    assert sum(row["documents"] for row in manifest) == len(texts)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
    st.integers(1, 50),
    st.booleans(),
    st.integers(0, 9),
)
@settings(deadline=None)
def test_chunks_are_cut_as_datatrove_cuts_them(
    lengths: list[int], chunk: int, documents: bool, seed: int
) -> None:
    ends = np.cumsum(lengths)
    source = np.random.default_rng(seed)
    shuffled = np.array(lengths)[source.permutation(len(lengths))] if documents else np.array(lengths)
    chunks = chunk_doc_ends(np.cumsum(shuffled).tolist(), chunk)
    wanted = []
    for number in source.permutation(len(chunks)):
        starts = [number * chunk, *chunks[number][:-1]]
        wanted += [end - start for start, end in zip(starts, chunks[number], strict=True)]
    entries = arrange(ends, DocumentOrder(seed=seed, documents=documents, chunk=chunk))
    assert entries.length.tolist()[: len(wanted)] == wanted
    assert int(entries.length[len(wanted) :].sum()) == sum(lengths) % chunk
    covered = np.sort(
        np.concatenate([np.arange(b, b + n) for b, n in zip(entries.begin, entries.length, strict=True)])
    )
    assert covered.tolist() == list(range(sum(lengths)))


@pytest.mark.parametrize(
    "settings",
    [{"chunk": 0, "seed": 1}, {"chunk": 5}, {"drop_tail": True, "seed": 1}, {"seed": 1, "documents": False}],
)
def test_orders_that_do_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        DocumentOrder(**settings)
