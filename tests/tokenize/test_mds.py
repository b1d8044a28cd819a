"""Mosaic's MDS folders become shards: laid out by hand after the format, and by the real writer if there.

The real writer: `python -m pip install mosaicml-streaming`, then run this file again.
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from typer.testing import CliRunner

import smoltok
from smoldata.errors import SourceError
from smoltok import LLAMA_3_2, open_shard, read_shard
from smoltok.cli import app
from smoltok.importing import import_shards
from smoltok.mds import read_mds
from smoltok.verify import verify

TEXTS = ["Hello world", "a", "def f(x):\n    return x", "é"]
EOS = LLAMA_3_2.eos_id


def documents() -> list[list[int]]:
    return [[*ids, EOS] for ids in smoltok.encode(TEXTS)]


def array_value(ids: Sequence[int], dtype: str) -> bytes:
    """Return an ``ndarray:<dtype>`` value: one axis, its length in one byte, the ids."""
    return bytes([1 << 2, len(ids)]) + np.array(ids, dtype).tobytes()


def write_mds(folder: Path, values: Sequence[bytes], encoding: str, **changes: Any) -> Path:
    """Write one shard whose samples are a name (str) and a token column, as the format says."""
    folder.mkdir()
    samples = []
    for number, value in enumerate(values):
        name = f"n{number}".encode()
        samples.append(struct.pack("<II", len(name), len(value)) + name + value)
    entry = {
        "column_encodings": ["str", encoding],
        "column_names": ["name", "tokens"],
        "column_sizes": [None, None],
        "compression": None,
        "format": "mds",
        "hashes": [],
        "samples": len(samples),
        "size_limit": None,
        "version": 2,
        "zip_data": None,
    }
    about = json.dumps(entry).encode()
    head = 4 * (len(samples) + 2)
    ends = np.cumsum([head + len(about), *map(len, samples)]).astype("<u4")
    data = struct.pack("<I", len(samples)) + ends.tobytes() + about + b"".join(samples)
    (folder / "shard.00000.mds").write_bytes(data)
    entry["raw_data"] = {"basename": "shard.00000.mds", "bytes": len(data), "hashes": {}}
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": [entry | changes]}))
    return folder


def test_samples_of_many_lengths_are_documents(tmp_path: Path) -> None:
    folder = write_mds(tmp_path / "mds", [array_value(ids, "<u4") for ids in documents()], "ndarray:uint32")
    [found] = import_shards("mds", [folder], source="m", tokens=tmp_path, tokenizer=LLAMA_3_2)
    assert (found.documents, found.tokens) == (4, sum(map(len, documents())))
    assert (found.bos, found.missing_eos, found.linked) == (0, 0, False)
    assert found.why_copied == "its samples have headers between them"
    assert [ids for _, ids in read_shard(tmp_path / "m" / "00000.ds")] == smoltok.encode(TEXTS)
    assert verify([tmp_path / "m"]).findings == []


def test_samples_of_one_length_are_windows_of_a_stream(tmp_path: Path) -> None:
    stream = [i for ids in documents() for i in ids]
    stream = stream[: len(stream) // 3 * 3]
    windows = [np.array(stream[i : i + 3], "<i4").tobytes() for i in range(0, len(stream), 3)]
    folder = write_mds(tmp_path / "mds", windows, "bytes")
    arguments = ["import", "mds", str(folder), "--source", "w", "--tokens", str(tmp_path), "--dtype", "<i4"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    [found] = json.loads(result.stdout)
    assert found["tokens"] == len(stream)
    assert found["documents"] == stream.count(EOS) + (stream[-1] != EOS)
    assert open_shard(tmp_path / "w" / "00000.ds").ids.tolist() == stream


def test_faults_are_counted(tmp_path: Path) -> None:
    values = [array_value(ids, "<u4") for ids in ([128_000, 5, EOS], [7, 8, 9, 10])]
    folder = write_mds(tmp_path / "mds", values, "ndarray:uint32")
    [found] = import_shards("mds", [folder], source="x", tokens=tmp_path, tokenizer=LLAMA_3_2)
    assert (found.documents, found.bos, found.missing_eos) == (2, 1, 1)


def test_a_compressed_shard_is_read_and_a_cut_one_refused(tmp_path: Path) -> None:
    values = [array_value(ids, "<u4") for ids in documents()]
    packed = {"basename": "shard.00000.mds.zstd", "bytes": 1, "hashes": {}}
    folder = write_mds(tmp_path / "m", values, "ndarray:uint32", zip_data=packed, compression="zstd:3")
    raw = folder / "shard.00000.mds"
    data = raw.read_bytes()
    raw.unlink()
    (folder / packed["basename"]).write_bytes(zstandard.compress(data))
    [shard] = read_mds(folder, "<u2")
    assert shard.ids.tolist() == [i for ids in documents() for i in ids]
    raw.write_bytes(data[:-1])
    with pytest.raises(SourceError, match=f"{len(data) - 1:,} bytes, its index says {len(data):,}"):
        list(read_mds(folder, "<u2"))


@pytest.mark.parametrize(
    ("encoding", "changes", "message"),
    [
        ("ndarray:float32", {}, "integer ids are wanted"),
        ("pkl", {}, "integer ids are wanted"),
        ("ndarray:uint32", {"column_names": ["name", "text"]}, "one of .* is wanted"),
        ("ndarray:uint32", {"samples": 3}, "does not begin with its 3 samples"),
        ("ndarray:uint32", {"version": 1}, "MDS version 2 can be read"),
        ("ndarray:uint32", {"raw_data": {"basename": "../x", "bytes": 9}}, "outside its folder"),
        ("ndarray:uint32", {"raw_data": None}, "entry is incomplete"),
        ("ndarray:uint64", {}, "no array of ids"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, encoding: str, changes: Any, message: str) -> None:
    values = [array_value(ids, "<u4") for ids in ([1, EOS, 2], [5, 6, 7, 8, EOS])]
    folder = write_mds(tmp_path / "mds", values, encoding, **changes)
    with pytest.raises(SourceError, match=message):
        list(read_mds(folder, "<u4"))


@pytest.mark.parametrize("encoding", ["ndarray:uint32", "ndarray", "bytes"])
@pytest.mark.parametrize("compression", [None, "zstd", "gz"])
def test_the_real_writers_folders_are_read(tmp_path: Path, encoding: str, compression: str | None) -> None:
    streaming = pytest.importorskip("streaming", reason="python -m pip install mosaicml-streaming")
    folder = tmp_path / "real"
    columns = {"tokens": encoding, "name": "str"}
    with streaming.MDSWriter(
        out=str(folder), columns=columns, compression=compression, size_limit=400
    ) as out:
        for number, ids in enumerate(documents() * 5):
            value = np.array(ids, np.uint32)
            out.write({"tokens": value.tobytes() if encoding == "bytes" else value, "name": str(number)})
    shards = list(read_mds(folder, "<u4"))
    assert len(shards) > 1
    assert np.concatenate([shard.ids for shard in shards]).tolist() == [
        i for ids in documents() * 5 for i in ids
    ]
