"""`smoltok verify` finds and locates every planted fault, and survives anything in a file."""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from smoldata.errors import InputError, IntegrityError
from smoldata.files import xxh3_128
from smoltok import LLAMA_3_2, open_shard, read_shard
from smoltok.blocks import BLOCK_BYTES
from smoltok.build import build_tokens
from smoltok.cli import app
from smoltok.manifest import read_manifest, write_manifest
from smoltok.ordering import DocumentOrder
from smoltok.verify import Finding, verify

Write = Callable[[Path, str, dict[str, Sequence[str]]], Path]


@pytest.fixture(scope="module")
def original(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokens = tmp_path_factory.mktemp("tokens")
    build_tokens("library", documents=documents, tokens=tokens, validation_share=Fraction(1, 20))
    return tokens / "library"


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "library"))


def codes(folder: Path) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in verify([folder]).findings:
        found.setdefault(finding.code, []).append(finding)
    return found


def plant(folder: Path, change: Callable[[np.ndarray], None], name: str = "00001.ds") -> None:
    """Change ids of a shard and make its hash right again, so that only the ids themselves can tell."""
    ids = np.fromfile(folder / name, "<u4")
    change(ids)
    ids.tofile(folder / name)
    rows = [
        replace(row, xxh3_128=xxh3_128(folder / name)) if row.path == name else row
        for row in read_manifest(folder)
    ]
    write_manifest(folder, rows)


def test_sound_shards_have_no_findings(original: Path) -> None:
    report = verify([original])
    assert (report.findings, report.shards) == ([], len(read_manifest(original)))
    assert report.tokens == sum(len(open_shard(path).ids) for path in original.rglob("*.ds"))


@pytest.mark.parametrize("name", ["00002.ds", "00002.ds.index", "00002.ds.metadata", "00002.ds.docs.parquet"])
def test_any_flipped_bit_is_found(name: str, folder: Path) -> None:
    path, source = folder / name, random.Random(name)  # noqa: S311 - where to flip
    whole = path.read_bytes()
    for _ in range(6):
        data = bytearray(whole)
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        path.write_bytes(data)
        findings = verify([folder]).findings
        assert findings, f"a flipped bit in {name} went unseen"
        assert {Path(finding.path).name.partition(".ds")[0] for finding in findings} == {"00002"}


def test_a_flipped_bit_is_located(write_documents: Write, tmp_path: Path) -> None:
    texts = [f"{i} " * 3000 for i in range(300)]
    write_documents(tmp_path, "library", {"00000.parquet": texts})
    build_tokens("library", documents=tmp_path, tokens=tmp_path / "t", validation_share=Fraction(0))
    path = tmp_path / "t" / "library" / "00000.ds"
    data = bytearray(path.read_bytes())
    assert len(data) > 3 * BLOCK_BYTES
    place = 2 * BLOCK_BYTES + 12_345
    data[place] ^= 1
    path.write_bytes(data)
    [finding] = codes(path.parent)["changed"]
    assert f"1 of its MiB changed, the first at byte {2 * BLOCK_BYTES:,}" in finding.message
    first, last = (
        int(word.replace(",", "")) for word in finding.message.rpartition("entries ")[2].split(" to ")
    )
    assert first <= open_shard(path).entry_at(place // 4) <= last
    assert last - first < 50


def test_a_cut_file_is_found(folder: Path) -> None:
    path = folder / "00001.ds"
    path.write_bytes(path.read_bytes()[:-4002])
    found = codes(folder)
    assert {"size", "changed", "tokens"} <= set(found)
    with pytest.raises(IntegrityError, match="it was cut or changed"):
        list(read_shard(path))


@pytest.mark.parametrize(
    ("value", "code"), [(128_256, "vocabulary"), (2**32 - 1, "vocabulary"), (128_000, "bos")]
)
def test_an_id_that_cannot_be_is_located(value: int, code: str, folder: Path) -> None:
    plant(folder, lambda ids: ids.__setitem__(1234, value))
    found = codes(folder)
    assert set(found) == {code}
    entry = open_shard(folder / "00001.ds").entry_at(1234)
    assert f"token 1,234 (entry {entry:,}): id {value}" in found[code][0].message


def test_a_missing_eos_is_located(folder: Path) -> None:
    end = int(open_shard(folder / "00001.ds").ends[7])
    plant(folder, lambda ids: ids.__setitem__(end - 1, 11))
    found = codes(folder)
    assert set(found) == {"eos-missing"}
    assert f"token {end - 1:,} (entry 7): id 11 ends an entry" in found["eos-missing"][0].message


def test_an_eos_inside_a_document_is_located(folder: Path) -> None:
    plant(folder, lambda ids: ids.__setitem__(50, LLAMA_3_2.eos_id))
    assert "token 50 (entry 0): id 128001 is an EOS inside" in codes(folder)["eos-inside"][0].message


def test_many_faults_of_a_kind_are_counted(folder: Path) -> None:
    plant(folder, lambda ids: ids.__setitem__(slice(0, 300), 128_000))
    assert codes(folder)["bos"][-1].message == "and 290 more of this kind"


def test_an_index_that_disagrees_is_found(folder: Path) -> None:
    path = folder / "00001.ds.index"
    ends = np.fromfile(path, "<u8")
    ends[5] += 1
    ends.tofile(path)
    assert {"changed", "documents", "eos-missing", "eos-inside"} <= set(codes(folder))
    ends[5] = ends[4]
    ends.tofile(path)
    assert "entry 5 does not end after the one before it" in codes(folder)["index-order"][0].message


@pytest.mark.parametrize("line", ["llama-3.2|2", "gpt2|4"])
def test_a_wrong_width_or_name_in_the_metadata_is_found(line: str, folder: Path) -> None:
    path = folder / "00001.ds.metadata"
    path.write_text("\n".join([line, *path.read_text().split("\n")[1:]]))
    assert f"is {line}, the manifest says llama-3.2|4" in codes(folder)["tokenizer"][0].message


def test_mixed_tokenizers_are_found(folder: Path) -> None:
    rows = read_manifest(folder)
    write_manifest(folder, [replace(rows[0], tokenizer_sha256="0" * 64), *rows[1:]])
    assert "shards of 2 tokenizers" in codes(folder)["mixed-tokenizers"][0].message


def test_a_shard_without_a_row_and_a_row_without_a_shard_are_found(folder: Path) -> None:
    shutil.copy(folder / "00001.ds", folder / "00077.ds")
    (folder / "00002.ds.index").unlink()
    found = codes(folder)
    assert found["no-row"][0].path.endswith("00077.ds")
    assert found["missing"][0].path.endswith("00002.ds.index")


@pytest.mark.parametrize("order", [DocumentOrder(seed=3), DocumentOrder(seed=3, chunk=4097)])
def test_shuffled_shards_are_sound(order: DocumentOrder, documents: Path, tmp_path: Path) -> None:
    build_tokens(
        "library", documents=documents, tokens=tmp_path, validation_share=Fraction(1, 20), order=order
    )
    assert verify([tmp_path]).findings == []


@pytest.mark.parametrize("suffix", [".index", ".metadata", ".docs.parquet"])
def test_no_garbage_beside_a_shard_crashes_a_reader(suffix: str, folder: Path) -> None:
    path, source = folder / f"00001.ds{suffix}", random.Random(suffix)  # noqa: S311 - what to write
    whole = path.read_bytes()
    for round_ in range(40):
        data = bytearray(whole if round_ % 2 else source.randbytes(source.randrange(300)))
        for _ in range(source.randrange(1, 8)):
            if data:
                data[source.randrange(len(data))] = source.randrange(256)
        path.write_bytes(data[: source.randrange(len(data) + 1)])
        assert verify([folder]).findings
        try:
            for _ in read_shard(folder / "00001.ds"):
                pass
        except IntegrityError:
            pass


def test_command_exits_1_and_says_where(folder: Path) -> None:
    assert CliRunner().invoke(app, ["verify", str(folder)]).exit_code == 0
    plant(folder, lambda ids: ids.__setitem__(1234, 128_000))
    result = CliRunner().invoke(app, ["verify", str(folder.parent)])
    assert result.exit_code == 1
    assert "00001.ds: bos: token 1,234" in result.stdout
    result = CliRunner().invoke(app, ["verify", str(folder), "--json"])
    assert json.loads(result.stdout)["findings"][0]["code"] == "bos"


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no token shards"):
        verify([tmp_path])
