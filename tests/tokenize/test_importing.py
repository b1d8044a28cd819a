"""Token files of others become shards of ours: the real Megatron writer's output, and flat NumPy files."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from datatrove.data import Document
from datatrove.pipeline.tokens import MegatronDocumentTokenizer
from typer.testing import CliRunner

import smoltok
from smoldata.errors import SourceError
from smoltok import LLAMA_3_2, open_shard, read_shard
from smoltok.cli import app
from smoltok.export import export
from smoltok.importing import import_shards
from smoltok.manifest import read_manifest
from smoltok.verify import verify

TEXTS = ["Hello world", "a", "def f(x):\n    return x", "é"]


@pytest.fixture(scope="module")
def megatron(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the .bin file that datatrove's own Megatron writer makes of four documents, with EOS."""
    folder = tmp_path_factory.mktemp("megatron")
    export(folder / "tokenizer", "llama-3.2")
    step = MegatronDocumentTokenizer(
        str(folder),
        tokenizer_name_or_path=str(folder / "tokenizer" / "tokenizer.json"),
        eos_token="<|end_of_text|>",  # noqa: S106 - no password
    )
    step.run(iter([Document(text=text, id=str(i)) for i, text in enumerate(TEXTS)]))
    [path] = folder.glob("*.bin")
    return path


def ids_with_eos() -> list[int]:
    return [i for ids in smoltok.encode(TEXTS) for i in [*ids, LLAMA_3_2.eos_id]]


def test_megatrons_files_are_converted_and_found_sound(megatron: Path, tmp_path: Path) -> None:
    [found] = import_shards("megatron", [megatron], source="m", tokens=tmp_path, tokenizer=LLAMA_3_2)
    assert (found.documents, found.tokens) == (4, len(ids_with_eos()))
    assert (found.bos, found.missing_eos, found.highest_id) == (0, 0, LLAMA_3_2.eos_id)
    assert [ids for _, ids in read_shard(tmp_path / "m" / "00000.ds")] == smoltok.encode(TEXTS)
    assert verify([tmp_path / "m"]).findings == []
    [row] = read_manifest(tmp_path / "m")
    assert (row.input_xxh3_128, row.code_version) == ("unknown", "unknown")


def test_a_fitting_flat_file_is_linked_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "flat.bin"
    np.array(ids_with_eos(), "<u4").tofile(path)
    arguments = ["import", "numpy", str(path), "--source", "n", "--tokens", str(tmp_path), "--dtype", "<u4"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    [found] = json.loads(result.stdout)
    assert (found["linked"], found["documents"]) == (True, 4)
    shard = tmp_path / "n" / "00000.ds"
    assert shard.stat().st_ino == path.stat().st_ino or shard.is_symlink()
    assert [ids for _, ids in read_shard(shard)] == smoltok.encode(TEXTS)


def test_a_header_or_another_width_is_converted(tmp_path: Path) -> None:
    for name, dtype in (("a.npy", "<i8"), ("b.npy", "<u4")):
        np.save(tmp_path / name, np.array(ids_with_eos(), dtype))
        source = name.partition(".")[0]
        [found] = import_shards(
            "numpy", [tmp_path / name], source=source, tokens=tmp_path, tokenizer=LLAMA_3_2
        )
        assert not found.linked
        assert open_shard(tmp_path / source / "00000.ds").ids.tolist() == ids_with_eos()


def test_faults_are_counted_not_hidden(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([128_000, 5, 6, 128_001, 128_000, 7, 8], np.uint32))
    [found] = import_shards("numpy", [tmp_path / "x.npy"], source="x", tokens=tmp_path, tokenizer=LLAMA_3_2)
    assert (found.documents, found.bos, found.missing_eos) == (2, 2, 1)
    assert {finding.code for finding in verify([tmp_path / "x"]).findings} == {"bos", "eos-missing"}


def test_what_cannot_be_is_refused(megatron: Path, tmp_path: Path) -> None:
    def refused(kind: str, path: Path, dtype: str, message: str) -> None:
        with pytest.raises(SourceError, match=message):
            import_shards(kind, [path], source="x", tokens=tmp_path, tokenizer=LLAMA_3_2, dtype=dtype)
        assert not list(tmp_path.rglob("*.ds"))

    path = tmp_path / "x.bin"
    np.array([5, 2**31], "<u4").tofile(path)
    refused("numpy", path, "<u4", "of another tokenizer or another type")
    path.write_bytes(b"123")
    refused("numpy", path, "<u4", "not a multiple of 4")
    refused("numpy", tmp_path / "none.bin", "<u4", "cannot read")
    refused("tfrecord", path, "<u4", "there are megatron, numpy, mds")
    refused("mds", path, "<u4", "is no MDS index")
    index = path.with_suffix(".idx")
    index.write_bytes(b"nonsense")
    refused("megatron", path, "<u4", "must begin with MMIDIDX")
    whole = megatron.with_suffix(".idx").read_bytes()
    index.write_bytes(whole[:40])
    refused("megatron", path, "<u4", "are wanted for 4 sequences")
    index.write_bytes(whole[:9] + struct.pack("<Q", 2) + whole[17:])
    refused("megatron", path, "<u4", "version 2")
    index.write_bytes(whole)
    path.write_bytes(megatron.read_bytes()[:-4])
    refused("megatron", path, "<u4", "ends at token")
