"""Notebooks: cells and outputs as a reader sees them; a real one from an installed package."""

import json
from pathlib import Path
from typing import Any

import pytest
import wasabi

from smoldata.kinds import Unrenderable
from smoldata.kinds.notebook import kaggle, script, structured

CELLS: list[dict[str, Any]] = [
    {"cell_type": "markdown", "source": ["# Title\n", "Some words."]},
    {"cell_type": "markdown", "source": "More."},
    {
        "cell_type": "code",
        "source": ["x = 1\n", "x"],
        "outputs": [
            {"output_type": "stream", "text": ["0%\r50%\r100%\n", "done\n"]},
            {"output_type": "execute_result", "data": {"text/plain": ["1"], "text/html": ["<b>1</b>"]}},
            {"output_type": "display_data", "data": {"image/png": "AAAA"}},
        ],
    },
    {
        "cell_type": "code",
        "source": "1/0",
        "outputs": [
            {
                "output_type": "error",
                "ename": "ZeroDivisionError",
                "evalue": "division by zero",
                "traceback": ["\x1b[31m…"],
            }
        ],
    },
    {"cell_type": "raw", "source": "left out"},
    {"cell_type": "code", "source": "  \n"},
]


def test_structured_alternates_text_code_and_output() -> None:
    assert structured({"cells": CELLS}) == (
        "<jupyter_start><jupyter_text># Title\nSome words.\nMore."
        "<jupyter_code>x = 1\nx\n1/0<jupyter_output>ZeroDivisionError: division by zero"
    )


def test_a_cell_without_output_says_so() -> None:
    text = structured({"cells": [{"cell_type": "code", "source": "x = 1", "outputs": []}]})
    assert text == "<jupyter_start><jupyter_code>x = 1<jupyter_output><empty_output>"


def test_a_script_has_text_as_comments() -> None:
    assert script({"cells": CELLS}) == "# # Title\n# Some words.\n\n# More.\n\nx = 1\nx\n\n1/0\n"


def test_kaggle_names_the_data_first() -> None:
    row = {
        "cells": CELLS[2:3],
        "title": "Titanic",
        "datasets": [{"name": "train.csv", "columns": ["age", "fare"]}, "test.csv"],
    }
    assert kaggle(row) == "# Titanic\n# Data: train.csv (age, fare)\n# Data: test.csv\n\nx = 1\nx\n"


def test_older_notebooks_and_json_text_are_read() -> None:
    old = {
        "worksheets": [
            {
                "cells": [
                    {
                        "cell_type": "code",
                        "input": ["x"],
                        "outputs": [{"output_type": "pyout", "text": ["3"]}],
                    }
                ]
            }
        ]
    }
    assert structured(old) == structured({"content": json.dumps(old)})
    assert structured(old) == "<jupyter_start><jupyter_code>x<jupyter_output>3"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"cells": []}, "no_cells"),
        ({"cells": CELLS[:2]}, "no_code_cell"),
        ({"content": "{"}, "bad_notebook"),
        ({"content": "[]"}, "bad_notebook"),
        ({"cells": ["x"]}, "bad_notebook"),
    ],
)
def test_what_cannot_be_rendered_has_a_reason(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unrenderable, match=f"^{reason}$"):
        structured(row)


def test_a_real_notebook() -> None:
    path = next(Path(wasabi.__file__).parent.rglob("*.ipynb"))
    notebook = json.loads(path.read_text(encoding="utf-8"))
    text = structured(notebook)
    assert text.startswith("<jupyter_start><jupyter_code>import sys\nimport wasabi\n\nwasabi.msg.warn(")
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all("".join(cell["source"]).strip("\n") in text for cell in code)
    assert all("".join(cell["source"]).strip("\n") in script(notebook) for cell in code)
