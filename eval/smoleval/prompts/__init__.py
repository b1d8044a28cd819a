"""Rows of a benchmark -> lighteval Docs: one function a benchmark, named by the task definitions.

A prompt function takes (row, task definition) and returns a Doc, or None to leave the row out. The engine
fills in names, few-shot examples and generation settings. The templates are lighteval's own (they are what
the published tasks use); only which column is what is ours.
"""

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]


def doc(query: str, choices: list[str], gold: int | list[int] = 0, **more: Any) -> Any:
    """Return a lighteval Doc (imported here: 2 s the first time)."""
    from lighteval.tasks.requests import Doc

    return Doc(query=query, choices=choices, gold_index=gold, **more)
