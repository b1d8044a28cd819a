"""Text -> the chunks of datatrove's simplified text, each distinct chunk simplified once.

datatrove compares documents in lower case, without punctuation, numbers as ``0``, without accents. All of
this looks at no more than what stands between two spaces, so it is done once a distinct chunk and remembered.
A chunk of which nothing but accents is left makes two spaces in a row: then the text is simplified whole.
"""

import re
from itertools import chain
from typing import Any

_MOST_CHUNKS = 1 << 19
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)?")
"""datatrove's pattern of numbers, as far as ASCII goes."""


class Simplifier:
    """Simplifies texts; remembers up to ``most_chunks`` chunks, then begins again."""

    def __init__(self, *, most_chunks: int = _MOST_CHUNKS) -> None:
        """Use datatrove's normalisation with its default settings, which FineWeb used."""
        from datatrove.utils.text import PUNCTUATION_TRANS, simplify_text

        self._simplify: Any = simplify_text
        self._spaces = PUNCTUATION_TRANS
        self._most_chunks = most_chunks
        self._known: dict[str, tuple[str, ...]] = {}

    def __call__(self, text: str) -> list[str] | str:
        """Return the chunks of the simplified text, or the text where chunks alone don't say it."""
        chunks = text.split()
        known = self._known
        try:
            return list(chain.from_iterable([known[chunk] for chunk in chunks]))
        except KeyError:
            pass
        if len(known) >= self._most_chunks:
            known.clear()
        for chunk in chunks:
            if chunk not in known:
                pieces = self._pieces(chunk)
                if pieces is None:
                    return str(self._simplify(text))
                known[chunk] = pieces
        return list(chain.from_iterable([known[chunk] for chunk in chunks]))

    def _pieces(self, chunk: str) -> tuple[str, ...] | None:
        if chunk.isascii() and chunk.isalpha():
            return (chunk.lower(),)
        if chunk.isascii():
            return tuple(_NUMBER.sub("0", chunk.lower()).translate(self._spaces).split())
        pieces = tuple(self._simplify(chunk).split())
        if len(pieces) != len(chunk.lower().translate(self._spaces).split()):
            return None
        return pieces
