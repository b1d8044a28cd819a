"""Conversations and solved problems -> text.

Conversations are lists of turns, ``messages`` (``role``, ``content``) or ``conversations`` (``from``,
``value``), as in smoltalk2, OpenThoughts and ShareGPT. A chat template with control tokens belongs to the
trainer (its loss masks need them); here a document is ordinary text: a turn is its role and what was said,
reasoning traces (``<think>…</think>``) as they stand.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from smoldata.kinds import Unrenderable

_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "observation": "tool",
    "function_call": "assistant",
}


def conversation(row: Mapping[str, Any]) -> str:
    """Return the turns as ``role: content``, an empty line between."""
    return "\n\n".join(f"{role}: {content}" for role, content in turns(row)) + "\n"


def contents(row: Mapping[str, Any]) -> str:
    """Return what was said, in order, an empty line between."""
    return "\n\n".join(content for _, content in turns(row))


def problem(row: Mapping[str, Any]) -> str:
    """Return a problem and its solution, an empty line between (nvidia/OpenMathReasoning's columns)."""
    parts = [row.get("problem"), row.get("generated_solution")]
    for name, part in zip(("no_problem", "no_solution"), parts, strict=True):
        if not isinstance(part, str) or not part.strip():
            raise Unrenderable(name)
    return "\n\n".join(str(part).strip() for part in parts) + "\n"


def turns(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (role, content) of each turn that says something.

    Raises :class:`Unrenderable`: no turns, one without a role or content, or nobody answers.
    """
    listed = row.get("messages") if row.get("messages") is not None else row.get("conversations")
    if not isinstance(listed, list | tuple) or not listed:
        raise Unrenderable("no_messages")
    found = [turn for turn in _turns(listed) if turn[1]]
    if not any(role == "assistant" for role, _ in found):
        raise Unrenderable("no_answer")
    return found


def _turns(listed: Any) -> Iterator[tuple[str, str]]:
    for message in listed:
        if not isinstance(message, Mapping):
            raise Unrenderable("bad_message")
        role, content = (
            message.get(new, message.get(old)) for new, old in (("role", "from"), ("content", "value"))
        )
        if not isinstance(role, str) or not isinstance(content, str):
            raise Unrenderable("bad_message")
        yield _ROLES.get(role, role), content.strip()
