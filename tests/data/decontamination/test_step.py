"""The step in a real build: drops are counted and kept whole, marks are scores, changed sets are seen."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.data.helpers import own_source, write_registry

from smoldata.build import Built, build_documents, built_documents
from smoldata.decontamination.benchmarks import Item
from smoldata.dropped import read_examples
from smoldata.registry import load_registry

RECIPE = """
format_version: 1
name: trial
description: Text without items of evaluation sets.
source: a test
steps:
  - step: length
    settings: {{least_characters: 1500}}
    source: a test
  - step: decontaminate
    settings: {{benchmarks: [sets], action: {action}}}
    source: FineMath's card
"""


def build(folder: Path, action: str, tasks: int, name: str = "build") -> tuple[Built, Path]:
    """Build the source of ``folder`` with the recipe; return what it became and its folder."""
    (folder / "trial.yaml").write_text(RECIPE.format(action=action))
    entry = own_source(
        folder / "raw", columns={"text": ["text"], "id": "id"}, pipeline=str(folder / "trial.yaml")
    )
    registry = load_registry(write_registry(folder / "registry.yaml", {"mine": entry}))
    [built] = build_documents(["mine"], registry=registry, build=folder / name, tasks=tasks, workers=1)
    return built, folder / name / "sample" / "documents" / "mine"


@pytest.fixture
def raw(tmp_path: Path, documents: list[str], items: list[Item]) -> Path:
    """Return a folder with documents, two of which hold an item, and the set that has the items."""
    (tmp_path / "sets").mkdir()
    (tmp_path / "raw").mkdir()
    long = [item for item in items if len(item.question.split()) >= 14][:9]
    rows = [{"id": item.id, "question": item.question} for item in long]
    (tmp_path / "sets" / "email.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [text[:3000] for text in documents[:10]] + ["short one", "short two"]
    for number in (3, 8):
        texts[number] += f"\n{long[number].question}\n"
    for part in range(4):
        lines = [json.dumps({"id": str(at), "text": texts[at]}) + "\n" for at in range(part, len(texts), 4)]
        (tmp_path / "raw" / f"{part}.jsonl").write_text("".join(lines))
    return tmp_path


def test_dropped_documents_are_counted_and_kept_whole(raw: Path) -> None:
    built, folder = build(raw, "drop", 2)
    assert built.dropped["contaminated"] == 2
    assert built.read == built.kept + sum(built.dropped.values())
    listed = pq.read_table(folder / "removed" / "contaminated.parquet").to_pylist()
    assert sorted(row["id"] for row in listed) == ["3", "8"]
    for row in listed:
        assert row["text"][row["begin"] : row["end"]] == row["span"]
    assert {row["id"] for row in built_documents(folder)}.isdisjoint({"3", "8"})


def test_marked_documents_stay_with_a_score(raw: Path) -> None:
    built, folder = build(raw, "mark", 1)
    assert "contaminated" not in built.dropped
    scores: dict[str, dict[str, Any]] = {row["id"]: dict(row["scores"]) for row in built_documents(folder)}
    assert {name for name, found in scores.items() if "contamination" in found} == {"3", "8"}
    assert scores["3"]["contamination"] == 1.0


def test_examples_do_not_depend_on_the_number_of_tasks(raw: Path) -> None:
    seen = [read_examples(build(raw, "drop", tasks, f"build{tasks}")[1]) for tasks in (1, 2, 4)]
    assert seen[0] == seen[1] == seen[2]
    assert [(row["reason"], row["text"]) for row in seen[0] if row["reason"] == "too_short"] != []
    assert {row["reason"] for row in seen[0]} >= {"contaminated", "too_short"}


def test_sets_are_found_beside_the_recipe_or_where_one_works(
    raw: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (raw / "sets").rename(elsewhere / "sets")
    monkeypatch.chdir(elsewhere)
    assert build(raw, "drop", 1)[0].dropped["contaminated"] == 2


def test_another_content_of_the_set_is_seen(raw: Path) -> None:
    build(raw, "drop", 2)
    assert not build(raw, "drop", 2)[0].fresh
    lines = (raw / "sets" / "email.jsonl").read_text().splitlines(keepends=True)
    (raw / "sets" / "email.jsonl").write_text("".join(lines[:4]))
    built, _ = build(raw, "drop", 2)
    assert built.fresh
    assert built.dropped["contaminated"] == 1
