"""Examples of drops are bounded and chosen by hash; `smoldata inspect` shows them beside what was kept."""

import json
import random
from pathlib import Path

import pytest
from datatrove.data import Document
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.helpers import own_source, real_texts, write_registry
from typer.testing import CliRunner

from smoldata.build import build_documents
from smoldata.cli import app
from smoldata.dropped import MOST_CHARACTERS, Examples, publish, read_examples
from smoldata.registry import load_registry


def taken(rows: list[tuple[str, str]], folder: Path, tasks: int, per_reason: int) -> list[dict[str, object]]:
    """Return the merged examples of drops shared out to tasks."""
    staged = []
    for task in range(tasks):
        examples = Examples("mine", per_reason)
        for reason, text in rows[task::tasks]:
            examples(reason, Document(text=text, id=text, metadata={}))
        staged.append(folder / f"{tasks}-{task}.parquet")
        examples.write(staged[-1])
    publish(staged, folder / f"of-{tasks}", per_reason)
    return read_examples(folder / f"of-{tasks}")


@settings(max_examples=15)
@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), st.text("xyz", min_size=1, max_size=4)), max_size=40),
    seed=st.integers(0, 9),
)
def test_the_same_examples_whatever_the_tasks_and_their_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("d")
    whole = taken(rows, folder, 1, 3)
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - an order, no secret
    assert taken(shuffled, folder, 3, 3) == whole
    for reason in "ab":
        different = {text for name, text in rows if name == reason}
        assert len([row for row in whole if row["reason"] == reason]) == min(3, len(different))


def test_rows_that_were_no_documents_leave_no_example(tmp_path: Path) -> None:
    examples = Examples("mine")
    examples("null_text", None)
    examples("long", Document(text="x" * (MOST_CHARACTERS + 9), id="1", metadata={"path": "p"}))
    examples.write(tmp_path / "a.parquet")
    publish([tmp_path / "a.parquet"], tmp_path / "out")
    [row] = read_examples(tmp_path / "out")
    assert (row["reason"], row["characters"], len(row["text"])) == (
        "long",
        MOST_CHARACTERS + 9,
        MOST_CHARACTERS,
    )


@pytest.fixture
def common(tmp_path: Path) -> list[str]:
    """Build a source that drops for three reasons; return the options that name it."""
    texts = [*real_texts(4), "too short", real_texts(1)[0]]
    rows = [json.dumps({"text": text, "id": str(at)}) for at, text in enumerate(texts)]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.jsonl").write_text("\n".join([*rows, json.dumps({"text": None})]) + "\n")
    entry = own_source(tmp_path / "raw", columns={"text": ["text"], "id": "id"})
    registry = write_registry(tmp_path / "own.yaml", {"mine": entry})
    build_documents(["mine"], registry=load_registry(registry), build=tmp_path / "build", workers=1)
    return ["inspect", "mine", "--registry", str(registry), "--build", str(tmp_path / "build")]


def test_inspect_shows_outcomes_with_counts_and_examples(common: list[str]) -> None:
    shown = CliRunner().invoke(app, common)
    assert shown.exit_code == 0, shown.output
    for wanted in ("mine: 7 rows", "dropped: too_short", "too short", "dropped: duplicate", "no example"):
        assert wanted in shown.output


def test_inspect_one_reason_as_json(common: list[str]) -> None:
    shown = CliRunner().invoke(
        app, [*common, "--reason", "too_short", "--reason", "kept", "--n", "2", "--json"]
    )
    rows = [json.loads(line) for line in shown.output.splitlines()]
    assert [row["reason"] for row in rows] == ["too_short", "kept", "kept"]
    assert rows[0]["text"] == "too short"


def test_inspect_an_unknown_reason_names_the_known(common: list[str]) -> None:
    ended = CliRunner().invoke(app, [*common, "--reason", "ugly"])
    assert "it has: kept (4)" in str(ended.exception)
