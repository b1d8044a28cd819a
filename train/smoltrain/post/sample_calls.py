"""Files of bfcl-eval -> rows whose answer is the right tool call, and wrong calls for pairs.

A question's accepted values of an argument become its first one; an optional argument whose accepted values
begin with the empty text is left out. Questions of several user turns are left out: their calls are run, not
listed.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

_KINDS = ("simple", "multiple", "parallel")
_EXECUTED = ("multi_turn", "memory", "web_search")


@dataclass(frozen=True, slots=True)
class CallRow:
    """A question with signatures and its right calls."""

    row: dict[str, Any]
    """In the hub's SFT schema."""
    functions: tuple[dict[str, Any], ...]
    calls: tuple[dict[str, Any], ...]

    @property
    def is_parallel(self) -> bool:
        """Tell whether several calls are right at once."""
        return len(self.calls) > 1


def call_rows(files: Mapping[str, bytes]) -> Iterator[CallRow]:
    """Yield the rows of the question files that have an answer file, sorted by file, then as they stand."""
    answers = {PurePosixPath(name).name: data for name, data in files.items() if "possible_answer" in name}
    for name, data in sorted(files.items()):
        file = PurePosixPath(name).name
        is_listed = any(kind in file for kind in _KINDS) and not any(kind in file for kind in _EXECUTED)
        if "possible_answer" in name or file not in answers or not is_listed:
            continue
        right = {one["id"]: one["ground_truth"] for one in map(json.loads, answers[file].splitlines())}
        for question in map(json.loads, data.splitlines()):
            turns = question["question"]
            if len(turns) == 1 and turns[0][-1]["role"] == "user" and question["id"] in right:
                yield _row(turns[0], question["function"], right[question["id"]])


def _row(turns: list[dict[str, str]], functions: list[dict[str, Any]], truth: list[Any]) -> CallRow:
    calls = tuple(
        {"name": name, "arguments": _first_values(arguments)}
        for call in truth
        for name, arguments in call.items()
    )
    messages = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    arguments = {
        "enable_thinking": False,
        "custom_instructions": None,
        "xml_tools": [json.dumps(function, ensure_ascii=False) for function in functions],
        "python_tools": None,
    }
    row = {"messages": [*messages, _answer(calls)], "chat_template_kwargs": arguments}
    return CallRow(row, tuple(functions), calls)


def _answer(calls: tuple[dict[str, Any], ...]) -> dict[str, str]:
    texts = [f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>" for call in calls]
    return {"role": "assistant", "content": "\n".join(texts)}


def _first_values(accepted: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {name: _plain(values[0]) for name, values in accepted.items() if values and values[0] != ""}


def _plain(value: Any) -> Any:
    """Return a nested value: a mapping holds accepted values again, a list holds elements."""
    if isinstance(value, Mapping):
        return {key: _plain(one[0] if isinstance(one, list) and one else one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def wrong_call(row: CallRow) -> dict[str, str] | None:
    """Return an assistant turn that calls another of the functions offered; None if there is only one."""
    others = [one["name"] for one in row.functions if one["name"] not in {call["name"] for call in row.calls}]
    if not others:
        return None
    return _answer(tuple({**call, "name": others[0]} for call in row.calls))
