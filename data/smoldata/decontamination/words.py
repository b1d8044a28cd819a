"""Texts -> normalised words in one byte buffer, and 64-bit hashes of all their n-grams.

A text is folded (lower case, marks removed: cosmopedia's rule in ``decontaminate.py``), its words are runs
of letters, digits and ``_``; a character of a script without spaces (Han, Kana, Thai, ...) is a word of its
own. The words of all texts stand in one buffer, joined by one space. With ``P`` the running sum of
``byte[k] * B**k`` modulo 2**64, any n-gram's hash is ``(P[end] - P[begin]) * B**-begin``: no loop over n.
Whoever finds an equal hash compares the bytes; a collision costs time, never a wrong match.
Cost: 30 to 70 MB of text a CPU second, 40 bytes of memory a byte of text.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

BASE: Final = 0x9E3779B97F4A7C15
"""Odd, so that it has an inverse modulo 2**64."""
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)
_NON_ASCII: Final = re.compile(r"[^\x00-\x7f]+")
_UNSPACED: Final = re.compile("CJK|HIRAGANA|KATAKANA|THAI|LAO|KHMER|MYANMAR|TIBETAN")
_SPACE: Final = 32
_SPACED: Final = bytes(c if c > 127 or chr(c).isalnum() or chr(c) == "_" else 32 for c in range(256))  # noqa: PLR2004


class _Folds(dict[int, str]):
    """What each character becomes; filled in as characters are met."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _folded(chr(code))
        return folded


def _folded(character: str) -> str:
    if _UNSPACED.match(unicodedata.name(character, "")) and character.isalnum():
        return f" {unicodedata.normalize('NFC', character.lower())} "
    parts = unicodedata.normalize("NFD", character.lower())
    return "".join(
        part if part.isalnum() or part == "_" else "" if unicodedata.category(part) == "Mn" else " "
        for part in parts
    )


_FOLDS: Final = _Folds()


def fold(text: str) -> str:
    """Return ``text`` in lower case without marks; what is in no word is a space or ASCII punctuation."""
    if text.isascii():
        return text.lower()
    return _NON_ASCII.sub(lambda run: run[0].translate(_FOLDS), text.lower())


@dataclass(frozen=True, slots=True)
class Words:
    """The words of some texts. Words of text ``t`` are those ``first[t] .. first[t + 1]``."""

    buffer: bytes
    """All words, joined by one space."""
    starts: I64
    ends: I64
    """Where word ``w`` stands in ``buffer``: bytes ``starts[w] .. ends[w]``."""
    first: I64
    """[texts + 1]."""

    def __len__(self) -> int:
        """Return the number of words."""
        return len(self.starts)

    def text(self, begin: int, end: int) -> bytes:
        """Return words ``begin .. end`` joined by one space."""
        return self.buffer[int(self.starts[begin]) : int(self.ends[end - 1])] if end > begin else b""


def split(texts: Sequence[str]) -> Words:
    """Return the normalised words of ``texts``."""
    folded = [fold(text).encode("utf-8", "replace").translate(_SPACED) + b" " for text in texts]
    raw = np.frombuffer(b"".join(folded), np.uint8)
    is_word = raw != _SPACE
    kept = is_word.copy()
    kept[1:] |= is_word[:-1]  # a word's bytes and the one space after it
    buffer = raw[kept]
    ends = np.flatnonzero(buffer == _SPACE)
    starts = np.empty_like(ends)
    starts[:1], starts[1:] = 0, ends[:-1] + 1
    begins = np.cumsum([0, *(len(one) for one in folded)], dtype=np.int64)
    sizes = np.add.reduceat(kept, begins[:-1], dtype=np.int64) if folded else begins[1:]
    first = np.searchsorted(ends, np.concatenate([begins[:1], np.cumsum(sizes)]))
    return Words(buffer.tobytes(), starts, ends, first)


@dataclass(frozen=True, slots=True)
class Grams:
    """Hashes of every n-gram that lies within one text."""

    hashes: U64
    words: I64
    """Number of each one's first word."""


class Hasher:
    """Hashes n-grams of one :class:`Words`; the running sum is made once for all n."""

    def __init__(self, words: Words) -> None:
        """Prepare the running sum over the buffer."""
        raw = np.frombuffer(words.buffer, np.uint8)
        powers, self._inverses = _powers(_rounded(len(raw) + 1))
        self._sums = np.zeros(len(raw) + 1, np.uint64)
        np.cumsum((raw.astype(np.uint64) + np.uint64(1)) * powers[: len(raw)], out=self._sums[1:])
        self.words = words

    def grams(self, n: int) -> Grams:
        """Return the hashes of the n-grams of each text, in order."""
        words = self.words
        count = max(len(words) - n + 1, 0)
        inside = np.ones(count, bool)
        for end in words.first[1:-1].tolist():
            inside[max(end - n + 1, 0) : end] = False
        begin = np.flatnonzero(inside)
        starts = words.starts[begin]
        hashes = (self._sums[words.ends[begin + n - 1]] - self._sums[starts]) * self._inverses[starts]
        hashes ^= hashes >> np.uint64(31)
        return Grams(hashes * _MIX, begin)


def _rounded(length: int) -> int:
    """Return a length that few tables serve: the next power of two."""
    return max(1 << 20, 1 << (length - 1).bit_length())


@cache
def _powers(length: int) -> tuple[U64, U64]:
    """Return ``B**k`` and ``B**-k`` modulo 2**64 for k below ``length``."""
    tables: list[Any] = []
    for base in (BASE, pow(BASE, -1, 1 << 64)):
        table = np.ones(length, np.uint64)
        table[1:] = np.uint64(base)
        tables.append(np.cumprod(table, out=table))
    return tables[0], tables[1]


def batches(texts: Sequence[str], most_characters: int = 1 << 20) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield (number of the first, texts) in batches of about ``most_characters``; no text is ever cut."""
    begin, size = 0, 0
    for number, text in enumerate(texts):
        if size and size + len(text) > most_characters:
            yield begin, texts[begin:number]
            begin, size = number, 0
        size += len(text)
    if begin < len(texts):
        yield begin, texts[begin:]
