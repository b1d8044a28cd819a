"""Texts through a recipe that scores, built in any number of tasks."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.data.helpers import own_source, write_registry

from smoldata.build import build_documents, built_documents
from smoldata.registry import load_registry

Build = Callable[[str, int], dict[str, dict[str, float]]]
"""``(folder, tasks)`` -> the scores of each kept document by its identifier."""


def builder(folder: Path, recipe: str, texts: Sequence[str], files: int) -> Build:
    """Lay texts out in raw files, their numbers as identifiers; return what builds them by the recipe."""
    (folder / "trial.yaml").write_text(recipe)
    (folder / "raw").mkdir()
    for number in range(files):
        rows = [{"id": str(at), "text": texts[at]} for at in range(number, len(texts), files)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "raw" / f"{number}.jsonl").write_text(lines)
    columns = {"text": ["text"], "id": "id"}
    entry = own_source(folder / "raw", columns=columns, pipeline=str(folder / "trial.yaml"))
    registry = load_registry(write_registry(folder / "registry.yaml", {"mine": entry}))

    def built(name: str, tasks: int) -> dict[str, dict[str, float]]:
        build_documents(["mine"], registry=registry, build=folder / name, tasks=tasks, workers=1)
        rows = built_documents(folder / name / "sample" / "documents" / "mine")
        return {row["id"]: dict(row["scores"]) for row in rows}

    return built
