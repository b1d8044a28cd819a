"""Text -> MinHash signature: bit for bit what datatrove's stage 1 writes, vectorised.

1. The text is simplified and split as datatrove does it, from what is remembered of each chunk.
2. Five words in a row, joined by spaces, are hashed (xxh64).
3. 112 hash functions (a*x + b) mod 2**61 - 1 over all of them; the least value of each is the signature, in
   14 bands of 8. ``a`` and ``b`` come from numpy's RandomState(1), as datatrove's.

Two documents of Jaccard similarity s share a band with probability 1 - (1 - s**8)**14. About 1 µs a word.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import xxhash
from numpy.typing import NDArray

from smoldata.dedup.simplify import Simplifier
from smoldata.heuristics.splitter import WordSplitter

MERSENNE = np.uint64((1 << 61) - 1)
_SHIFT = np.uint64(61)
_BLOCK = 128
"""Five-grams at a time: 128 x 112 numbers stay in the processor's second cache."""
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class MinhashShape:
    """Words of a piece, bands, and values of a band; the defaults are FineWeb's."""

    ngram: int = 5
    bands: int = 14
    rows: int = 8
    seed: int = 1

    @property
    def hashes(self) -> int:
        """Values of a signature."""
        return self.bands * self.rows


class Signer:
    """Signs texts of one language."""

    def __init__(self, language: str = "eng_Latn", shape: MinhashShape | None = None) -> None:
        """Use the word splitter that datatrove assigns to ``language``."""
        self.shape = shape or MinhashShape()
        self._simplify = Simplifier()
        self._splitter = WordSplitter(language)
        source = np.random.RandomState(self.shape.seed)
        size = (1, self.shape.hashes)
        self._a = source.randint(1, MERSENNE, dtype=np.uint64, size=size)
        self._b = source.randint(0, MERSENNE, dtype=np.uint64, size=size)
        self._high = np.empty((_BLOCK, self.shape.hashes), np.uint64)
        self._low = np.empty((_BLOCK, self.shape.hashes), np.uint64)

    def shingles(self, text: str) -> Hashes:
        """Return the hash of every n words in a row: uint64[words - n + 1], empty for a shorter text."""
        simplified = self._simplify(text)
        splitter = self._splitter
        if isinstance(simplified, str):
            ids = splitter.split(simplified).ids
        else:
            ids = splitter.split_chunks(simplified).ids
        n = self.shape.ngram
        if len(ids) < n:
            return np.empty(0, np.uint64)
        known = splitter.table.words
        words = [known[number] for number in ids.tolist()]
        joined = " ".join(words).encode()
        ends = np.cumsum(splitter.table.size[ids] + 1)
        starts = np.concatenate([[0], ends[: len(ids) - n]]).tolist()
        spans = map(slice, starts, (ends[n - 1 :] - 1).tolist())
        hashes = map(xxhash.xxh64_intdigest, map(joined.__getitem__, spans))
        return np.fromiter(hashes, np.uint64, len(ids) - n + 1)

    def signature(self, text: str) -> Hashes | None:
        """Return uint64[bands, rows]; nothing for a text with too few words."""
        shingles = self.shingles(text)
        if not len(shingles):
            return None
        least = np.full(self.shape.hashes, MERSENNE, np.uint64)
        for start in range(0, len(shingles), _BLOCK):
            np.minimum(least, self._least(shingles[start : start + _BLOCK, None]), out=least)
        return least.reshape(self.shape.bands, self.shape.rows)

    def _least(self, shingles: Hashes) -> Hashes:
        """Return the least value of each hash function over up to a block of shingles, uint64[hashes]."""
        high, low = self._high[: len(shingles)], self._low[: len(shingles)]
        np.multiply(shingles, self._a, out=high)
        np.add(high, self._b, out=high)
        # Modulo 2**61 - 1 without division: the three high bits count as much as the lowest ones.
        np.bitwise_and(high, MERSENNE, out=low)
        np.right_shift(high, _SHIFT, out=high)
        np.add(low, high, out=low)
        if low.max() >= MERSENNE:
            low[low >= MERSENNE] -= MERSENNE  # one in 2**58
        least: Hashes = low.min(axis=0)
        return least

    def bands(self, text: str) -> bytes:
        """Return a 64-bit hash of each band, one after the other; nothing for a text with too few words.

        Two texts share a band if and only if they share a hash at its place, but for a chance of 2**-64.
        """
        signature = self.signature(text)
        if signature is None:
            return b""
        data = signature.astype("<u8").tobytes()
        step = 8 * self.shape.rows
        return b"".join(xxhash.xxh3_64_digest(data[at : at + step]) for at in range(0, len(data), step))


@lru_cache(maxsize=4)
def shared_signer(language: str, shape: MinhashShape) -> Signer:
    """Return the signer of a language that all steps of this process share."""
    return Signer(language, shape)
