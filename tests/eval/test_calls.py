"""Tool calls: parsing and BFCL's matching rule, by hand and on every accepted call of the real package."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smoldata.errors import SmolError
from smoleval.data import load_data
from smoleval.definition import registry
from smoleval.metrics.calls import is_right, parse_calls, same
from smoleval.prompts.tools import tool

TIDE = {
    "name": "tide.height",
    "description": "Height of the tide.",
    "parameters": {
        "type": "dict",
        "properties": {
            "harbour": {"type": "string"},
            "hour": {"type": "integer"},
            "factor": {"type": "float"},
            "days": {"type": "array", "items": {"type": "string"}},
            "options": {"type": "dict"},
            "exact": {"type": "boolean"},
        },
        "required": ["harbour"],
    },
}


def call(name: str = "tide.height", /, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def right(answer: str, *accepted: dict[str, list[Any]]) -> bool:
    calls = [{"tide.height": one} for one in accepted]
    return is_right({"functions": [TIDE], "calls": calls}, answer)


def test_values_are_compared_as_bfcl_does() -> None:
    wanted = {"harbour": ["East Port", "Eastport (north)"], "hour": [6, ""]}
    assert right(call(harbour="Eastport"), wanted)
    assert right("Let me look. " + call(harbour="EAST-PORT", hour=6) + " Done.", wanted)
    assert not right(call(harbour="Westport"), wanted)
    assert not right(call(harbour="Eastport", hour=7), wanted)
    assert not right(call(hour=6), wanted)  # the required one is missing
    assert not right(call(harbour="Eastport", hour="6"), wanted)  # a text for an integer
    assert not right(call(harbour="Eastport", minute=1), wanted)  # unknown
    assert not right(call("tide.width", harbour="Eastport"), wanted)
    assert not right("The tide is high.", wanted)
    assert not right(call(harbour="Eastport") * 2, wanted)  # once too often


def test_types_lists_and_mappings() -> None:
    base = {"harbour": ["X"]}
    assert right(call(harbour="x", factor=2), base | {"factor": [2.0]})  # an integer stands for a float
    assert not right(call(harbour="x", hour=6.0), base | {"hour": [6]})  # not the other way round
    assert not right(call(harbour="x", hour=True), base | {"hour": [1]})
    assert right(call(harbour="x", exact=True), base | {"exact": [True]})
    assert not right(call(harbour="x", exact=1), base | {"exact": [True]})
    assert right(call(harbour="x", days=["Mon.", "tue"]), base | {"days": [["mon", "Tue"]]})
    assert not right(call(harbour="x", days=["tue", "mon"]), base | {"days": [["mon", "tue"]]})
    mapping = base | {"options": [{"depth": [1, 2], "tone": ["low", ""]}]}
    assert right(call(harbour="x", options={"depth": 2}), mapping)
    assert not right(call(harbour="x", options={"tone": "low"}), mapping)
    assert not right(call(harbour="x", options={"depth": 1, "colour": 3}), mapping)


def test_parallel_calls_match_in_any_order_each_once() -> None:
    first, second = {"harbour": ["A"]}, {"harbour": ["B"]}
    assert right(call(harbour="b") + call(harbour="a"), first, second)
    assert not right(call(harbour="a") + call(harbour="a"), first, second)


def test_whether_a_call_is_wanted_at_all() -> None:
    none, some = ({"calls": None, "any": wanted, "functions": [TIDE]} for wanted in (False, True))
    assert is_right(none, "Harbour rhymes with barber.")
    assert not is_right(none, call(harbour="A"))
    assert is_right(some, call(harbour="A"))
    assert not is_right(some, "I don't know.")
    assert not is_right(some, "<tool_call>{broken</tool_call>")


@pytest.mark.parametrize(
    "broken", ["{", "[]", "3", '{"name": 1, "arguments": {}}', '{"name": "x", "arguments": 1}', "[" * 99999]
)
def test_a_call_that_cannot_be_read_is_wrong(broken: str) -> None:
    assert parse_calls(f"<tool_call>{broken}</tool_call>") is None
    assert not right(f"<tool_call>{broken}</tool_call>" + call(harbour="A"), {"harbour": ["A"]})


def test_tools_are_written_in_json_schema() -> None:
    written = tool(TIDE)["function"]["parameters"]
    assert written["type"] == "object"
    assert written["properties"]["factor"] == {"type": "number"}
    assert written["properties"]["options"] == {"type": "object"}


def _first_accepted(value: Any) -> Any:
    """Return a nested value with the first accepted one of each key; optional keys are left out."""
    if isinstance(value, dict):
        return {
            key: _first_accepted(one[0] if isinstance(one, list) and one else one)
            for key, one in value.items()
            if not (isinstance(one, list) and one and one[0] == "")
        }
    return [_first_accepted(one) for one in value] if isinstance(value, list) else value


def _accepted_call(
    name: str, accepted: dict[str, list[Any]], functions: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the call with the first accepted values; of required arguments the first that is given."""
    required = next(one for one in functions if one["name"] == name)["parameters"].get("required", [])
    arguments = {}
    for key, values in accepted.items():
        given = [value for value in values if value != ""] if key in required else values
        if given and given[0] != "":
            arguments[key] = _first_accepted(given[0])
    return {"name": name, "arguments": arguments}


def _rows(packages: Path) -> Iterator[dict[str, Any]]:
    data = load_data(registry()["bfcl"], "packaged", packages)
    yield from (row for rows in data.rows.values() for row in rows if row.get("ground_truth"))


def test_of_the_real_package_the_accepted_calls_are_right_and_others_wrong(eval_packages: Path) -> None:
    try:
        rows = list(_rows(eval_packages))
    except SmolError as error:
        pytest.skip(f"bfcl-eval cannot be fetched here: {error}")
    assert len(rows) == 2351
    unmatched = []
    for row in rows:
        wanted = {"functions": row["function"], "calls": row["ground_truth"]}
        calls = [
            _accepted_call(name, accepted, row["function"])
            for one in row["ground_truth"]
            for name, accepted in one.items()
        ]
        texts = [f"<tool_call>{json.dumps(one)}</tool_call>" for one in calls]
        if not is_right(wanted, "".join(texts)):
            unmatched.append(row["id"])
        assert not is_right(wanted, "".join(texts[:-1]))
        assert not is_right(wanted, "".join(texts) + texts[0])
        other = calls[0] | {"arguments": calls[0]["arguments"] | {"surplus": 1}}
        assert not is_right(wanted, f"<tool_call>{json.dumps(other)}</tool_call>" + "".join(texts[1:]))
    # Their answers lack what their signatures require, or name what these don't know.
    assert unmatched == [
        "parallel_multiple_26",
        "live_simple_106-63-0",
        "live_simple_112-68-0",
        "live_multiple_507-149-4",
        "live_multiple_862-181-3",
        "live_multiple_964-207-0",
    ]


def test_numbers_and_texts_do_not_mix() -> None:
    assert same(1, 1.0)
    assert not same(1, "1")
    assert same(None, None)
    assert not same(None, 0)
    assert not same([1], 1)
