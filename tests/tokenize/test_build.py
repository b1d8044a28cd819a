"""Building: the right bytes, the same bytes, and only what is stale is made again."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import smoltok
from smoldata.errors import BusyError, IntegrityError, SourceError
from smoldata.files import single_writer, xxh3_128
from smoltok import LLAMA_3_2, open_shard, read_shard
from smoltok.build import BuildReport, build_tokens, is_current
from smoltok.currency import BYTES_DECIDED_BY
from smoltok.manifest import read_manifest
from smoltok.ordering import DocumentOrder
from smoltok.split import is_validation

SHARE = Fraction(1, 20)
Bytes = Callable[[Path], dict[str, bytes]]
Write = Callable[[Path, str, dict[str, Sequence[str]]], Path]


def build(documents: Path, tokens: Path, **changes: object) -> BuildReport:
    settings = {"validation_share": SHARE, **changes}
    return build_tokens("library", documents=documents, tokens=tokens, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def built(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tokens folder made without interruption by one process."""
    tokens = tmp_path_factory.mktemp("tokens")
    build(documents, tokens)
    return tokens


def test_the_round_trip_is_exhaustive(documents: Path, built: Path, library_texts: list[str]) -> None:
    expected, manifest = smoltok.encode(library_texts), read_manifest(built / "library")
    seen = {row.path: list(read_shard(built / "library" / row.path)) for row in manifest}
    for number in range(4):
        texts = library_texts[number::4]
        sides: tuple[list[int], list[int]] = ([], [])
        for row, text in enumerate(texts):
            sides[is_validation(text, SHARE)].append(row)
        for path, rows in zip((f"{number:05d}.ds", f"validation/{number:05d}.ds"), sides, strict=True):
            wanted = [(f"library/{number:05d}/{row}", expected[4 * row + number]) for row in rows]
            assert seen.pop(path, []) == wanted
    assert not seen


def test_sidecar_maps_tokens_to_file_and_row_both_ways(documents: Path, built: Path) -> None:
    path = built / "library" / "00001.ds"
    shard, table = open_shard(path), pq.read_table(documents / "library" / "00001.parquet")
    for entry, row in enumerate(shard.docs().to_pylist()):
        assert row["file"] == "00001.parquet"
        assert table["id"][row["row"]].as_py() == row["id"]
        assert row["end"] == shard.ends[entry]
        assert shard.entry_at(row["begin"]) == shard.entry_at(row["end"] - 1) == entry
        assert shard.ids[row["end"] - 1] == LLAMA_3_2.eos_id
        assert smoltok.encode([table["text"][row["row"]].as_py()])[0] == shard.entry(entry)[:-1].tolist()


def test_manifest_rows_say_what_is_on_disk(documents: Path, built: Path, library_texts: list[str]) -> None:
    rows = read_manifest(built / "library")
    assert [row.path for row in rows] == sorted(
        (row.path for row in rows), key=lambda path: (path.startswith("validation"), path)
    )
    assert sum(row.documents for row in rows) == len(library_texts)
    assert sum(row.text_bytes for row in rows) == sum(len(text.encode()) for text in library_texts)
    assert sum(row.text_characters for row in rows) == sum(map(len, library_texts))
    for row in rows:
        shard = open_shard(built / "library" / row.path)
        assert (row.tokens, row.bytes) == (len(shard.ids), row.tokens * 4)


def test_pool_gives_the_same_bytes(
    folder_bytes: Bytes, documents: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smoltok.pool._WORTH_A_CREW_BYTES", 0)
    build(documents, tmp_path, workers=2)
    assert folder_bytes(tmp_path) == folder_bytes(built)


def test_a_second_run_does_nothing(documents: Path, built: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*.ds")}
    report = build(documents, built)
    assert (report.made, report.reasons, report.removed) == (0, (), 0)
    assert before == {path: path.stat().st_mtime_ns for path in built.rglob("*.ds")}
    assert is_current(["library"], documents=documents, tokens=built, validation_share=SHARE)


def test_is_current_loads_no_engine(documents: Path, built: Path) -> None:
    code = (
        "import sys; from fractions import Fraction; from pathlib import Path;"
        "from smoltok.build import is_current;"
        "print(is_current(['library'], documents=Path(sys.argv[1]), tokens=Path(sys.argv[2]),"
        "validation_share=Fraction(1, 20)),"
        "[m for m in ('fastokens', 'tokenizers', 'tiktoken', 'datatrove', 'polars') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(documents), str(built)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True []"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"validation_share": Fraction(1, 10)}, "the validation share changed (1/20 → 1/10)"),
        ({"order": DocumentOrder(seed=6)}, "the document order changed (file → documents, seed 6)"),
        (
            {"tokenizer": replace(LLAMA_3_2, eos_id=128_009)},
            "the end-of-document id changed (128001 → 128009)",
        ),
        ({"tokenizer": replace(LLAMA_3_2, name="llama")}, "the tokenizer changed"),
    ],
)
def test_a_changed_setting_makes_shards_stale_and_says_why(
    folder_bytes: Bytes, changes: dict[str, object], reason: str, documents: Path, built: Path, tmp_path: Path
) -> None:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    report = build(documents, tmp_path, **changes)
    assert len(report.reasons) == 4
    assert all(seen.startswith(reason) for _, seen in report.reasons)
    fresh = tmp_path / "fresh"
    build(documents, fresh, **changes)
    assert folder_bytes(tmp_path / "library") == folder_bytes(fresh / "library")


def test_changed_code_makes_shards_stale(
    documents: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    for module in ("smoltok.currency", "smoltok.build"):
        monkeypatch.setattr(f"{module}.code_version", lambda: "other")
    assert {reason.split(" (")[0] for _, reason in build(documents, tmp_path).reasons} == {"the code changed"}


def test_the_code_version_covers_every_module_that_decides_bytes() -> None:
    """Whatever the worker imports from the package can change a shard, so it must be in the digest."""
    code = (
        "import sys, smoltok.tokenizing, smoltok.custom;"
        "print(*[m for m in sys.modules if m.startswith('smoltok.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {f"{name.partition('.')[2]}.py" for name in done.stdout.split()}
    assert imported - set(BYTES_DECIDED_BY) <= {"cache.py"}  # It checks what it gives back.


def test_changed_documents_make_only_their_shards_again(
    folder_bytes: Bytes,
    write_documents: Write,
    documents: Path,
    built: Path,
    tmp_path: Path,
    library_texts: list[str],
) -> None:
    shutil.copytree(documents, tmp_path / "documents")
    shutil.copytree(built, tmp_path / "tokens")
    files = {
        f"{i:05d}.parquet": library_texts[i::4] for i in range(3)
    }  # The fourth and the empty one are gone.
    write_documents(tmp_path / "documents", "library", files | {"00001.parquet": ["new text"] * 30})
    (tmp_path / "documents" / "library" / "00003.parquet").unlink()
    report = build(tmp_path / "documents", tmp_path / "tokens")
    assert [path for path, _ in report.reasons] == ["00001.parquet"]
    assert report.reasons[0][1].startswith("the documents changed")
    build(tmp_path / "documents", tmp_path / "fresh")
    assert folder_bytes(tmp_path / "tokens") == folder_bytes(tmp_path / "fresh")


@pytest.mark.parametrize(
    "name", ["00002.ds", "00002.ds.index", "00002.ds.docs.parquet", "validation/00002.ds.metadata"]
)
def test_a_missing_or_cut_file_is_made_again(
    folder_bytes: Bytes, name: str, documents: Path, built: Path, tmp_path: Path
) -> None:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    (tmp_path / "library" / name).unlink()
    (tmp_path / "library" / "00000.ds").write_bytes(b"1234")
    report = build(documents, tmp_path)
    assert [path for path, _ in report.reasons] == ["00000.parquet", "00002.parquet"]
    assert "has 4 bytes, its manifest says" in report.reasons[0][1]
    assert report.reasons[1][1].endswith("is missing")
    assert folder_bytes(tmp_path) == folder_bytes(built)


def test_a_damaged_manifest_is_made_again(
    folder_bytes: Bytes, documents: Path, built: Path, tmp_path: Path
) -> None:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    (tmp_path / "library" / "manifest.parquet").write_bytes(b"PAR1 nonsense")
    build(documents, tmp_path)
    assert folder_bytes(tmp_path) == folder_bytes(built)


def test_leftovers_of_a_dead_run_are_removed(
    folder_bytes: Bytes, documents: Path, built: Path, tmp_path: Path
) -> None:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    (tmp_path / "library" / "00000.ds.tmp-1").write_bytes(b"half")
    (tmp_path / "library" / "00017.ds").write_bytes(b"old")
    (tmp_path / "library" / "notes.txt").write_text("mine")
    build(documents, tmp_path)
    (tmp_path / "library" / "notes.txt").unlink()  # What is not ours is left alone.
    assert folder_bytes(tmp_path) == folder_bytes(built)


_KILLED_AT_EACH_POINT = """
import os, shutil, signal, sys
from fractions import Fraction
from pathlib import Path
from smoltok import LLAMA_3_2
from smoltok.build import build_tokens
from smoltok.engines import load

documents, folder = Path(sys.argv[1]), Path(sys.argv[2])
real = {name: getattr(os, name) for name in ("replace",)}


def build(tokens, die_at):
    # In a child, because it is killed: just before it gives the die_at-th file its final name.
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    calls = 0

    def counted(name):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real[name](*arguments, **options)
        return call

    for name in real:
        setattr(os, name, counted(name))
    os.fsync = lambda descriptor: None  # Guards against a power cut, not against a kill; slow here.
    build_tokens("library", documents=documents, tokens=tokens, validation_share=Fraction(1, 2))
    os._exit(0)


def read(tokens):
    files = (path for path in tokens.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(tokens).as_posix(): path.read_bytes() for path in files}


load(LLAMA_3_2)  # Before the forks; its threads start with the first text.
assert build(folder / "whole", 0) == 0
whole, point, survived = read(folder / "whole"), 0, False
while not survived:
    point += 1
    survived = build(folder / str(point), point) == 0
    assert build(folder / str(point), 0) == 0
    assert read(folder / str(point)) == whole, f"killed at {point}"
    shutil.rmtree(folder / str(point))
print(point)
"""


def test_kill_at_every_write_point_and_run_again_gives_the_same_bytes(
    write_documents: Write, tmp_path: Path, library_texts: list[str]
) -> None:
    write_documents(tmp_path, "library", {f"{i:05d}.parquet": library_texts[i : i + 8] for i in range(2)})
    script = tmp_path / "run.py"
    script.write_text(_KILLED_AT_EACH_POINT)
    command = [sys.executable, str(script), str(tmp_path), str(tmp_path / "tokens")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 4 * 4  # Four shards of four files, and the manifest.


_KILLED = """
import sys
from fractions import Fraction
from pathlib import Path
import smoltok.pool
from smoltok.build import build_tokens
smoltok.pool._WORTH_A_CREW_BYTES = 0
if __name__ == "__main__":
    build_tokens("library", documents=Path(sys.argv[1]), tokens=Path(sys.argv[2]),
                 validation_share=Fraction(1, 20), workers=2,
                 advance=lambda documents, source: print("a task is done", flush=True))
"""


def test_a_run_with_workers_is_killed_and_goes_on(
    folder_bytes: Bytes, documents: Path, built: Path, tmp_path: Path
) -> None:
    script = tmp_path / "run.py"
    script.write_text(_KILLED)
    tokens = tmp_path / "tokens"
    command = [sys.executable, str(script), str(documents), str(tokens)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"a task is done\n"
        process.kill()
        process.stdout.read()  # Ends with the last worker: what they still do must not meet the next run.
    for row in read_manifest(tokens / "library"):
        assert open_shard(tokens / "library" / row.path).metadata.tokens == row.tokens
    build(documents, tokens)
    assert folder_bytes(tokens) == folder_bytes(built)


def test_documents_that_changed_under_their_manifest_are_found(documents: Path, tmp_path: Path) -> None:
    shutil.copytree(documents, tmp_path / "documents")
    path = tmp_path / "documents" / "library" / "00002.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match=r"00002.parquet is not the file that its manifest lists"):
        build(tmp_path / "documents", tmp_path / "tokens")


def test_no_documents_is_an_error_that_says_what_to_do(write_documents: Write, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="run the data step first"):
        build(tmp_path, tmp_path / "tokens")
    write_documents(tmp_path, "library", {"00000.parquet": []})
    with pytest.raises(SourceError, match="holds no documents"):
        build(tmp_path, tmp_path / "tokens")


def test_text_that_is_not_utf8_or_missing_is_refused_with_its_row(
    write_documents: Write, tmp_path: Path
) -> None:
    folder = write_documents(tmp_path, "library", {"00000.parquet": ["a", "b"]})
    bad = pa.array([b"a", b"b", b"\xed\xa0\x80"], pa.binary()).view(pa.string())
    for column, what in ((bad, "is not UTF-8"), (pa.array(["a", "b", None]), "is missing")):
        pq.write_table(pa.table({"id": ["0", "1", "2"], "text": column}), folder / "00000.parquet")
        manifest = pq.read_table(folder / "manifest.parquet").to_pylist()
        manifest[0] |= {"documents": 3, "xxh3_128": xxh3_128(folder / "00000.parquet")}
        pq.write_table(pa.Table.from_pylist(manifest), folder / "manifest.parquet")
        with pytest.raises(SourceError, match=f"00000.parquet, row 2: the text {what}"):
            build(tmp_path, tmp_path / "tokens")
        assert not list((tmp_path / "tokens").rglob("*.ds"))


def test_a_second_run_at_the_same_time_is_told_to_wait(documents: Path, tmp_path: Path) -> None:
    with single_writer(tmp_path / "library"), pytest.raises(BusyError, match="is in use by process"):
        build(documents, tmp_path)


@pytest.mark.parametrize("order", [DocumentOrder(), DocumentOrder(seed=6)])
def test_long_documents_are_encoded_in_pieces_with_the_same_bytes(
    folder_bytes: Bytes,
    order: DocumentOrder,
    documents: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build(documents, tmp_path / "whole", order=order)
    monkeypatch.setattr("smoltok.sources._BATCH_BYTES", 1)  # A document a batch.
    monkeypatch.setattr("smoltok.sources.LONG_BYTES", 100)
    build(documents, tmp_path / "pieces", order=order)
    assert folder_bytes(tmp_path / "pieces") == folder_bytes(tmp_path / "whole")


def test_a_long_text_that_is_not_utf8_is_refused_with_its_row(write_documents: Write, tmp_path: Path) -> None:
    folder = write_documents(tmp_path, "library", {"00000.parquet": ["a", "b"]})
    bad = pa.array([b"a", b"word " * 9_000_000 + b"\xed\xa0\x80"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": ["0", "1"], "text": bad}), folder / "00000.parquet")
    manifest = pq.read_table(folder / "manifest.parquet").to_pylist()
    manifest[0] |= {"xxh3_128": xxh3_128(folder / "00000.parquet")}
    pq.write_table(pa.Table.from_pylist(manifest), folder / "manifest.parquet")
    with pytest.raises(SourceError, match=r"row 1: the text is not UTF-8 at byte 45000000"):
        build(tmp_path, tmp_path / "tokens")
    assert not list((tmp_path / "tokens").rglob("*.ds"))


def test_a_build_does_not_wake_pandas(documents: Path, tmp_path: Path) -> None:
    """Arrow imports it, where it is installed, for a list or a number given to it: seconds for nothing."""
    code = (
        "import sys; from fractions import Fraction; from pathlib import Path;"
        "from smoltok.build import build_tokens;"
        "build_tokens('library', documents=Path(sys.argv[1]), tokens=Path(sys.argv[2]),"
        "validation_share=Fraction(1, 20)); print('pandas' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(documents), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


def test_an_empty_document_is_one_eos(write_documents: Write, tmp_path: Path) -> None:
    write_documents(tmp_path, "library", {"00000.parquet": ["", "a", ""]})
    build(tmp_path, tmp_path / "tokens", validation_share=Fraction(0))
    assert [ids for _, ids in read_shard(tmp_path / "tokens" / "library" / "00000.ds")] == [[], [64], []]
