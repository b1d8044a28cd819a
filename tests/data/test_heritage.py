"""Contents are fetched blob by blob; what is missing, damaged or in another encoding is a counted drop."""

import gzip
import hashlib
from pathlib import Path

import pytest
from tests.data.helpers import real_texts

from smoldata.errors import SourceError
from smoldata.heritage import fetch_content, hashes, retried
from smoldata.pipeline import DropDuplicates, StrictReader
from smoldata.pipeline_types import RawInput
from smoldata.reading import Report
from smoldata.registry import Registry
from smoldata.writing import write_rows


def store(folder: Path, data: bytes) -> str:
    """Keep contents as the public bucket does; return the blob's identifier."""
    blob = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    folder.mkdir(exist_ok=True)
    (folder / blob).write_bytes(gzip.compress(data))
    return blob


def test_a_stack_of_identifiers_becomes_documents(
    tmp_path: Path, shipped: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = real_texts(3)
    contents = tmp_path / "contents"
    blobs = [store(contents, text.encode()) for text in texts]
    blobs.append(store(contents, "é".encode("latin-1") * 50))
    cut = store(contents, b"cut" * 100)
    (contents / cut).write_bytes((contents / cut).read_bytes()[:12])
    rows = [
        {"blob_id": blob, "src_encoding": "UTF-8", "path": f"{number}.py", "score": 3.5}
        for number, blob in enumerate([*blobs, cut, "0" * 40, "../secret"])
    ]
    rows.append({"blob_id": blobs[3], "src_encoding": "ISO-8859-1", "path": "latin.py", "score": None})
    write_rows(tmp_path / "a.parquet", rows, "parquet", floats=("score",))
    monkeypatch.setenv("SMOLDATA_CONTENTS_URL", f"file://{contents}/{{blob_id}}")

    report = Report()
    raw = RawInput(str(tmp_path / "a.parquet"), "a.parquet", 1, "x", None)
    reader = StrictReader(shipped.source("stack-edu-Python"), [raw], report, fetch=True)
    documents = list(DropDuplicates(report).run(reader.run()))
    assert [document.text for document in documents] == [*texts, "é" * 50]
    assert [document.id for document in documents] == [*blobs[:3], blobs[3]]
    assert documents[0].metadata["scores"] == [("score", 3.5)]
    assert report.dropped == {"bad_encoding": 1, "damaged_blob": 1, "missing_blob": 1, "bad_blob_id": 1}


def test_a_store_that_cannot_be_read_is_not_a_drop(tmp_path: Path) -> None:
    (tmp_path / ("a" * 40)).mkdir()
    with pytest.raises(SourceError, match="contents cannot be read at"):
        fetch_content({"blob_id": "a" * 40}, "blob_id", f"file://{tmp_path}/{{blob_id}}")


def test_an_address_that_needs_another_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(*_arguments: object, **_options: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.open", not_installed)
    with pytest.raises(SourceError, match="make setup-curate"):
        fetch_content({"blob_id": "a" * 40}, "blob_id", "s3://none/{blob_id}")


def test_another_file_under_a_blob_s_name_is_a_counted_drop(tmp_path: Path) -> None:
    data = b"x = 1\n"
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    for name in (hashlib.sha1(data, usedforsecurity=False).hexdigest(), git, "f" * 40):
        (tmp_path / name).write_bytes(gzip.compress(data))
    address = f"file://{tmp_path}/{{blob_id}}"
    assert hashes(data)[1] == git
    for name in hashes(data):
        assert fetch_content({"blob_id": name}, "blob_id", address) == ("x = 1\n", "")
    assert fetch_content({"blob_id": "f" * 40}, "blob_id", address) == (None, "wrong_hash")


def test_a_transient_fault_is_tried_again() -> None:
    answers: list[bytes | Exception] = [SourceError("busy"), SourceError("busy"), b"there"]
    pauses: list[float] = []

    def read() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retried(read, pauses.append) == b"there"
    assert pauses == sorted(pauses)
    assert len(pauses) == 2
    with pytest.raises(SourceError, match="busy"):
        retried(lambda: (_ for _ in ()).throw(SourceError("busy")), pauses.append)
