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
_DIGIT = re.compile(r"[0-9]")
_MARKS = frozenset(",.:;!?")
"""Some of datatrove's punctuation, which is all replaced by spaces."""


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
        found = list(map(self._known.get, chunks))
        if None not in found:
            return list(chain.from_iterable(found))  # type: ignore[arg-type] # none is None
        if len(self._known) >= self._most_chunks:
            self._known.clear()
        if not self._learn(list(dict.fromkeys(chunks))):
            return str(self._simplify(text))
        known = self._known
        return list(chain.from_iterable([known[chunk] for chunk in chunks]))

    def _learn(self, chunks: list[str]) -> bool:
        """Remember what chunks become; false if accents alone are left of one of them."""
        known = self._known
        for chunk in chunks:
            if chunk in known:
                continue
            core = chunk[:-1] if chunk[-1] in _MARKS else chunk
            if core.isalpha() and core.isascii():
                known[chunk] = (core.lower(),)
                continue
            pieces = self._pieces(chunk)
            if pieces is None:
                return False
            known[chunk] = pieces
        return True

    def _pieces(self, chunk: str) -> tuple[str, ...] | None:
        lower = chunk.lower()
        if chunk.isascii():
            return tuple(_NUMBER.sub("0", lower).translate(self._spaces).split())
        bare = lower.translate(self._spaces)
        if bare.isascii() and not _DIGIT.search(bare):
            return tuple(bare.split())  # neither numbers nor accents are left in it
        pieces = tuple(self._simplify(chunk).split())
        return pieces if len(pieces) == len(bare.split()) else None
