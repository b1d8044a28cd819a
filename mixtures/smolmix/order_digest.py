"""One digest of a stage's order, for any trainer to compute again: docs/order.md, "Digest".

``order`` is over the places (source, pass, shard, window), ``tokens`` over what was read. Both are
xxh3-128 over a header and one entry a window, so that ranks can hash their own windows and put them in order.
Cost, on one busy core: a million places a second; tokens at about 190 MB/s for windows of 513 ids.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xxhash

from smoldata.errors import InputError
from smolmix.order import BLOCK, Samples
from smolmix.plan import Plan
from smolmix.windows import Tokens, Windows

_ORDER: Final = b"smolmix order 1\0"
_TOKENS: Final = b"smolmix tokens 1\0"


@dataclass(frozen=True, slots=True)
class OrderDigest:
    """Digest of the windows with sample index ``first`` to ``end`` - 1."""

    first: int
    end: int
    order: str
    """Over (source, pass, shard, window)."""
    tokens: str | None
    """Over the ids; None: they were not read."""


def window_hashes(tokens: Tokens) -> Iterator[bytes]:
    """Yield the 16 bytes of each window of ``tokens`` [n, sequence_length + 1] that the digest is made of."""
    for row in np.ascontiguousarray(tokens, "<u4"):
        yield xxhash.xxh3_128_digest(row)


class Digester:
    """Adds up a digest window by window, in the order of the sample indices."""

    def __init__(self, first: int, end: int) -> None:
        """Begin a digest of windows ``first`` to ``end`` - 1."""
        self.first, self.end, self._names = first, end, dict[str, int]()
        header = struct.pack("<QQ", first, end)
        self._order, self._tokens = xxhash.xxh3_128(_ORDER + header), xxhash.xxh3_128(_TOKENS + header)
        self._placed = self._hashed = first

    def add_places(self, samples: Samples) -> None:
        """Add the places of the next windows."""
        for name in samples.names:
            self._names.setdefault(name, xxhash.xxh3_64_intdigest(name.encode()))
        names = np.array([self._names[name] for name in samples.names], "<u8")
        columns = (names[samples.source], samples.pass_, samples.shard, samples.window)
        self._order.update(np.stack([column.astype("<u8") for column in columns], axis=1).tobytes())
        self._placed += len(samples)

    def add_hashes(self, hashes: Iterable[bytes]) -> None:
        """Add the hashes of the next windows' tokens, from :func:`window_hashes`."""
        for one in hashes:
            self._tokens.update(one)
            self._hashed += 1

    def add_tokens(self, tokens: Tokens) -> None:
        """Add the tokens of the next windows, [n, sequence_length + 1]."""
        self.add_hashes(window_hashes(tokens))

    def tokens_digest(self) -> str:
        """Return the digest over the tokens; every window must have been added."""
        assert self._hashed == self.end, f"{self._hashed} of {self.end} windows were added"
        return self._tokens.hexdigest()

    def digest(self) -> OrderDigest:
        """Return the digest; places of every window must have been added, and tokens of all or none."""
        assert self._placed == self.end, f"{self._placed} of {self.end} windows were added"
        tokens = None if self._hashed == self.first < self.end else self.tokens_digest()
        return OrderDigest(self.first, self.end, self._order.hexdigest(), tokens)


def check_range(plan: Plan, first: int, end: int | None) -> tuple[int, int]:
    """Return a range of sample indices; ``end`` None is the end of the stage.

    Raises:
        InputError: it is not within the stage.
    """
    end = plan.windows if end is None else end
    if not 0 <= first <= end <= plan.windows:
        raise InputError(f"windows {first:,} to {end:,} are not within the stage: it has {plan.windows:,}")
    return first, end


def digest_places(plan: Plan, first: int = 0, end: int | None = None) -> OrderDigest:
    """Return the digest of a range of a plan without its tokens: it needs no data."""
    digester = Digester(*check_range(plan, first, end))
    for begin in range(digester.first, digester.end, BLOCK):
        digester.add_places(plan.at_many(np.arange(begin, min(begin + BLOCK, digester.end))))
    return digester.digest()


def digest_windows(
    windows: Windows, first: int = 0, end: int | None = None, advance: Any = None
) -> OrderDigest:
    """Return the digest of a range of a stage, reading every window of it.

    ``advance(windows, text)`` is told of progress (:func:`smoldata.console.progress`).
    """
    digester = Digester(*check_range(windows.plan, first, end))
    for _, samples, tokens in windows.blocks(digester.first, digester.end):
        digester.add_places(samples)
        digester.add_tokens(tokens)
        if advance:
            advance(len(samples), "")
    return digester.digest()
