"""Small real models, trained in the tests on real text: prose and sources of the standard library."""

import ast
import sysconfig
from pathlib import Path

import pytest

from smoldata.reading import Report
from smoldata.steps import StepContext

STDLIB = Path(sysconfig.get_path("stdlib"))


def _texts() -> tuple[list[str], list[str]]:
    """Return docstrings, and the code of functions: texts of two kinds from the same files."""
    prose: dict[str, None] = {}
    code: dict[str, None] = {}
    for path in sorted([*STDLIB.glob("*.py"), *(STDLIB / "email").glob("*.py")])[:150]:
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
                prose[text] = None
                body = [ast.unparse(part) for part in node.body[1:]]
                if len("\n".join(body)) > 80:
                    code["\n".join(body)] = None
    return [text for text in prose if len(text) > 80][:400], list(code)[:400]


@pytest.fixture(scope="session")
def labelled() -> list[tuple[str, bool]]:
    """Return texts and whether they are prose."""
    prose, code = _texts()
    assert min(len(prose), len(code)) > 150
    return [(text, True) for text in prose] + [(text, False) for text in code]


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    """Return what a step is told."""
    return StepContext("mine", None, Report(), tmp_path)
