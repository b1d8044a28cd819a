"""What a cap cuts and how many rows packing makes, against TRL's own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from smoltrain.post.data import RowsData
from smoltrain.post.lengths import cap, packed_rows, read_lengths
from smoltrain.post.phases import phase_named
from smoltrain.post.template import render

SIZES = st.lists(st.integers(1, 40), max_size=60)


def test_stored_lengths_are_the_tokenizers(rows: dict[str, RowsData], tokenizer: Path) -> None:
    engine = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    table = pq.read_table(rows["apo"].train).to_pylist()
    lengths = read_lengths(rows["apo"].train)
    assert lengths.shape == (len(table), 2)
    for row, found in zip(table, lengths.tolist(), strict=True):
        texts = [render(row[side], **row["chat_template_kwargs"]) for side in ("chosen", "rejected")]
        assert found == [len(engine.encode(text).ids) for text in texts]
    assert read_lengths(rows["sft"].train).sum() == sum(
        one["tokens"] for one in rows["sft"].facts["subsets"]
    ), "nothing of these rows is held out"


def test_a_cap_counts_what_it_cuts() -> None:
    phase = replace(phase_named("apo"), max_length=10)
    lengths = np.array([[4, 10], [11, 3], [12, 15], [9, 30]])
    found = cap(lengths, phase)
    assert (found.rows, found.tokens, found.longest) == (4, 94, 30)
    assert (found.over, found.tokens_cut) == (3, 1 + 2 + 5 + 20)
    wrapped = cap(lengths, replace(phase, packing="wrapped"))
    assert (wrapped.over, wrapped.tokens_cut) == (0, 0)
    empty = cap(np.zeros((0, 2), np.int64), phase)
    assert (empty.rows, empty.longest, empty.over) == (0, 0, 0)


@settings(max_examples=20, deadline=None)
@given(SIZES)
def test_packing_makes_as_many_rows_as_trl(sizes: list[int]) -> None:
    import datasets
    from trl import pack_dataset

    phase = replace(phase_named("sft"), max_length=32)
    if not sizes:
        assert packed_rows(sizes, phase) == 0
        return
    data = datasets.Dataset.from_dict({"input_ids": [[1] * size for size in sizes]})
    packed = pack_dataset(data, 32, "bfd")
    assert packed_rows(sizes, phase) == len(packed)
    wrapped = pack_dataset(data, 32, "wrapped")
    assert packed_rows(sizes, replace(phase, packing="wrapped")) == len(wrapped)
    assert packed_rows(sizes, replace(phase, packing=None)) == len(sizes)


@pytest.mark.parametrize("name", ["mid", "sft", "apo"])
def test_the_published_caps(name: str) -> None:
    assert phase_named(name).max_length == {"mid": 32_768, "sft": 65_536, "apo": 24_576}[name]
