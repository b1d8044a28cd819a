"""Evaluation items and documents of real text: docstrings and sources of the standard library."""

import ast
import sysconfig
from pathlib import Path

import pytest

from smoldata.decontamination.benchmarks import Item

STDLIB = Path(sysconfig.get_path("stdlib"))


def docstrings(folder: str) -> list[str]:
    """Return the longer docstrings of a package of the standard library, each once."""
    found: dict[str, None] = {}
    for path in sorted((STDLIB / folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node) or ""
                if len(text.split()) >= 20:
                    found[text] = None
    return list(found)


@pytest.fixture(scope="session")
def items() -> list[Item]:
    """Return items whose questions and answers are paragraphs of docstrings."""
    made = []
    for number, text in enumerate(docstrings("email")):
        question, _, answer = text.partition("\n\n")
        made.append(Item("email", str(number), question, (answer,) if answer.strip() else ()))
    assert len(made) > 100
    return made


@pytest.fixture(scope="session")
def documents() -> list[str]:
    """Return modules of another package, longest last: they share nothing with the items."""
    paths = sorted((STDLIB / "xml").rglob("*.py"), key=lambda path: path.stat().st_size)
    return [path.read_text(encoding="utf-8") for path in paths if path.stat().st_size > 2000]
