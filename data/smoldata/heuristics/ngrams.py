"""Bounds on repeated n-grams: most documents are shown to be under a threshold without counting exactly.

A document is an array of word numbers. Equal n-grams have equal hashes, so what is counted over hashes is
never below the truth:

- ``top``: the most frequent n-gram makes count * length characters. If no hash occurs often enough for the
  longest n-gram of the document, the threshold holds. What bounds a count bounds those of longer n-grams.
- ``duplicates``: the greedy count of Gopher's rule takes n-grams that occurred before and don't overlap. What
  all n-grams that occurred before cover together is never less.

Only where a bound does not decide are strings compared. Cost: one sort of the n-grams a size, about 12 µs for
1,000 words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoldata.heuristics.words import POWERS, Ids, WordTable

_HALF = np.uint64(32)
_MIX = np.uint64(0xD1B54A32D192ED03)
Hashes = NDArray[np.uint64]


@dataclass(slots=True)
class Grams:
    """The words of a document, ready for n-grams of any size."""

    lengths: Ids
    """Characters of each word, int64[words]."""
    ends: Ids
    """Characters before each word, and of all, int64[words + 1]."""
    own: Hashes
    """Hash of each word, uint64[words]."""
    sums: Hashes
    """Hash of what stands before each word, and of all, uint64[words + 1]."""
    down: Hashes

    @classmethod
    def of(cls, ids: Ids, table: WordTable) -> "Grams":
        """Prepare a document's words."""
        lengths = table.length[ids]
        ends = np.zeros(len(ids) + 1, np.int64)
        np.cumsum(lengths, out=ends[1:])
        total = int(ends[-1]) + 1
        own = table.hash[ids]
        sums = np.zeros(len(ids) + 1, np.uint64)
        starts = ends[:-1]
        np.cumsum(own * POWERS.up(total)[starts], out=sums[1:])
        return cls(lengths, ends, own, sums, POWERS.down(total)[starts])

    def longest(self, size: int) -> int:
        """Return the characters of the longest ``size`` words that follow one another."""
        return int((self.ends[size:] - self.ends[:-size]).max())

    def joined(self, size: int) -> Hashes:
        """Return the hash of every ``size`` words written one after the other, uint64[words - size + 1]."""
        return (self.sums[size:] - self.sums[:-size]) * self.down[: len(self.down) - size + 1]

    def mixed(self, size: int) -> Hashes:
        """Return a hash of every ``size`` words that tells where each word ends, uint64[words - size + 1]."""
        count = len(self.own) - size + 1
        keys = self.own[:count]
        for place in range(1, size):
            keys = keys * _MIX + self.own[place : count + place]
        return keys


def most_times(grams: Grams, size: int) -> int:
    """Return a bound on how often any n-gram occurs; there must be at least ``size`` words.

    No longer n-gram occurs more often.
    """
    ordered = _sorted_halves(grams.mixed(size))
    edges = np.flatnonzero(ordered[1:] != ordered[:-1])
    if not len(edges):
        return len(ordered)
    middle = int((edges[1:] - edges[:-1]).max(initial=0))
    return max(middle, int(edges[0]) + 1, len(ordered) - 1 - int(edges[-1]))


class TopBound:
    """Shows that the most frequent n-gram of a document makes little of it, for one size after the other.

    No word may have a space in it.
    """

    def __init__(self, grams: Grams, characters: int) -> None:
        """Take a document's words and the characters of its text."""
        self._grams, self._characters = grams, characters
        self._size, self._times = 0, len(grams.own)

    def is_below(self, size: int, share: float) -> bool:
        """Return true if the most frequent n-gram surely makes no more than ``share`` of the characters.

        There must be at least ``size`` words. False says nothing.
        """
        longest = self._grams.longest(size) + size - 1
        if size >= self._size and self._times * longest / self._characters <= share:
            return True
        self._size, self._times = size, most_times(self._grams, size)
        return self._times * longest / self._characters <= share


def _sorted_halves(keys: Hashes) -> "NDArray[np.uint32]":
    """Return half of each key, in order: at least as many are equal, and sorting takes half the time."""
    halves = (keys >> _HALF).astype(np.uint32)
    halves.sort()
    return halves


def top_characters(grams: Grams, size: int, ids: Ids) -> int | None:
    """Return the characters of the most frequent n-gram with single spaces, times how often it occurs.

    Of several as frequent, the first in the text. None if different n-grams share a hash.
    """
    keys = grams.mixed(size)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    times = np.diff(np.append(starts, len(ordered)))
    most = int(times.max())
    best = starts[times == most]
    firsts = order[best]  # the sort is stable: the first of a run is the first in the text
    everywhere = order[best[:, None] + np.arange(most)]
    for place in range(size):
        if (ids[everywhere + place] != ids[firsts + place][:, None]).any():
            return None
    first = int(firsts.min())
    return most * (int(grams.ends[first + size] - grams.ends[first]) + size - 1)


def sizes_to_count(
    grams: Grams, wanted: Sequence[tuple[int, float]], characters: int
) -> list[tuple[int, float]]:
    """Return the (size, share) of which repeated n-grams may make more than the share of a text.

    The others surely don't.
    """
    found = []
    for size, share in wanted:
        if size >= len(grams.own):
            continue
        ordered = _sorted_halves(grams.joined(size))
        repeats = int(np.count_nonzero(ordered[1:] == ordered[:-1]))
        if not repeats or repeats * grams.longest(size) / characters <= share:
            continue
        if not _covers_little(grams, size, characters, share):
            found.append((size, share))
    return found


def _covers_little(grams: Grams, size: int, characters: int, share: float) -> bool:
    covered = _covered(grams.joined(size), size)
    return int(grams.lengths[covered].sum()) / characters <= share


def _covered(keys: Hashes, size: int) -> Any:
    """Return which words stand in an n-gram that occurred before, bool[words]."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    marks = np.zeros(len(keys) + 2 * size - 1, np.int64)
    marks[order[1:][ordered[1:] == ordered[:-1]] + size] = 1
    running = np.cumsum(marks)
    return running[size:] > running[:-size]


def duplicate_characters(grams: Grams, size: int, joined: str) -> int:
    """Return the characters of n-grams that occurred before, taken greedily from the start without overlap.

    ``joined`` is all words without spaces; equal n-grams are equal pieces of it. datatrove calls this
    ``find_all_duplicate``; only places whose hash occurs twice are looked at.
    """
    keys = grams.joined(size)
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    places = np.sort(order[np.append(same, [False]) | np.append([False], same)]).tolist()
    starts = grams.ends.tolist()
    seen: set[str] = set()
    characters, free = 0, 0
    for place in places:
        if place < free:
            continue
        gram = joined[starts[place] : starts[place + size]]
        if gram in seen:
            characters += len(gram)
            free = place + size
        else:
            seen.add(gram)
    return characters
