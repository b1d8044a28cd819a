"""Writing shards: the bytes are a function of the documents, not of how they arrive."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from smoltok import LLAMA_3_2, writer
from smoltok.columns import strings
from smoltok.ordering import FILE_ORDER
from smoltok.writer import Batch, Origin, shard_writer

LENGTHS = np.random.default_rng(0).integers(1, 50, 300)
NAMES = [f"{i * 977 % 1009:04d}/" + "name" * (i % 700) for i in range(300)]


def batch(first: int, last: int) -> Batch:
    ends = np.cumsum(LENGTHS[first:last])
    ids = np.arange(ends[-1], dtype="<u4") + np.uint32(LENGTHS[:first].sum())
    return Batch(ids, ends, strings(NAMES[first:last]), np.arange(first, last, dtype=np.int64))


def written(path: Path, cuts: list[int]) -> dict[str, bytes]:
    origin = Origin("source", "train", "00000.parquet", LLAMA_3_2, FILE_ORDER)
    with shard_writer(path, origin) as shard:
        for first, last in pairwise([0, *cuts, len(LENGTHS)]):
            shard.append(batch(first, last))
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if ".docs." in file.name}


def test_batches_do_not_show_in_the_table_of_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_DOCS_ROWS", 64)  # Five row groups, the last one shorter.
    one = written(tmp_path / "one" / "00000.ds", [])
    assert written(tmp_path / "many" / "00000.ds", [7, 63, 64, 130, *range(131, 140), 290]) == one
