"""Tool calling: rows of the Berkeley function-calling leaderboard into Docs.

The functions on offer go through the chat template's ``tools``, in JSON schema's names of types; the Doc
carries them as ``specific["tools"]``. Accepted values stay BFCL's.
"""

from collections.abc import Mapping
from typing import Any

from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.prompts import Row, doc

_JSON_SCHEMA = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}


@register(version=1)
def bfcl(row: Row, task: TaskDefinition) -> Any:
    """BFCL, one turn: the user's question and the functions; ``ground_truth`` lists the accepted calls."""
    *before, last = row["question"][0]
    context = "".join(f"{turn['content']}\n\n" for turn in before if turn["role"] == "system")
    truth = row.get("ground_truth")
    specific = {
        "functions": list(row["function"]),
        "tools": [tool(function) for function in row["function"]],
        "calls": None if truth is None else list(truth),
        "any": bool(row.get("wanted")),
    }
    return doc(context + last["content"], [""], specific=specific)


def tool(function: Mapping[str, Any]) -> dict[str, Any]:
    """Return a function of BFCL's as chat templates take it."""
    return {
        "type": "function",
        "function": {
            "name": function["name"],
            "description": function.get("description", ""),
            "parameters": _schema(function["parameters"]),
        },
    }


def _schema(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _JSON_SCHEMA.get(one, one) if key == "type" and isinstance(one, str) else _schema(one)
            for key, one in value.items()
        }
    return [_schema(one) for one in value] if isinstance(value, list) else value
