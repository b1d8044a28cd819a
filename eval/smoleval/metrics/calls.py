"""Tool calls in an answer -> whether they are the right ones, by BFCL's rule of matching parsed calls.

A call is ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``, as our chat template asks for. Right:
as many calls as wanted, each wanted one matched by another call (in any order); the name equal; every
argument known, with one of the accepted values, of its declared type (an integer stands for a float) or of
theirs; none missing unless leaving it out is accepted (``""`` among its values). Texts are compared without
case, spaces and ``,./-_*^``. Where no call is wanted, none must be made; where any is wanted (relevance),
one must be. Six of the package's 2,351 listed answers can't be given: they contradict their own signatures.
Rule and data: https://gorilla.cs.berkeley.edu/leaderboard.html
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.metrics.wrapping import single

_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_IGNORED = re.compile(r"[ ,./\-_*^]")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "float": (float, int),
    "number": (float, int),
    "boolean": (bool,),
    "array": (list,),
    "tuple": (list,),
    "dict": (dict,),
    "object": (dict,),
}
Call = tuple[str, dict[str, Any]]


@register(version=1)
def accuracy(task: TaskDefinition) -> Any:
    """Return the share of items whose calls are right."""
    return single("accuracy", lambda doc, response: float(is_right(doc.specific, response.final_text[0])))


def is_right(wanted: Mapping[str, Any], answer: str) -> bool:
    """Tell whether an answer makes the wanted calls.

    ``wanted``: ``functions`` (BFCL's signatures) and ``calls`` (its accepted values), or ``any``: true if
    some call is wanted, false if none.
    """
    calls = parse_calls(answer)
    if wanted.get("calls") is None:
        return bool(calls) == bool(wanted["any"]) if calls is not None else False
    if calls is None or len(calls) != len(wanted["calls"]):
        return False
    signatures = {function["name"]: function for function in wanted["functions"]}
    return _matched(calls, [next(iter(call.items())) for call in wanted["calls"]], signatures)


def parse_calls(answer: str) -> list[Call] | None:
    """Return the calls of an answer; None if one of them cannot be read."""
    found: list[Call] = []
    for text in _CALL.findall(answer):
        try:
            call = json.loads(text)
            name, arguments = call["name"], call.get("arguments", {})
        except (json.JSONDecodeError, RecursionError, TypeError, KeyError, AttributeError):
            return None
        if not isinstance(name, str) or not isinstance(arguments, dict):
            return None
        found.append((name, arguments))
    return found


def _matched(calls: Sequence[Call], wanted: Sequence[tuple[str, Any]], signatures: Mapping[str, Any]) -> bool:
    """Tell whether the calls can be paired with the wanted ones (tried in order, as BFCL does)."""
    free = list(calls)
    for name, accepted in wanted:
        hit = next(
            (call for call in free if call[0] == name and _fits(call[1], accepted, signatures[name])), None
        )
        if hit is None:
            return False
        free.remove(hit)
    return True


def _fits(arguments: Mapping[str, Any], accepted: Mapping[str, Sequence[Any]], signature: Any) -> bool:
    parameters = signature["parameters"]
    known = parameters.get("properties", {})
    if any(name not in known or name not in accepted for name in arguments):
        return False
    missing = [name for name in accepted if name not in arguments]
    required = set(parameters.get("required", ()))
    if any(name in required or "" not in accepted[name] for name in missing):
        return False
    return all(_accepted(value, accepted[name], known[name]) for name, value in arguments.items())


def _accepted(value: Any, choices: Sequence[Any], declared: Mapping[str, Any]) -> bool:
    """Tell whether a value is among the accepted ones and of its declared type, or of their own."""
    kinds = _TYPES.get(str(declared.get("type")), ())
    right_type = not kinds or _is(value, kinds)
    theirs = next((type(choice) for choice in choices if choice != ""), None)
    return (right_type or type(value) is theirs) and any(same(value, choice) for choice in choices)


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def same(value: Any, choice: Any) -> bool:
    """Compare a value with an accepted one; an accepted mapping holds accepted values of its own."""
    if isinstance(value, str) and isinstance(choice, str):
        return _plain(value) == _plain(choice)
    if value is None or isinstance(value, bool) or isinstance(choice, bool):
        return value is choice
    if isinstance(value, list) and isinstance(choice, list):
        return len(value) == len(choice) and all(map(same, value, choice))
    if isinstance(value, dict) and isinstance(choice, dict):
        return _same_mapping(value, choice)
    return type(value) in (int, float) and type(choice) in (int, float) and bool(value == choice)


def _same_mapping(value: Mapping[str, Any], choice: Mapping[str, Any]) -> bool:
    if any(key not in choice for key in value):
        return False
    for key, accepted in choice.items():
        options = accepted if isinstance(accepted, list) else [accepted]
        if key not in value:
            if "" not in options:
                return False
        elif not any(same(value[key], option) for option in options):
            return False
    return True


def _plain(text: str) -> str:
    return _IGNORED.sub("", text).lower().replace("'", '"')
