"""Rows of the hub's three schemas -> conversations and pairs in one shape, or the reason why not.

HuggingFaceTB/smoltalk2, by its card: Mid ``messages``; SFT ``messages`` and ``chat_template_kwargs``;
Preference ``chosen`` and ``rejected`` as whole conversations, ``prompt`` as a text, ``chat_template_kwargs``.
``prompt`` repeats what both conversations begin with, and trainers that get it beside whole conversations
fail: it is left out. A ``null`` argument of the template counts as not given. Cost: microseconds a row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from smoltrain.post.recipe import Mode

ROLES = ("system", "user", "assistant", "tool")
_ARGUMENTS = ("enable_thinking", "custom_instructions", "xml_tools", "python_tools", "date_string")

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
ARGUMENTS = pa.struct(
    [
        ("enable_thinking", pa.bool_()),
        ("custom_instructions", pa.string()),
        ("xml_tools", pa.list_(pa.string())),
        ("python_tools", pa.list_(pa.string())),
        ("date_string", pa.string()),
    ]
)
_IDENTITY = [("id", pa.string()), ("subset", pa.string()), ("mode", pa.string())]
CONVERSATION_SCHEMA = pa.schema(
    [*_IDENTITY, ("messages", MESSAGES), ("chat_template_kwargs", ARGUMENTS), ("tokens", pa.int32())]
)
PAIR_SCHEMA = pa.schema(
    [
        *_IDENTITY,
        ("chosen", MESSAGES),
        ("rejected", MESSAGES),
        ("chat_template_kwargs", ARGUMENTS),
        ("chosen_tokens", pa.int32()),
        ("rejected_tokens", pa.int32()),
    ]
)


class RowError(ValueError):
    """A row that cannot be used; its text is the reason under which it is counted."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row of mid-training or SFT."""

    id: str
    subset: str
    mode: Mode
    messages: tuple[Message, ...]
    arguments: dict[str, Any] = field(default_factory=dict)
    """Of the chat template; ``enable_thinking`` is always there but in mid-training."""

    def as_row(self) -> dict[str, Any]:
        """Return the row of :data:`CONVERSATION_SCHEMA`, its length not counted."""
        return {
            "id": self.id,
            "subset": self.subset,
            "mode": self.mode,
            "messages": as_messages(self.messages),
            "chat_template_kwargs": {name: self.arguments.get(name) for name in _ARGUMENTS},
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """One row of preference optimization: the same prompt, two last turns."""

    chosen: Conversation
    rejected: Conversation

    def as_row(self) -> dict[str, Any]:
        """Return the row of :data:`PAIR_SCHEMA`, its lengths not counted."""
        row = self.chosen.as_row()
        row["chosen"] = row.pop("messages")
        return row | {"rejected": as_messages(self.rejected.messages)}


def as_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Return turns as what chat templates take."""
    return [{"role": message.role, "content": message.content} for message in messages]


def read_conversation(row: Mapping[str, Any], number: int, subset: str, mode: Mode) -> Conversation:
    """Return a row of Mid or SFT. Raises :class:`RowError` with the reason."""
    messages = _messages(row.get("messages"))
    return Conversation(f"{subset}/{number}", subset, mode, messages, _arguments(row, mode))


def read_pair(row: Mapping[str, Any], number: int, subset: str, mode: Mode) -> Pair:
    """Return a row of Preference. Raises :class:`RowError` with the reason."""
    arguments = _arguments(row, mode)
    chosen, rejected = (
        Conversation(f"{subset}/{number}", subset, mode, _messages(row.get(side)), arguments)
        for side in ("chosen", "rejected")
    )
    if chosen.messages[:-1] != rejected.messages[:-1]:
        raise RowError("prompts-differ")
    if chosen.messages == rejected.messages:
        raise RowError("same-answers")
    return Pair(chosen, rejected)


def _arguments(row: Mapping[str, Any], mode: Mode) -> dict[str, Any]:
    given = row.get("chat_template_kwargs") or {}
    if not isinstance(given, Mapping):
        raise RowError("arguments-not-a-mapping")
    arguments = {name: given[name] for name in _ARGUMENTS if given.get(name) is not None}
    if mode == "mid":
        return arguments
    thinks = arguments.setdefault("enable_thinking", mode == "think")
    if thinks != (mode == "think"):
        raise RowError("mode-differs")
    return arguments


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise RowError("no-messages")
    messages = tuple(_message(one, number) for number, one in enumerate(value))
    if messages[-1].role != "assistant":
        raise RowError("ends-without-answer")
    if not messages[-1].content.strip():
        raise RowError("empty-answer")
    return messages


def _message(value: Any, number: int) -> Message:
    if not isinstance(value, Mapping):
        raise RowError("message-not-a-mapping")
    role, content = value.get("role"), value.get("content")
    if role not in ROLES or (role == "system" and number > 0):
        raise RowError("role-out-of-place")
    if not isinstance(content, str):
        raise RowError("content-not-a-text")
    return Message(str(role), content)


def conversations_of(row: Conversation | Pair) -> Iterator[Conversation]:
    """Yield the conversations of a row: one, or both sides of a pair."""
    if isinstance(row, Pair):
        yield row.chosen
        yield row.rejected
    else:
        yield row


def read_row(row: Mapping[str, Any], number: int, subset: str, mode: Mode, kind: str) -> Conversation | Pair:
    """Return a row of the kind that the recipe names. Raises :class:`RowError` with the reason."""
    return (read_pair if kind == "pairs" else read_conversation)(row, number, subset, mode)
