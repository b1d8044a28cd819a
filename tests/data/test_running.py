"""smoldata run: recipes over files of one's own, from the command line and from Python."""

import bz2
import itertools
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import wasabi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.helpers import real_texts
from typer.testing import CliRunner

from smoldata.build import built_documents
from smoldata.cli import app
from smoldata.errors import InputError, RecipeError, SourceError
from smoldata.running import run_pipeline
from smoldata.steps import KEY_PREFIX, STEPS, StepContext, StepSettings, StepSpec
from smoldata.writing import write_rows

LONG = "The parser stops at the first tab character. " * 6


def cli(*arguments: str) -> Any:
    """Run the command; return what it printed as JSON."""
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_posts_become_documents(tmp_path: Path) -> None:
    rows = [
        {
            "qid": 1,
            "question": f"<p>{LONG}</p>",
            "answers": [{"answer_id": 1, "pm_score": 1, "text": "<p>Yes.</p>"}],
        },
        {"qid": 2, "question": "<p>Alone?</p>", "answers": []},
    ]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = ["run", "stackexchange", "--input", str(tmp_path / "posts.jsonl"), "--column", "id=qid"]
    (built,) = cli(*command, "--output", str(tmp_path / "out"), "--workers", "1")
    assert (built["read"], built["kept"], built["dropped"]) == (2, 1, {"no_answer": 1})
    (document,) = built_documents(tmp_path / "out")
    assert document["text"] == f"Q: {LONG.strip()}\nA: Yes.\n"
    assert (document["id"], document["source"]) == ("1", "stackexchange")
    (again,) = cli(*command, "--output", str(tmp_path / "out"), "--workers", "1")
    assert not again["fresh"]


def test_a_real_notebook_and_a_wiki_export(tmp_path: Path) -> None:
    folder = Path(wasabi.__file__).parent / "tests" / "test-data"
    built = run_pipeline("notebooks", [str(folder)], tmp_path / "notebooks", workers=1)
    assert (built.read, built.kept) == (1, 1)
    text = "".join(
        f"<page><title>T{number}</title><ns>{number % 2}</ns><id>{number}</id>"
        f"<revision><text>{LONG} {number}</text></revision></page>"
        for number in range(4)
    )
    (tmp_path / "wiki.xml.bz2").write_bytes(bz2.compress(f"<mediawiki>{text}</mediawiki>".encode()))
    built = run_pipeline("wikipedia", [str(tmp_path / "wiki.xml.bz2")], tmp_path / "wiki", workers=1)
    assert built.dropped == {"not_an_article": 2}
    assert [row["text"][:2] for row in built_documents(tmp_path / "wiki")] == ["T0", "T2"]


def test_parameters_columns_and_scores(tmp_path: Path) -> None:
    rows = [
        {"body": f"{text}", "score": score}
        for text, score in zip(real_texts(3), (4.6, 2.6, 2.4), strict=True)
    ]
    write_rows(tmp_path / "a.parquet", rows, "parquet", floats=("score",))
    given = {"parameters": {"least_score": 3}, "columns": {"text": "body"}, "workers": 1}
    built = run_pipeline("finemath", [str(tmp_path / "a.parquet")], tmp_path / "out", **given)
    assert (built.kept, built.dropped) == (2, {"low_score": 1})
    assert sorted(dict(row["scores"])["score"] for row in built_documents(tmp_path / "out")) == [2.6, 4.6]
    built = run_pipeline(
        "finemath", [str(tmp_path)], tmp_path / "out", **(given | {"parameters": {"least_score": 4}})
    )
    assert built.kept == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"which": "wiki"}, RecipeError, "no pipeline 'wiki'"),
        ({"inputs": ["nowhere"]}, SourceError, "no folder or file at nowhere"),
        ({"columns": {"txt": "a"}}, InputError, "no field txt; fields: text,"),
        ({"parameters": {"rendr": None}}, RecipeError, r"no parameter 'rendr'; did you mean render\?"),
    ],
)
def test_mistakes_are_named(
    arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    write_rows(tmp_path / "a.jsonl", [{"text": LONG}], "jsonl")
    call = {"which": "text", "inputs": [str(tmp_path / "a.jsonl")]} | arguments
    with pytest.raises(error, match=message):
        run_pipeline(call.pop("which"), call.pop("inputs"), tmp_path / "out", workers=1, **call)


def test_a_folder_without_readable_files_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    with pytest.raises(SourceError, match=r"no readable file in .*; known: \.parquet"):
        run_pipeline("text", [str(tmp_path)], tmp_path / "out", workers=1)


def test_commands_that_list(tmp_path: Path) -> None:
    assert {"web", "chat"} <= {entry["name"] for entry in cli("pipelines")}
    assert cli("pipelines", "web")["steps"][0]["step"] == "url_filter"
    assert {entry["step"] for entry in cli("steps")} == set(STEPS)
    for command in ("pipelines", "steps"):
        assert CliRunner().invoke(app, [command], catch_exceptions=False).exit_code == 0
    result = CliRunner().invoke(app, ["run", "text", "--input", "a", "--output", str(tmp_path), "--set", "x"])
    assert isinstance(result.exception, InputError)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    picks=st.lists(st.integers(0, 4), min_size=3, max_size=20),
    ids=st.lists(st.sampled_from("xyz"), min_size=20, max_size=20),
    tasks=st.integers(2, 5),
)
def test_documents_are_the_same_for_any_number_of_tasks(
    tmp_path_factory: pytest.TempPathFactory, picks: list[int], ids: list[str], tasks: int
) -> None:
    """Which copy stays and which name it gets must not depend on how the files are shared out."""
    base = tmp_path_factory.mktemp("tasks")
    texts = real_texts(5)
    for number in range(5):
        rows = [{"text": texts[pick], "id": ids[at]} for at, pick in enumerate(picks) if at % 5 == number]
        if rows:
            write_rows(base / "raw" / f"{number}.jsonl", rows, "jsonl")

    def documents(count: int) -> list[tuple[str, str, str]]:
        given = {"tasks": count, "workers": 1, "duplicate_ids": "rename"}
        run_pipeline("text", [str(base / "raw")], base / str(count), **given)
        found = built_documents(base / str(count))
        return sorted((row["id"], row["text"], row["path"]) for row in found)

    assert documents(tasks) == documents(1)


class Nothing(StepSettings):
    """No settings."""


def first_letter(_settings: Nothing, _context: StepContext) -> Any:
    """Return a step that leaves the text's first letter as its key."""
    from datatrove.pipeline.base import PipelineStep

    class Keyed(PipelineStep):  # type: ignore[misc] # datatrove ships no types
        name, type = "first_letter", "test"

        def run(self, data: Any, _rank: int = 0, _world_size: int = 1) -> Any:
            for document in data:
                document.metadata[KEY_PREFIX + "first_letter"] = document.text[:1].encode()
                yield document

    return Keyed()


def two(_settings: Nothing, _context: StepContext) -> Any:
    """Return a step that stops after two documents."""
    from datatrove.pipeline.base import PipelineStep

    class Two(PipelineStep):  # type: ignore[misc] # datatrove ships no types
        name, type = "two", "test"

        def run(self, data: Any, _rank: int = 0, _world_size: int = 1) -> Any:
            yield from itertools.islice(data, 2)

    return Two()


def test_a_step_that_stops_early_does_not_pass_for_done(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"text": text} for text in real_texts(5)], "jsonl")
    recipe = "format_version: 1\nname: mine\ndescription: d\nsource: s\nsteps:\n"
    recipe += "  - step: tests.data.test_running:two\n"
    (tmp_path / "mine.yaml").write_text(recipe, encoding="utf-8")
    with pytest.raises(SourceError, match="stopped before the end of its input"):
        run_pipeline(str(tmp_path / "mine.yaml"), [str(tmp_path / "a.jsonl")], tmp_path / "out", workers=1)
    assert not (tmp_path / "out" / "manifest.parquet").exists()


def one_a_letter(keys: pl.DataFrame, _settings: Nothing) -> pl.DataFrame:
    """Drop all but the first document of each letter; name the one that stays."""
    named = keys.with_columns(kept_id=pl.col("id").first().over("key"))
    return named.filter(~pl.col("key").is_first_distinct()).select("task", "position", "kept_id")


@pytest.mark.parametrize("tasks", [1, 3])
def test_a_step_can_decide_over_all_tasks(
    tasks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = "tests.data.test_running"
    spec = StepSpec(f"{here}:first_letter", "test", gather=f"{here}:one_a_letter")
    monkeypatch.setitem(STEPS, "first_letter", spec)
    recipe = "format_version: 1\nname: mine\ndescription: d\nsource: s\nsteps:\n  - step: first_letter\n"
    (tmp_path / "mine.yaml").write_text(recipe, encoding="utf-8")
    for number, texts in enumerate((["ant", "bee"], ["asp", "cat", "ape"], ["bat", "ant"])):
        rows = [{"text": text, "id": f"{number}{text}"} for text in texts]
        write_rows(tmp_path / "raw" / f"{number}.jsonl", rows, "jsonl")
    built = run_pipeline(
        str(tmp_path / "mine.yaml"), [str(tmp_path / "raw")], tmp_path / "out", tasks=tasks, workers=1
    )
    assert built.dropped == {"duplicate": 1, "first_letter": 3}
    assert sorted(row["text"] for row in built_documents(tmp_path / "out")) == ["ant", "bee", "cat"]
    listed = pl.read_parquet(tmp_path / "out" / "removed" / "first_letter.parquet").sort("id")
    assert listed.select("id", "kept_id").rows() == [("1ape", "0ant"), ("1asp", "0ant"), ("2bat", "0bee")]


def test_documents_made_here_keep_their_scores_in_the_next_run(tmp_path: Path) -> None:
    texts = real_texts(3)
    rows = [{"text": text, "score": score} for text, score in zip(texts, (4.6, 3.6, 2.6), strict=True)]
    write_rows(tmp_path / "in" / "a.parquet", rows, "parquet", floats=("score",))
    first = run_pipeline(
        "finemath", [str(tmp_path / "in")], tmp_path / "first", parameters={"least_score": 0}, workers=1
    )
    assert first.kept == 3
    chained = {"parameters": {"least_score": 4}, "workers": 1}
    second = run_pipeline("finemath", [str(tmp_path / "first")], tmp_path / "second", **chained)
    assert (second.kept, second.dropped) == (2, {"low_score": 1})
    assert [dict(row["scores"]) for row in built_documents(tmp_path / "second")] == [
        {"score": 4.6},
        {"score": 3.6},
    ]
    lines = [{"text": text, "scores": {"score": 4.4, "other": 1}} for text in texts[:1]]
    lines += [{"text": text, "scores": wrong} for text, wrong in zip(texts[1:], ("4", [1, 2]), strict=True)]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = {"parameters": {"least_score": 4, "missing": "drop"}, "workers": 1}
    third = run_pipeline("finemath", [str(tmp_path / "lines.jsonl")], tmp_path / "third", **given)
    assert (third.kept, third.dropped) == (1, {"no_score": 2})
