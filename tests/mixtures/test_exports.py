"""Exports: a reader from the format, and the trainer's own where installed, give the plan's stream."""

import importlib.util
import json
import shutil
import signal
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from smoldata.errors import InputError, IntegrityError, StorageError
from smoldata.files import write_json
from smolmix import exports
from smolmix.cli import app
from smolmix.export_mds import write_mds
from smolmix.exports import TRAINERS, export, open_export, read_export
from smolmix.order_digest import Digester, digest_windows
from smolmix.windows import Windows, open_windows

PLAN = "sample/plans/stage2-blog"
COPIES = ("megatron", "mds")


@pytest.fixture(scope="session")
def widths(built: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Windows]:
    """Give the stage with ids of two bytes and of four."""
    build = Path(shutil.copytree(built, tmp_path_factory.mktemp("wide") / "build"))
    for shard in build.glob("sample/tokens/bytes/*/*.ds"):
        np.fromfile(shard, "<u2").astype("<u4").tofile(shard)
    folder = build / PLAN
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    plan["tokenizer"]["token_width"] = 4
    write_json(folder / "plan.json", plan)
    table = pq.read_table(folder / "shards.parquet")
    sizes = pa.array([size * 2 for size in table.column("bytes").to_pylist()])
    column = table.column_names.index("bytes")
    pq.write_table(table.set_column(column, "bytes", sizes), folder / "shards.parquet")
    return {2: open_windows(built / PLAN), 4: open_windows(folder)}


def stream_digest(stream: Any, first: int = 0) -> str:
    """Return the digest of windows that a trainer gave."""
    windows = [np.asarray(one) for one in stream]
    digester = Digester(first, first + len(windows))
    for one in windows:
        digester.add_tokens(one[None])
    return digester.tokens_digest()


def read_mds(folder: Path) -> list[Any]:
    """Read MDS shards as the format is published: offsets, then samples of one fixed-size column."""
    found = []
    for shard in json.loads((folder / "index.json").read_text("utf-8"))["shards"]:
        assert (shard["version"], shard["format"], shard["column_names"]) == (2, "mds", ["tokens"])
        kind, dtype, length = shard["column_encodings"][0].split(":")
        data = (folder / shard["raw_data"]["basename"]).read_bytes()
        assert (kind, len(data)) == ("ndarray", shard["raw_data"]["bytes"])
        (samples,) = struct.unpack_from("<I", data)
        assert samples == shard["samples"]
        ends = struct.unpack_from(f"<{samples + 1}I", data, 4)
        for begin, end in pairwise(ends):
            assert end - begin == shard["column_sizes"][0]
            found.append(np.frombuffer(data[begin:end], dtype))
            assert found[-1].size == int(length)
    return found


def read_megatron(folder: Path) -> list[Any]:
    """Read an indexed dataset as the format is published."""
    index, data = (folder / "windows.idx").read_bytes(), (folder / "windows.bin").read_bytes()
    magic, version, code, sequences, documents = struct.unpack_from("<9sQBQQ", index)
    assert (magic, version) == (b"MMIDIDX\0\0", 1)
    dtype = {4: np.dtype("<i4"), 8: np.dtype("<u2")}[code]
    lengths = np.frombuffer(index, "<i4", sequences, 34)
    begins = np.frombuffer(index, "<i8", sequences, 34 + 4 * sequences)
    ends = np.frombuffer(index, "<i8", documents, 34 + 12 * sequences)
    assert len(index) == 34 + 12 * sequences + 8 * documents
    assert ends.tolist() == list(range(sequences + 1))
    assert len(data) == int(lengths.sum()) * dtype.itemsize
    return [np.frombuffer(data, dtype, n, at) for n, at in zip(lengths, begins, strict=True)]


READERS = {"mds": read_mds, "megatron": read_megatron}


@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("trainer", COPIES)
def test_the_copy_has_the_plans_stream(
    trainer: str, width: int, widths: dict[int, Windows], tmp_path: Path
) -> None:
    windows = widths[width]
    done = export(trainer, windows, tmp_path / "out")
    seen = READERS[trainer](tmp_path / "out")
    assert len(seen) == len(windows)
    assert all(np.array_equal(one, windows[index]) for index, one in enumerate(seen))
    assert done.digest == digest_windows(windows)
    assert stream_digest(seen) == done.digest.tokens
    facts = read_export(tmp_path / "out")
    assert facts["digest"]["tokens"] == done.digest.tokens
    assert {one["path"]: one["bytes"] for one in facts["files"]} == {
        path.name: path.stat().st_size for path in (tmp_path / "out").iterdir() if path.name != "export.json"
    }


def test_the_digest_does_not_know_the_width(widths: dict[int, Windows]) -> None:
    assert digest_windows(widths[2]).tokens == digest_windows(widths[4]).tokens


@pytest.mark.parametrize("trainer", COPIES)
def test_a_part_of_the_stage(trainer: str, widths: dict[int, Windows], tmp_path: Path) -> None:
    done = export(trainer, widths[2], tmp_path / "out", 16, 80)
    seen = READERS[trainer](tmp_path / "out")
    assert stream_digest(seen, 16) == done.digest.tokens == digest_windows(widths[2], 16, 80).tokens


def test_mds_shards_are_cut_at_their_size(widths: dict[int, Windows], tmp_path: Path) -> None:
    limit = 20_000
    stream = [tokens for _, _, tokens in widths[2].blocks(0, 160)]
    write_mds(widths[2], (part for block in stream for part in np.array_split(block, 7)), tmp_path, limit)
    shards = sorted(tmp_path.glob("*.mds"))
    assert len(shards) == 9
    assert all(path.stat().st_size <= limit for path in shards)
    assert stream_digest(read_mds(tmp_path)) == digest_windows(widths[2]).tokens


@pytest.mark.parametrize("trainer", TRAINERS)
def test_twice_gives_the_same_bytes_and_replaces_the_first(
    trainer: str, widths: dict[int, Windows], tmp_path: Path
) -> None:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    export(trainer, widths[2], tmp_path / "out")
    first = contents()
    (tmp_path / "out.tmp-1").mkdir()
    export(trainer, widths[2], tmp_path / "out")
    assert contents() == first
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert str(tmp_path) not in first["export.json"].decode() + first["README.md"].decode()
    assert "$" not in first["README.md"].decode()


def test_a_kill_leaves_no_folder_and_the_next_run_the_same_bytes(built: Path, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from smolmix import exports, windows\n"
        "real = windows.Windows.blocks\n"
        "def dies(self, first, end):\n"
        "    for number, block in enumerate(real(self, first, 40)): yield block\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "windows.Windows.blocks = dies\n"
        "exports.export('megatron', windows.open_windows(sys.argv[1]), sys.argv[2])\n"
    )
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", script, built / PLAN, out], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not out.exists()
    assert list(tmp_path.glob("out.tmp-*/windows.bin.tmp-*"))
    export("megatron", open_windows(built / PLAN), out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert stream_digest(read_megatron(out)) == digest_windows(open_windows(built / PLAN)).tokens


def test_what_cannot_be_exported_is_refused(
    widths: dict[int, Windows], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = widths[2]
    with pytest.raises(InputError, match="grain, torchtitan, megatron, mds"):
        export("nemo", windows, tmp_path / "out")
    with pytest.raises(InputError, match="nothing to export"):
        export("mds", windows, tmp_path / "out", 5, 5)
    with pytest.raises(InputError, match="copies nothing and gives the whole stage"):
        export("grain", windows, tmp_path / "out", 0, 8)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.tex").write_text("x", "utf-8")
    with pytest.raises(InputError, match="is not an export"):
        export("mds", windows, tmp_path / "precious")
    assert (tmp_path / "precious/thesis.tex").exists()
    usage = shutil._ntuple_diskusage(1000, 900, 100)  # type: ignore[attr-defined]
    monkeypatch.setattr(exports.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(StorageError, match="take 164,160 bytes and 100 are free"):
        export("mds", windows, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_that_copies_nothing_opens_the_plan(own_build: Path, tmp_path: Path) -> None:
    windows = open_windows(own_build / PLAN)
    export("grain", windows, tmp_path / "out")
    assert digest_windows(open_export(tmp_path / "out")) == digest_windows(windows)
    plan = windows.plan.as_json()
    plan["lock"]["hash"] = "f" * 32
    write_json(own_build / PLAN / "plan.json", plan)
    with pytest.raises(IntegrityError, match="export again"):
        open_export(tmp_path / "out")
    with pytest.raises(InputError, match="is no export"):
        open_export(tmp_path)
    export("mds", windows, tmp_path / "copied")
    with pytest.raises(InputError, match="mds's own format"):
        open_export(tmp_path / "copied")
    (tmp_path / "out/export.json").write_text("{", "utf-8")
    with pytest.raises(IntegrityError, match="damaged"):
        read_export(tmp_path / "out")


def test_the_commands_agree(catalogued: Path, tmp_path: Path) -> None:
    bundle = str(catalogued / "sample/bundles/stage2-blog")

    def run(*words: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.stdout))

    whole = run("digest", "--bundle", bundle)
    made = run("export", "--to", "mds", "--bundle", bundle, "--out", str(tmp_path / "out"))
    assert made["digest"] == whole
    plan = str(catalogued / PLAN)
    assert run("digest", "--plan", plan, "--places") == whole | {"tokens": None}
    part = run("digest", "--plan", plan, "--from", "8", "--to", "16")
    assert (part["first"], part["end"]) == (8, 16)
    assert part["tokens"] != whole["tokens"]
    with pytest.raises(InputError, match="say which stage"):
        CliRunner().invoke(app, ["digest"], catch_exceptions=False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("width", [2, 4])
def test_megatron_core_reads_it(width: int, widths: dict[int, Windows], tmp_path: Path) -> None:
    pytest.importorskip("megatron.core", reason="pip install megatron-core, then run this file again")
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    done = export("megatron", widths[width], tmp_path / "out")
    for mmap in (True, False):
        seen = IndexedDataset(str(tmp_path / "out/windows"), mmap=mmap)
        assert stream_digest([seen[index] for index in range(len(seen))]) == done.digest.tokens


@pytest.mark.filterwarnings("ignore")
def test_megatrons_gpt_dataset_trains_in_the_order(widths: dict[int, Windows], tmp_path: Path) -> None:
    pytest.importorskip("megatron.core", reason="pip install megatron-core, then run this file again")
    from types import SimpleNamespace

    from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import Split

    from smolmix.adapters import model_inputs
    from smolmix.megatron_adapter import ordered_gpt_dataset

    windows = widths[4]
    done = export("megatron", windows, tmp_path / "out")
    tokenizer = SimpleNamespace(vocab_size=257, eod=256, pad=-1, unique_identifiers={"class": "bytes"})

    def dataset(length: int) -> Any:
        config = GPTDatasetConfig(
            random_seed=1, sequence_length=length, blend=([str(tmp_path / "out/windows")], None),
            split="100,0,0", reset_position_ids=True, reset_attention_mask=True, eod_mask_loss=True,
            tokenizer=tokenizer, path_to_cache=str(tmp_path / "cache"),
        )  # fmt: skip
        low = IndexedDataset(str(tmp_path / "out/windows"))
        rows = np.arange(len(low), dtype=np.int32)
        return ordered_gpt_dataset()(low, str(tmp_path), rows, len(low), Split.train, config)

    seen = dataset(512)
    assert len(seen) == 160
    samples = [seen[index] for index in range(160)]
    joined = [np.append(one["tokens"].numpy(), one["labels"][-1:].numpy()) for one in samples]
    assert stream_digest(joined) == done.digest.tokens
    made = model_inputs(windows.read(np.arange(160, dtype=np.int64))[1], 256)
    assert np.array_equal([one["position_ids"].numpy() for one in samples], made.positions)
    assert np.array_equal([one["loss_mask"].numpy() == 0 for one in samples], made.labels == -100)
    with pytest.raises(ValueError, match="windows of 513 ids"):
        dataset(256)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("width", [2, 4])
def test_mosaic_streaming_reads_and_writes_the_same(
    width: int, widths: dict[int, Windows], tmp_path: Path
) -> None:
    streaming = pytest.importorskip("streaming", reason="pip install mosaicml-streaming, then run again")
    windows = widths[width]
    done = export("mds", windows, tmp_path / "out")
    dataset = streaming.StreamingDataset(
        local=str(tmp_path / "out"), shuffle=False, num_canonical_nodes=1, batch_size=1
    )
    assert stream_digest(one["tokens"] for one in dataset) == done.digest.tokens
    assert stream_digest(dataset[index]["tokens"] for index in range(len(dataset))) == done.digest.tokens
    with streaming.MDSWriter(
        out=str(tmp_path / "theirs"), columns={"tokens": f"ndarray:{windows.dtype.name}:513"},
        hashes=["xxh3_64"], size_limit=20_000,
    ) as writer:  # fmt: skip
        for tokens in windows:  # type: ignore[attr-defined]  # a sequence is iterable
            writer.write({"tokens": tokens})
    (tmp_path / "ours").mkdir()
    write_mds(windows, (tokens for _, _, tokens in windows.blocks(0, 160)), tmp_path / "ours", 20_000)
    names = [sorted(path.name for path in (tmp_path / one).iterdir()) for one in ("ours", "theirs")]
    assert names[0] == names[1]
    for path in (tmp_path / "theirs").iterdir():
        assert (tmp_path / "ours" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("nodes", "ranks", "workers"), [(1, 1, 1), (1, 2, 2), (2, 2, 1), (4, 2, 3), (8, 1, 2)]
)
def test_mosaic_streaming_keeps_each_global_batch(nodes: int, ranks: int, workers: int) -> None:
    pytest.importorskip("streaming", reason="pip install mosaicml-streaming, then run again")
    from streaming.base.partition import get_partitions

    batch, samples = 8 // (nodes * ranks), 160
    shares = get_partitions("relaxed", samples, 1, nodes, ranks, workers, batch)
    steps = shares.transpose(3, 2, 0, 1, 4).reshape(-1, 8)
    real = [np.sort(step) for step in steps if (step >= 0).all()]
    assert np.array_equal(np.concatenate(real)[:samples], np.arange(len(real) * 8)[:samples])
    assert len(real) == samples // 8


@pytest.mark.parametrize(
    ("trainer", "library", "package"),
    [
        ("grain", "grain", "grain"),
        ("torchtitan", "numpy", "numpy"),
        ("megatron", "megatron.core", "megatron-core"),
        ("mds", "streaming", "mosaicml-streaming"),
    ],
)
def test_the_code_of_the_readme_runs(
    trainer: str, library: str, package: str, widths: dict[int, Windows], tmp_path: Path
) -> None:
    if importlib.util.find_spec(library.partition(".")[0]) is None:
        pytest.skip(f"pip install {package}, then run this file again")
    export(trainer, widths[2], tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text("utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    length = {"grain": 20, "mds": 160}.get(trainer)
    code += f"\nassert len(dataset) == {length}\n" if length else ""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path / "out", capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
