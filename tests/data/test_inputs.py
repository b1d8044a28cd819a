"""Where raw files come from: the sample, own data (local or remote), the hub."""

from pathlib import Path

import fsspec
import pytest
from tests.data.helpers import own_source, write_registry

from smoldata.errors import SourceError
from smoldata.heritage import contents_url
from smoldata.inputs import has_text, list_inputs
from smoldata.registry import Registry, load_registry
from smoldata.writing import write_rows


def registry_of(tmp_path: Path, **changes: object) -> Registry:
    return load_registry(
        write_registry(tmp_path / "own.yaml", {"mine": own_source(tmp_path / "raw", **changes)})
    )


def test_own_files_are_sorted_and_relative(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/c.jsonl", "a/b.txt"):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_text("{}\n", encoding="utf-8")
    known = registry_of(tmp_path, location={"url": str(tmp_path / "raw"), "files": ["**/*.jsonl"]})
    inputs = list_inputs(known.source("mine"), known, "sample", tmp_path)
    assert [raw.relative for raw in inputs] == ["a/c.jsonl", "b.jsonl"]
    assert {raw.bytes for raw in inputs} == {3}


def test_one_file_of_ones_own(tmp_path: Path) -> None:
    write_rows(tmp_path / "x.jsonl", [{"text": "x"}], "jsonl")
    known = registry_of(tmp_path, location={"url": str(tmp_path / "x.jsonl")})
    assert [raw.relative for raw in list_inputs(known.source("mine"), known, "hub", tmp_path)] == ["x.jsonl"]


def test_a_relative_place_is_relative_to_its_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "deep" / "raw" / "x.jsonl", [{"text": "x"}], "jsonl")
    entry = own_source(tmp_path, location={"url": "raw"})
    known = load_registry(write_registry(tmp_path / "deep" / "own.yaml", {"mine": entry}))
    monkeypatch.chdir(tmp_path)
    assert [raw.relative for raw in list_inputs(known.source("mine"), known, "hub", tmp_path)] == ["x.jsonl"]
    assert str(tmp_path) not in known.source("mine").model_dump_json()


def test_a_remote_folder_is_listed(tmp_path: Path) -> None:
    for name in ("a.jsonl", "sub/b.jsonl", "c.txt"):
        with fsspec.open(f"memory://inputs/{name}", "wb") as file:
            file.write(b"{}\n")
    known = registry_of(tmp_path, location={"url": "memory://inputs", "files": ["**/*.jsonl"]})
    inputs = list_inputs(known.source("mine"), known, "sample", tmp_path)
    assert [(raw.relative, raw.address) for raw in inputs] == [
        ("a.jsonl", "memory:///inputs/a.jsonl"),
        ("sub/b.jsonl", "memory:///inputs/sub/b.jsonl"),
    ]


def test_missing_and_empty_folders_are_told(tmp_path: Path) -> None:
    known = registry_of(tmp_path)
    with pytest.raises(SourceError, match=r"mine: no folder or file at"):
        list_inputs(known.source("mine"), known, "sample", tmp_path)
    (tmp_path / "raw").mkdir()
    with pytest.raises(SourceError, match=r"mine: no file fits its patterns"):
        list_inputs(known.source("mine"), known, "sample", tmp_path)


def test_absent_from_the_sample_says_why(shipped: Registry, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"megamath-qa-qwen is absent from the sample: questions"):
        list_inputs(shipped.source("megamath-qa-qwen"), shipped, "sample", tmp_path)


def test_sample_before_build(shipped: Registry, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no sample text for wiki .*run `smoldata sample`"):
        list_inputs(shipped.source("wiki"), shipped, "sample", tmp_path)


def test_unpublished_origin_on_the_hub_says_what_to_do(shipped: Registry, tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"mwiki: its origin is not published; point it at data of your own"
    ):
        list_inputs(shipped.source("mwiki"), shipped, "hub", tmp_path)


def test_a_profile_without_documents(shipped: Registry, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"profile 'full' has no documents; .*sample, hub"):
        list_inputs(shipped.source("wiki"), shipped, "full", tmp_path)


def test_which_sources_have_text(shipped: Registry) -> None:
    assert has_text(shipped.source("wiki"), "sample")
    assert not has_text(shipped.source("mwiki"), "hub")
    assert not has_text(shipped.source("cosmopedia-v2"), "sample")
    assert has_text(shipped.source("cosmopedia-v2"), "hub")


def test_contents_address_must_have_a_place_for_the_blob(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "{blob_id}" in contents_url()
    monkeypatch.setenv("SMOLDATA_CONTENTS_URL", "file:///contents")
    with pytest.raises(SourceError, match=r"must contain \{blob_id\}"):
        contents_url()
