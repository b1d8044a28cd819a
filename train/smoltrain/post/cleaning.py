"""Rows -> rows without emojis in answers, or the reason why a row is dropped.

Emojis: pictures of Unicode (``Extended_Pictographic`` shown as a picture, flags, keycaps) leave assistant
turns with the space beside them; signs such as © and ™ are text and stay. Users' turns stay as they are.
Control tokens: a row whose content spells a turn marker (``<|im_start|>`` and any other ``<|...|>`` of the
vocabulary) would forge turns once it is tokenized; it is dropped. ``<think>``, ``<tool_call>`` and the like
are content. Duplicates: a row whose conversation was seen already. Evaluation sets: 13-grams and exact
answers by :mod:`smoldata.decontamination`. Cost: about 20 MB/s a core, less with decontamination.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import regex
import xxhash

from smoltok.control import smollm3_names
from smoltrain.post.schemas import Conversation, Message, Pair, RowError, conversations_of

_PICTURE = (
    r"(?:\p{RI}\p{RI}|[0-9#*]\uFE0F?\u20E3|"
    r"(?:\p{Emoji_Presentation}|\p{Extended_Pictographic}(?=\uFE0F|\p{EMod}|\u200D\p{Extended_Pictographic}))"
    r"\uFE0F?\p{EMod}?[\U000E0020-\U000E007F]*"
    r"(?:\u200D\p{Extended_Pictographic}\uFE0F?\p{EMod}?)*)"
)
_PICTURES = regex.compile(rf"^{_PICTURE}+[ \t]*|[ \t]*{_PICTURE}+", regex.MULTILINE)
_CONTROL = regex.compile("|".join(regex.escape(name) for name in smollm3_names().values() if "<|" in name))


def without_emojis(text: str) -> str:
    """Return the text without pictures; one that holds none comes back as it is.

    >>> without_emojis("Great 😀! © 2025 👩‍💻 ok")
    'Great! © 2025 ok'
    """
    return str(_PICTURES.sub("", text))


def clean_conversation(conversation: Conversation) -> Conversation:
    """Return a conversation with clean answers.

    Raises :class:`RowError`: it spells a control token, or nothing but emojis was answered.
    """
    if any(_CONTROL.search(message.content) for message in conversation.messages):
        raise RowError("control-token")
    messages = tuple(
        Message(message.role, without_emojis(message.content)) if message.role == "assistant" else message
        for message in conversation.messages
    )
    if not messages[-1].content.strip():
        raise RowError("only-emojis")
    return dataclasses.replace(conversation, messages=messages)


def clean_row(row: Conversation | Pair) -> Conversation | Pair:
    """Return a clean row. Raises :class:`RowError` with the reason why it is dropped."""
    if isinstance(row, Conversation):
        return clean_conversation(row)
    pair = Pair(clean_conversation(row.chosen), clean_conversation(row.rejected))
    if pair.chosen.messages == pair.rejected.messages:
        raise RowError("same-answers")
    return pair


def row_key(row: Conversation | Pair) -> int:
    """Return a 64-bit hash of what a row says: equal conversations have equal keys, whatever their id."""
    return xxhash.xxh3_64_intdigest(row_text(row))


def row_text(row: Conversation | Pair) -> str:
    """Return all that a row says, as one text."""
    sides = ["\n".join(message.content for message in one.messages) for one in conversations_of(row)]
    return "\0".join(sides)


class Evaluations:
    """Evaluation sets, and which rows hold something of them."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read the sets: files, or folders of them. Raises InputError if one cannot be read."""
        from smoldata.decontamination.benchmarks import read_benchmarks
        from smoldata.decontamination.index import build_index

        self._index: Any = build_index(read_benchmarks(paths))

    @property
    def digest(self) -> str:
        """Digest of items and rules."""
        return str(self._index.digest)

    def contaminated(self, rows: Iterable[Conversation | Pair]) -> set[int]:
        """Return which rows (by position) share 13 words, or a whole answer, with an item."""
        from smoldata.decontamination.match import find_matches

        texts = [row_text(row) for row in rows]
        return {number for number, matches in find_matches(texts, self._index) if matches}
