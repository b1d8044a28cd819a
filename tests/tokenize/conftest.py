"""Real documents for the tokenizer's tests: modules of Python's standard library."""

import os
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smoldata.documents import DICTIONARY_COLUMNS, DOCUMENT_MANIFEST_SCHEMA, DOCUMENT_SCHEMA
from smoldata.files import xxh3_128

Documents = dict[str, Sequence[str]]
"""File name → texts."""


def make_documents(folder: Path, source: str, files: Documents) -> Path:
    """Write a documents folder as the data step does; return the source's folder."""
    target = folder / source
    target.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, texts in files.items():
        path = target / name
        documents = [
            {"id": f"{source}/{Path(name).stem}/{row}", "text": text, "source": source, "scores": []}
            for row, text in enumerate(texts)
        ]
        table = pa.Table.from_pylist(documents, schema=DOCUMENT_SCHEMA)
        rows_a_group = max(len(texts) // 2, 1)
        pq.write_table(
            table, path, compression="zstd", row_group_size=rows_a_group, use_dictionary=DICTIONARY_COLUMNS
        )
        rows.append(_manifest_row(source, path, texts))
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_MANIFEST_SCHEMA), target / "manifest.parquet")
    return target


def _manifest_row(source: str, path: Path, texts: Sequence[str]) -> dict[str, object]:
    return {
        "format_version": 1,
        "source": source,
        "path": path.name,
        "bytes": path.stat().st_size,
        "documents": len(texts),
        "text_bytes": sum(len(text.encode()) for text in texts),
        "text_characters": sum(map(len, texts)),
        "read": len(texts),
        "kept": len(texts),
        "dropped": [],
        "xxh3_128": xxh3_128(path),
        "sha256": "",
        "input_hash": "",
        "code_version": "",
    }


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder but the lock, by relative path."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="session")
def write_documents() -> Callable[[Path, str, Documents], Path]:
    """Return the function that writes a documents folder."""
    return make_documents


@pytest.fixture(scope="session")
def folder_bytes() -> Callable[[Path], dict[str, bytes]]:
    """Return the function that reads a folder whole."""
    return bytes_of


@pytest.fixture(scope="session")
def library_texts() -> list[str]:
    """Return real documents: 60 modules of the standard library, cut into pieces of all sizes, about 1 MB."""
    root = Path(sysconfig.get_paths()["stdlib"])
    texts = []
    for path in sorted(root.glob("*.py"))[:60]:
        text = path.read_text(encoding="utf-8", errors="replace")
        size = 400 + 37 * (len(texts) % 50)
        texts += [text[i : i + size] for i in range(0, min(len(text), 20_000), size)]
    return texts


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory, library_texts: list[str]) -> Path:
    """Return a documents folder with one source, ``library``, in five files, one of them empty."""
    folder = tmp_path_factory.mktemp("documents")
    files = {f"{i:05d}.parquet": library_texts[i::4] for i in range(4)}
    make_documents(folder, "library", files | {"00004.parquet": []})
    return folder


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never wait for a network, and never read a vocabulary from the machine's own hub cache."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", os.devnull)
    monkeypatch.delenv("SMOLTOK_VOCABULARY", raising=False)
