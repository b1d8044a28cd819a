"""Documents end to end with real datatrove on real text: counted, resumable, the same bytes, never half."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.helpers import own_source, real_texts, write_registry

from smoldata.build import Built, build_documents, built_documents
from smoldata.documents import DOCUMENT_MANIFEST_SCHEMA, DOCUMENT_SCHEMA
from smoldata.errors import BusyError, SourceError
from smoldata.files import single_writer, xxh3_128
from smoldata.pipeline_types import Limit
from smoldata.registry import load_registry
from smoldata.writing import write_rows


def lay(folder: Path, texts: list[str], files: int = 3, format_: str = "jsonl.zst") -> Path:
    """Write texts as raw files of own data, one after the other."""
    for number in range(files):
        rows: list[dict[str, Any]] = [
            {"text": text, "id": f"id-{at}"} for at, text in enumerate(texts) if at % files == number
        ]
        write_rows(folder / f"part-{number}.{format_}", rows, format_)
    return folder


def build(
    raw: Path,
    out: Path,
    *,
    workers: int = 1,
    tasks: int | None = 1000,
    limit: Limit | None = None,
    **changes: object,
) -> Built:
    """Build one source of own data."""
    columns: dict[str, object] = {"text": ["text"], "id": "id"}
    entry = own_source(raw, **({"columns": columns} | changes))
    registry = load_registry(write_registry(raw.parent / f"{raw.name}.yaml", {"mine": entry}))
    (built,) = build_documents(
        ["mine"], registry=registry, build=out, tasks=tasks, workers=workers, limit=limit
    )
    return built


def manifest(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder(out) / "manifest.parquet").to_pylist()
    return rows


def folder(out: Path) -> Path:
    return out / "sample" / "documents" / "mine"


def files(out: Path) -> dict[str, bytes]:
    """Return every file under documents but the lock."""
    root = out / "sample" / "documents"
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_contract(tmp_path: Path) -> None:
    texts = real_texts(30)
    built = build(lay(tmp_path / "raw", texts), tmp_path / "out", licence="PSF-2.0")
    rows = list(built_documents(folder(tmp_path / "out")))
    assert sorted(row["text"] for row in rows) == sorted(texts)
    assert len({row["id"] for row in rows}) == len(rows) == built.kept == 30
    assert {(row["source"], row["language"], row["license"]) for row in rows} == {
        ("mine", "Python", "PSF-2.0")
    }
    for row in manifest(tmp_path / "out"):
        path = folder(tmp_path / "out") / row["path"]
        table = pq.read_table(path)
        assert table.schema.equals(DOCUMENT_SCHEMA)
        assert (row["bytes"], row["xxh3_128"]) == (path.stat().st_size, xxh3_128(path))
        assert row["documents"] == row["kept"] == table.num_rows
        assert row["read"] == row["kept"] + sum(count for _, count in row["dropped"])
        assert row["text_characters"] == sum(map(len, table["text"].to_pylist()))
        assert row["text_bytes"] == sum(len(text.encode()) for text in table["text"].to_pylist())
    schema = pq.read_schema(folder(tmp_path / "out") / "manifest.parquet")
    assert schema.equals(DOCUMENT_MANIFEST_SCHEMA)


def test_the_same_bytes_for_one_and_two_workers(tmp_path: Path) -> None:
    raw = lay(tmp_path / "raw", real_texts(30))
    build(raw, tmp_path / "one", workers=1)
    build(raw, tmp_path / "two", workers=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_the_same_bytes_wherever_the_folders_are(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    build(lay(tmp_path / "raw", real_texts(10)), tmp_path / "one")
    build(lay(tmp_path / "elsewhere" / "raw", real_texts(10)), tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_copies_are_dropped_within_and_across_files(tmp_path: Path) -> None:
    texts = real_texts(9)
    planted = [*texts, texts[0], texts[1], texts[4], texts[0]]
    built = build(lay(tmp_path / "raw", planted), tmp_path / "out")
    assert built.dropped == {"duplicate": 4}
    rows = list(built_documents(folder(tmp_path / "out")))
    assert sorted(row["text"] for row in rows) == sorted(texts)
    assert sum(row["text_bytes"] for row in manifest(tmp_path / "out")) == sum(len(t.encode()) for t in texts)


def test_a_second_run_builds_nothing(tmp_path: Path) -> None:
    raw = lay(tmp_path / "raw", real_texts(10))
    assert build(raw, tmp_path / "out").fresh
    before = {path: path.stat().st_mtime_ns for path in folder(tmp_path / "out").iterdir()}
    again = build(raw, tmp_path / "out")
    assert not again.fresh
    assert again.kept == 10
    assert {path: path.stat().st_mtime_ns for path in folder(tmp_path / "out").iterdir()} == before


def test_stale_outputs_are_found_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out = lay(tmp_path / "raw", real_texts(12), files=3), tmp_path / "out"
    build(raw, out)
    (raw / "part-2.jsonl.zst").unlink()
    assert build(raw, out).kept == 8
    assert "its inputs or settings changed" in capsys.readouterr().err
    assert {path.name for path in folder(out).iterdir()} == {
        "00000.parquet",
        "00001.parquet",
        "manifest.parquet",
        "statistics.parquet",
    }
    (folder(out) / "00001.parquet").write_bytes(b"half")
    assert build(raw, out).kept == 8
    assert "00001.parquet is missing or was changed" in capsys.readouterr().err
    assert build(raw, out, language="Rust").fresh


def test_tasks_decide_the_files_not_the_documents(tmp_path: Path) -> None:
    raw = lay(tmp_path / "raw", real_texts(12), files=4)
    assert build(raw, tmp_path / "one", tasks=1).files == 1
    assert build(raw, tmp_path / "three", tasks=3).files == 3
    one, three = (
        {(row["id"], row["text"]) for row in built_documents(folder(tmp_path / name))}
        for name in ("one", "three")
    )
    assert one == three


def test_small_files_share_a_task(tmp_path: Path) -> None:
    raw = lay(tmp_path / "raw", real_texts(12), files=4)
    assert build(raw, tmp_path / "out", tasks=None).files == 1
    large = ["".join(real_texts(40)) * 2 + str(number) for number in range(6)]
    raw = lay(tmp_path / "large", large, files=6, format_="jsonl")
    size = sum(path.stat().st_size for path in raw.iterdir())
    assert build(raw, tmp_path / "more", tasks=None).files == -(-size // (512 << 10)) > 1


@pytest.mark.parametrize(
    ("limit", "kept"), [(Limit(documents=4), 4), (Limit(bytes=1), 1), (Limit(tokens=1), 1), (Limit(), 12)]
)
def test_limits_stop_a_trial(tmp_path: Path, limit: Limit, kept: int) -> None:
    built = build(lay(tmp_path / "raw", real_texts(12)), tmp_path / "out", limit=limit)
    assert (built.kept, built.read) == (kept, kept)


def test_a_cut_file_leaves_nothing_under_a_final_name(tmp_path: Path) -> None:
    raw = lay(tmp_path / "raw", real_texts(12))
    data = (raw / "part-1.jsonl.zst").read_bytes()
    (raw / "part-1.jsonl.zst").write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=r"part-1.jsonl.zst: cut short"):
        build(raw, tmp_path / "out")
    assert not folder(tmp_path / "out").exists()
    (raw / "part-1.jsonl.zst").write_bytes(data)
    assert build(raw, tmp_path / "out").kept == 12


def test_a_source_without_documents_says_why(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_rows(raw / "a.jsonl", [{"text": "", "id": "1"}, {"text": "short", "id": "2"}], "jsonl")
    with pytest.raises(
        SourceError, match=r"2 rows read in .*a.jsonl, dropped: 1 empty_text, 1 too_short; check its"
    ):
        build(raw, tmp_path / "out")
    assert not folder(tmp_path / "out").exists()


def test_a_wrong_column_lists_the_right_ones(tmp_path: Path) -> None:
    raw = lay(tmp_path / "raw", real_texts(3))
    with pytest.raises(SourceError, match=r"no column body; available: id, text"):
        build(raw, tmp_path / "out", columns={"text": ["body"]})


def test_several_text_columns_scores_and_metadata(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    question, answer = real_texts(2)
    row = {"q": question, "a": answer, "score": 3.5, "level": 2, "kept": {"x": [1]}, "gone": None}
    write_rows(raw / "a.jsonl", [row], "jsonl")
    columns = {"text": ["q", "a"], "scores": ["score", "level", "gone"], "metadata": ["kept", "gone"]}
    build(raw, tmp_path / "out", columns=columns)
    (found,) = built_documents(folder(tmp_path / "out"))
    assert found["text"] == f"{question}\n\n{answer}"
    assert dict(found["scores"]) == {"score": 3.5, "level": 2.0}
    assert json.loads(found["metadata"]) == {"kept": {"x": [1]}}


def test_conversations_become_their_contents(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    messages = [
        {"role": "user", "content": "Why is that so?"},
        {"role": "assistant", "content": "Because of this."},
    ]
    write_rows(raw / "a.jsonl", [{"messages": messages}], "jsonl")
    build(raw, tmp_path / "out", kind="chat", columns={"text": ["messages"]})
    (found,) = built_documents(folder(tmp_path / "out"))
    assert found["text"] == "Why is that so?\n\nBecause of this."


def test_a_second_run_beside_the_first_is_told(tmp_path: Path) -> None:
    raw = lay(tmp_path / "raw", real_texts(3))
    with (
        single_writer(tmp_path / "out" / "sample" / "documents"),
        pytest.raises(BusyError, match=f"in use by process {os.getpid()}"),
    ):
        build(raw, tmp_path / "out")


KILL = """
import os, signal, sys
from pathlib import Path
import {module} as step
from smoldata.registry import load_registry
from smoldata.build import build_documents
whole, count = step.{name}, 0
def die(*arguments, **named):
    global count
    count += 1
    if count == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments, **named)
step.{name} = die
registry = load_registry(Path(sys.argv[1]))
build_documents(["mine"], registry=registry, build=Path(sys.argv[2]), tasks=1000, workers=1)
"""


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        ("smoldata.pipeline", "write_json", 1),
        ("smoldata.pipeline", "write_json", 3),
        ("smoldata.merge", "_publish", 2),
        ("smoldata.merge", "xxh3_128", 3),
        ("smoldata.files", "fsync", 14),
        ("smoldata.build", "merge", 1),
    ],
)
def test_killed_anywhere_and_run_again_gives_the_same_bytes(
    tmp_path: Path, module: str, name: str, call: int
) -> None:
    texts = real_texts(12)
    raw = lay(tmp_path / "raw", [*texts, texts[2]])
    build(raw, tmp_path / "whole")
    script = tmp_path / "kill.py"
    script.write_text(KILL.format(module=module, name=name, call=call), encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path / "raw.yaml"), str(tmp_path / "killed")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert not (folder(tmp_path / "killed") / "manifest.parquet").exists()
    build(raw, tmp_path / "killed")
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_ctrl_c_keeps_finished_work_and_ends_cleanly(tmp_path: Path) -> None:
    raw = lay(tmp_path / "raw", real_texts(40) * 10, files=400)
    registry = write_registry(tmp_path / "own.yaml", {"mine": own_source(raw)})
    out = tmp_path / "out"
    command = [sys.executable, "-m", "smoldata.cli", "build", "--source", "mine", "--registry", str(registry)]
    process = subprocess.Popen(
        [*command, "--build", str(out), "--tasks", "400"], stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 60
    while not list(out.rglob("*.json")) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "run the same command again" in err
    assert "Traceback" not in err
    assert not folder(out).exists()


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    raw = lay(tmp_path / "raw", real_texts(40), files=1)
    registry = write_registry(tmp_path / "own.yaml", {"mine": own_source(raw)})
    limited = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from smoldata.cli import main\nmain()\n"
    )
    command = [sys.executable, "-c", limited, "build", "--source", "mine", "--registry", str(registry)]
    command += ["--build", str(tmp_path / "out"), "--workers", "1"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert "would pass the size limit" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not folder(tmp_path / "out").exists()
    assert build(raw, tmp_path / "out").kept == 40


lines = st.one_of(st.sampled_from(real_texts(6)), st.just(""), st.none(), st.integers(), st.just("tiny"))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(lines, min_size=1, max_size=30), count=st.integers(1, 3))
def test_read_is_kept_plus_dropped(
    tmp_path_factory: pytest.TempPathFactory, values: list[object], count: int
) -> None:
    base = tmp_path_factory.mktemp("law")
    for number in range(count):
        rows: list[dict[str, Any]] = [{"text": value, "id": None} for value in values[number::count]]
        if rows:
            write_rows(base / "raw" / f"{number}.jsonl", rows, "jsonl")
    distinct = {value for value in values if isinstance(value, str) and len(value) > 200}
    try:
        built = build(base / "raw", base / "out")
    except SourceError:
        assert not distinct
        return
    assert built.read == len(values) == built.kept + sum(built.dropped.values())
    assert {row["text"] for row in built_documents(folder(base / "out"))} == distinct
    assert built.kept == len(distinct)
