"""Every source reads its dataset's published columns through its own recipe, to a document."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from tests.data.hub_rows import DATASETS, code, row_of

from smoldata.build import build_jobs, built_documents, built_of, make_job, recipe_of
from smoldata.cli import app
from smoldata.errors import SourceError
from smoldata.files import xxh3_128
from smoldata.inputs import list_inputs
from smoldata.pipeline_types import Limit, RawInput
from smoldata.registry import Registry, Source, load_registry

SOURCES = [source for source in load_registry().sources.values() if source.hub is not None]


def one_a_shape() -> list[Source]:
    """Return a source for each different dataset, columns, recipe, parameters: others read the same."""
    chosen: dict[str, Source] = {}
    for source in SOURCES:
        assert source.hub is not None
        language = source.language if source.kind == "multilingual" else ""
        shape = json.dumps(
            [source.hub.dataset, source.columns.model_dump(), source.recipe(), language, source.kind]
        )
        chosen.setdefault(shape, source)
    return list(chosen.values())


def write_file(path: Path, row: dict[str, Any], format_: str) -> None:
    """Write a file of one row in a dataset's format, nested columns as they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    if format_ == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
        return
    line = json.dumps(row).encode() + b"\n"
    packed = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}.get(
        format_.rpartition(".")[2], bytes
    )
    path.write_bytes(packed(line))


def test_there_is_a_row_for_every_dataset() -> None:
    assert {source.hub.dataset for source in SOURCES if source.hub} == set(DATASETS)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_the_columns_that_are_read_are_published(source: Source) -> None:
    row = row_of(source)
    columns = source.columns
    text = () if source.hub and source.hub.contents == "software_heritage" else columns.text
    needed = {*text, *(name for name in (columns.id, columns.url, columns.path, columns.language) if name)}
    assert needed | {*columns.scores, *columns.metadata} <= set(row)


@pytest.mark.parametrize("source", one_a_shape(), ids=lambda source: source.name)
def test_a_published_row_becomes_a_document(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source.hub is not None
    blob = hashlib.sha1(code().encode(), usedforsecurity=False).hexdigest()
    (tmp_path / blob).write_bytes(gzip.compress(code().encode()))
    monkeypatch.setenv("SMOLDATA_CONTENTS_URL", f"file://{tmp_path}/{{blob_id}}")
    path = tmp_path / f"raw.{source.hub.format}"
    write_file(path, row_of(source), source.hub.format)
    raw = RawInput(str(path), path.name, path.stat().st_size, xxh3_128(path), source.licence)
    recipe = recipe_of(source, "hub")
    job = make_job(source, recipe, (raw,), tmp_path / "out", tmp_path / ".work", 1, Limit())
    build_jobs([job], 1)
    assert (built_of(job).read, built_of(job).kept, built_of(job).dropped) == (1, 1, {})
    (document,) = built_documents(tmp_path / "out")
    assert document["text"].strip()
    # A score that is missing would pass every gate unseen.
    assert set(dict(document["scores"])) == set(source.columns.scores)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_trial_is_planned_up_to_the_listing(
    source: Source, shipped: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop where the network begins: the dataset, its folder and revision are what a trial would ask for."""
    asked: list[tuple[str, str | None]] = []

    def no_network(hub: Any) -> Any:
        asked.append((hub.dataset, hub.revision))
        raise SourceError("no network here")

    monkeypatch.setattr("smoldata.inputs._list_dataset", no_network)
    with pytest.raises(SourceError, match="no network here"):
        list_inputs(source, shipped, "hub", tmp_path)
    assert source.hub is not None
    assert asked == [(source.hub.dataset, source.hub.revision)]
    assert all(not pattern.startswith("/") for pattern in source.hub.files)


def test_a_trial_is_one_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    def no_network(_hub: Any) -> Any:
        raise SourceError("no network here")

    monkeypatch.setattr("smoldata.inputs._list_dataset", no_network)
    command = ["build", "--profile", "hub", "--source", "finemath-4plus", "--limit-documents", "100", "--yes"]
    result = CliRunner().invoke(app, [*command, "--build", str(tmp_path)])
    assert isinstance(result.exception, SourceError)
    assert str(result.exception) == "no network here"
