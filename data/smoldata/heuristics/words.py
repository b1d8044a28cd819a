"""Words as numbers: what the heuristics ask about a word is worked out once and kept in arrays.

A document becomes an array of word numbers; lengths, signs and letters of its words are then one indexing
each. The hash of a word is polynomial, so that the hash of words written one after the other follows from
theirs. About 150 bytes a word; :class:`WordTable` is emptied by its owner.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
_OTHER = 128
"""Stands for every character outside ASCII."""
_LETTER = np.array([chr(code).isalpha() for code in range(_OTHER + 1)])
_BASE = 0x9E3779B97F4A7C15  # odd, so that its powers have inverses modulo 2**64
_INVERSE = pow(_BASE, -1, 1 << 64)
_MASK = (1 << 64) - 1
_LEAST = 1 << 12
_FEW = 12
"""Words up to which a loop is faster than arrays."""


def powers(base: int, count: int) -> NDArray[np.uint64]:
    """Return ``base**0, base**1, ...`` modulo 2**64, uint64[count]."""
    factors = np.full(count, base & _MASK, np.uint64)
    factors[:1] = 1
    return np.multiply.accumulate(factors)


class Powers:
    """Powers of the hash's base and of its inverse, as far as they were asked for."""

    def __init__(self) -> None:
        self._up, self._down = powers(_BASE, _LEAST), powers(_INVERSE, _LEAST)

    def up(self, count: int) -> NDArray[np.uint64]:
        """Return at least ``count`` powers of the base."""
        if count > len(self._up):
            self._up = powers(_BASE, 2 * count)
        return self._up

    def down(self, count: int) -> NDArray[np.uint64]:
        """Return at least ``count`` powers of the inverse."""
        if count > len(self._down):
            self._down = powers(_INVERSE, 2 * count)
        return self._down


POWERS = Powers()


def hash_words(words: Sequence[str]) -> NDArray[np.uint64]:
    """Return the polynomial hash of each word: sum of code point times base**position, modulo 2**64.

    No word may be empty.
    """
    if len(words) <= _FEW:
        return np.array([_hash_word(word) for word in words], np.uint64)
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    starts = np.cumsum(lengths) - lengths
    codes = _codes("".join(words))
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    terms = codes.astype(np.uint64) * POWERS.up(int(lengths.max(initial=0)) + 1)[places]
    return np.add.reduceat(terms, starts)


def _codes(text: str) -> "NDArray[np.uint32]":
    """Return a text's code points, uint32[characters]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _hash_word(word: str) -> int:
    value = 0
    for character in reversed(word):
        value = value * _BASE + ord(character) & _MASK
    return value


class WordTable:
    """Numbers for words, with what the heuristics ask about each: indexable by arrays of numbers.

    ``pinned`` words have the numbers 0, 1, …, whatever else is in the table.
    """

    def __init__(self, symbols: frozenset[str], pinned: Sequence[str] = ()) -> None:
        """Start empty; ``symbols`` are the characters that make no word by themselves."""
        self._symbols = symbols
        self._no_symbol = np.array([chr(code) not in symbols for code in range(_OTHER + 1)])
        self._pinned = tuple(pinned)
        self.pinned_set = frozenset(pinned)
        self.clear()

    def clear(self) -> None:
        """Forget every word but the pinned ones."""
        self.numbers: dict[str, int] = {}
        self.words: list[str] = []
        self.length = np.zeros(_LEAST, np.int64)
        """Characters of a word."""
        self.size = np.zeros(_LEAST, np.int64)
        """Bytes of a word in UTF-8."""
        self.is_word = np.zeros(_LEAST, np.bool_)
        """A word has a character that is no symbol."""
        self.has_letter = np.zeros(_LEAST, np.bool_)
        self.hash = np.zeros(_LEAST, np.uint64)
        self.has_space = False
        """Some word of the table has a space in it."""
        self.add(self._pinned)

    def __len__(self) -> int:
        """Return how many words there are."""
        return len(self.words)

    def pin(self, words: Iterable[str]) -> None:
        """Pin further words; the table is emptied, as numbers change."""
        self._pinned = tuple(dict.fromkeys([*self._pinned, *words]))
        self.pinned_set = frozenset(self._pinned)
        self.clear()

    @property
    def pinned(self) -> tuple[str, ...]:
        """The pinned words in the order of their numbers."""
        return self._pinned

    def add(self, words: Iterable[str]) -> None:
        """Give each word that has none a number."""
        fresh = [word for word in dict.fromkeys(words) if word not in self.numbers]
        if not fresh:
            return
        first, end = len(self.words), len(self.words) + len(fresh)
        self.words += fresh
        self.numbers.update(zip(fresh, range(first, end), strict=True))
        if end > len(self.length):
            self._grow(2 * end)
        text = "".join(fresh)
        lengths = np.fromiter(map(len, fresh), np.int64, len(fresh))
        starts = np.cumsum(lengths) - lengths
        self.length[first:end] = lengths
        self.hash[first:end] = hash_words(fresh)
        self.has_space = self.has_space or " " in text
        codes = np.minimum(_codes(text), _OTHER)
        self.size[first:end] = lengths
        self.is_word[first:end] = np.logical_or.reduceat(self._no_symbol[codes], starts)
        self.has_letter[first:end] = np.logical_or.reduceat(_LETTER[codes], starts)
        if text.isascii():
            return
        for number, word in enumerate(fresh, first):
            if not word.isascii():
                self.size[number] = len(word.encode("utf-8", "surrogatepass"))
                self.is_word[number] = word.isalnum() or not self._symbols.issuperset(word)
                self.has_letter[number] = word.isalpha() or any(map(str.isalpha, word))

    def ids(self, words: Sequence[str]) -> Ids:
        """Return the numbers of words, adding those that have none: int64[len(words)]."""
        self.add(words)
        return np.fromiter(map(self.numbers.__getitem__, words), np.int64, len(words))

    def _grow(self, size: int) -> None:
        for name in ("length", "size", "is_word", "has_letter", "hash"):
            column = getattr(self, name)
            longer = np.zeros(size, column.dtype)
            longer[: len(column)] = column
            setattr(self, name, longer)
