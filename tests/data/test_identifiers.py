"""Two texts under one identifier: an error naming both places, a counted drop, or names that stay unique."""

import json
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.helpers import own_source, real_texts, write_registry
from typer.testing import CliRunner

from smoldata.build import Built, Job, build_documents, built_documents, built_of, make_job
from smoldata.cli import app
from smoldata.cluster import BuildTasks, PublishSources
from smoldata.errors import InputError, SourceError
from smoldata.identifiers import RULES, DuplicateIds, settle
from smoldata.pipeline_types import Limit
from smoldata.recipe import load_pipeline
from smoldata.registry import load_registry
from smoldata.running import input_files, run_pipeline, source_of
from smoldata.writing import write_rows

TEXTS = real_texts(5)


def lay(folder: Path, rows: list[tuple[str | None, int]], files: int) -> list[tuple[str, str, str]]:
    """Write rows of (identifier, number of a text) to files; return id, text and place in reading order."""
    read: list[tuple[str, str, str]] = []
    for number in range(files):
        found = [
            {"id": name, "text": TEXTS[text]} for at, (name, text) in enumerate(rows) if at % files == number
        ]
        if found:
            write_rows(folder / f"{number}.jsonl", found, "jsonl")
        places = [f"{number}.jsonl:{at}" for at in range(len(found))]
        read += [
            (str(row["id"] or place), str(row["text"]), place)
            for row, place in zip(found, places, strict=True)
        ]
    return read


def split(read: list[tuple[str, str, str]]) -> tuple[dict[str, tuple[str, str]], list[tuple[str, str, str]]]:
    """Return who keeps each identifier, and the other texts under one, once copies are gone."""
    texts, first, again = set(), {}, []
    for name, text, place in read:
        if text in texts:
            continue
        texts.add(text)
        if name in first:
            again.append((name, text, place))
        else:
            first[name] = (text, place)
    return first, again


def run(base: Path, rule: DuplicateIds, tasks: int) -> tuple[Built, list[tuple[str, str]], dict[str, Any]]:
    """Build; return the counts, the documents, and the tables beside them."""
    out = base / f"{rule}-{tasks}"
    built = run_pipeline("text", [str(base / "raw")], out, tasks=tasks, workers=1, duplicate_ids=rule)
    documents = sorted((row["id"], row["text"]) for row in built_documents(out))
    tables = {path.name: pl.read_parquet(path).rows() for path in sorted((out / "removed").glob("*.parquet"))}
    return built, documents, tables


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["x", "y", "z", None]), st.integers(0, 4)), min_size=2, max_size=14
    ),
    files=st.integers(1, 4),
    tasks=st.integers(2, 4),
)
def test_the_law_of_each_rule_for_any_number_of_tasks(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str | None, int]],
    files: int,
    tasks: int,
) -> None:
    base = tmp_path_factory.mktemp("ids")
    read = lay(base / "raw", rows, files)
    first, again = split(read)
    kept = sorted((name, text) for name, (text, _) in first.items())
    copies = len(read) - len(first) - len(again)

    built, documents, tables = run(base, "drop", 1)
    assert documents == kept
    assert (built.read, built.kept) == (len(read), len(kept))
    assert built.dropped == {
        reason: count for reason, count in (("duplicate", copies), ("duplicate_id", len(again))) if count
    }
    listed = [(name, "duplicate_id", place, first[name][1]) for name, _, place in again]
    assert tables.get("duplicate_id.parquet", []) == listed
    more = run(base, "drop", tasks)
    assert (more[0].dropped, more[1:]) == (built.dropped, (documents, tables))

    built, documents, _ = run(base, "rename", tasks)
    assert documents == sorted([*kept, *((f"{name}@{place}", text) for name, text, place in again)])
    assert built.read == built.kept + sum(built.dropped.values())

    if not again:
        assert run(base, "error", tasks)[1] == kept
        return
    name, _, place = again[0]
    with pytest.raises(SourceError) as caught:
        run(base, "error", tasks)
    for said in (
        f"the identifier {name!r} of {first[name][1]} (file:row) occurs again at {place} with another text",
        f"in all: {len(again)}",
        "`duplicate_ids: drop`",
        "--duplicate-ids",
    ):
        assert said in str(caught.value)
    assert not (base / f"error-{tasks}" / "manifest.parquet").exists()


@given(
    st.lists(
        st.tuples(st.sampled_from(["x", "y", "x@0:1", "x@0:1@0:2", "0:3"]), st.booleans()),
        min_size=1,
        max_size=9,
    )
)
def test_names_are_unique_even_where_a_new_one_is_taken(rows: list[tuple[str, bool]]) -> None:
    keys = pl.DataFrame(
        {
            "id": [name for name, _ in rows],
            "place": [f"0:{at}" for at in range(len(rows))],
            "why": [None if stays else "duplicate" for _, stays in rows],
        },
        schema={"id": pl.String, "place": pl.String, "why": pl.String},
    )
    found = settle(keys, "rename", "mine")
    names = found.filter(pl.col("why").is_null())["id"].to_list()
    assert len(set(names)) == len(names)
    assert found["why"].equals(keys["why"])
    for row, (name, stays) in zip(found.iter_rows(named=True), rows, strict=True):
        assert row["renamed"] == (row["id"] != name)
        assert row["id"].startswith(name)
        assert stays or not row["renamed"]


def build(base: Path, rule: str | None) -> Built:
    """Build two files in which two texts share an identifier, by the registry's key."""
    entry = own_source(base / "raw", columns={"text": ["text"], "id": "id"})
    entry |= {"duplicate_ids": rule} if rule else {}
    registry = load_registry(write_registry(base / "own.yaml", {"mine": entry}))
    (built,) = build_documents(["mine"], registry=registry, build=base / "out", tasks=2, workers=1)
    return built


def test_an_error_keeps_the_finished_tasks_and_what_was_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path / "raw", [("x", 0), ("y", 1)], 2)
    assert build(tmp_path, None).kept == 2
    manifest = tmp_path / "out" / "sample" / "documents" / "mine" / "manifest.parquet"
    before = manifest.read_bytes()
    lay(tmp_path / "raw", [("x", 0), ("x", 1)], 2)
    with pytest.raises(SourceError, match=r"'x' of 0.jsonl:0"):
        build(tmp_path, None)
    assert manifest.read_bytes() == before

    def refuse(*_: object) -> str:
        pytest.fail("a finished task was run again")

    monkeypatch.setattr("smoldata.build.run_task", refuse)
    built = build(tmp_path, "rename")
    assert (built.kept, built.fresh) == (2, True)
    monkeypatch.undo()
    assert build(tmp_path, "drop").dropped == {"duplicate_id": 1}


def test_on_a_cluster_the_publishing_job_says_so_and_the_tasks_stay(tmp_path: Path) -> None:
    lay(tmp_path / "raw", [("x", 0), ("x", 1)], 2)
    recipe = load_pipeline("text", {})
    source = source_of(recipe, "mine", None, {})
    files = tuple(input_files([str(tmp_path / "raw")]))

    def job(rule: DuplicateIds) -> Job:
        asked = source.model_copy(update={"duplicate_ids": rule})
        return make_job(asked, recipe, files, tmp_path / "out", tmp_path / "work", 2, Limit())

    list(BuildTasks([job("error")]).run(None, 0, 1))
    with pytest.raises(SourceError, match=r"'x' of 0.jsonl:0"):
        list(PublishSources([job("error")]).run())
    assert not (tmp_path / "out").exists()
    list(PublishSources([job("rename")]).run())
    assert built_of(job("rename")).kept == 2


def test_a_dropped_text_is_shown_and_counted(tmp_path: Path) -> None:
    lay(tmp_path / "raw", [("x", 0), ("x", 1), ("y", 2)], 2)
    build(tmp_path, "drop")
    where = ["mine", "--registry", str(tmp_path / "own.yaml"), "--build", str(tmp_path / "out")]
    shown = CliRunner().invoke(app, ["inspect", *where, "--reason", "duplicate_id", "--json"])
    assert [json.loads(line)["text"] for line in shown.output.splitlines()] == [TEXTS[1]]
    folder = tmp_path / "out" / "sample" / "documents" / "mine"
    counted = pl.read_parquet(folder / "statistics.parquet").filter(kind="drop")
    assert counted.select("name", "documents").rows() == [("duplicate_id", 1)]


def test_copies_in_other_tasks_leave_examples_as_copies_in_one_task_do(tmp_path: Path) -> None:
    lay(tmp_path / "raw", [("x", 0), ("y", 0), ("z", 1)], 2)
    one, two = run(tmp_path, "error", 1)[2], run(tmp_path, "error", 2)[2]
    assert one == two
    assert [row[:3] for row in one["examples.parquet"]] == [("text", "duplicate", "y")]


def test_the_rules_are_named(tmp_path: Path) -> None:
    assert get_args(DuplicateIds) == RULES
    lay(tmp_path / "raw", [("x", 0)], 1)
    command = ["run", "text", "--input", str(tmp_path / "raw"), "--output", str(tmp_path / "out")]
    ended = CliRunner().invoke(app, [*command, "--duplicate-ids", "keep"])
    assert isinstance(ended.exception, InputError)
    assert "valid: error, drop, rename" in str(ended.exception)
    with pytest.raises(InputError, match=r"sources.mine.duplicate_ids: .*'error', 'drop' or 'rename'"):
        build(tmp_path, "keep")
