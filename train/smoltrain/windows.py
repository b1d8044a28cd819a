"""Token windows into what a model trains on: inputs, positions, labels and the mask of labels.

A window is seq + 1 tokens on disk. Inputs are its first seq tokens, labels its last seq. A document begins at
the start of the window and after each EOS; positions count from there, and the label that would begin the
next document is masked: in other words, every label whose input is EOS. These are the rules of nanotron's own
loader (``DatatroveFileDataset._get_positions_from_tokens`` and ``DataCollatorForCLMWithPositionIds``).

Windows are made a few rows at a time into arrays that exist already: what a row needs stays in the cache,
and no page is asked of the system. Cost: about 14 microseconds a window of 4,097 tokens on one core, most
of it writing the 84 KB that come out; no Python loop over documents.
"""

from dataclasses import dataclass
from sys import getrefcount
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Tokens = npt.NDArray[Any]

BLOCK_TOKENS = 1 << 15
"""Tokens made at once: 700 KB in and out, which fits a core's own cache. Measured: 8 rows of 4,096 take half
as long each as one row at a time, or as a whole batch at once."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What a model is given for B windows; every array is [B, seq]."""

    ids: Ints
    positions: npt.NDArray[np.int32]
    labels: Ints
    mask: npt.NDArray[np.bool_]


def empty_targets(rows: int, length: int) -> Targets:
    """Return arrays for ``rows`` windows of ``length`` tokens, not yet filled."""
    shape = rows, length
    return Targets(
        np.empty(shape, np.int64),
        np.empty(shape, np.int32),
        np.empty(shape, np.int64),
        np.empty(shape, np.bool_),
    )


def targets(tokens: Tokens, eos_id: int) -> Targets:
    """Return inputs, positions, labels and mask of ``tokens`` [B, seq + 1] (uint16 or uint32)."""
    rows, length = tokens.shape[0], tokens.shape[1] - 1
    made, block = empty_targets(rows, length), block_rows(length)
    for first in range(0, rows, block):
        fill(made, first, tokens[first : first + block], eos_id)
    return made


def block_rows(length: int) -> int:
    """Return how many windows of ``length`` tokens are made at once."""
    return max(1, BLOCK_TOKENS // length)


def fill(made: Targets, first: int, tokens: Tokens, eos_id: int) -> None:
    """Write inputs, positions, labels and mask of ``tokens`` [b, seq + 1] into the rows from ``first`` on."""
    rows = slice(first, first + len(tokens))
    inputs = tokens[:, :-1]
    made.ids[rows] = inputs
    made.labels[rows] = tokens[:, 1:]
    ends = inputs == eos_id
    np.logical_not(ends, out=made.mask[rows])
    _count(ends, made.positions[rows])


def _count(ends: npt.NDArray[np.bool_], positions: npt.NDArray[np.int32]) -> None:
    """Count from 0 at each row's start and after each end; overwrites ``ends``.

    All rows at once as one line of documents: the distance to the start of one's document.
    """
    ends[:, -1] = True
    stops = np.flatnonzero(ends).astype(np.int32) + np.int32(1)
    starts = np.concatenate([np.zeros(1, np.int32), stops[:-1]])
    line = np.arange(ends.size, dtype=np.int32)
    np.subtract(line, np.repeat(starts, stops - starts), out=positions.reshape(-1))


class Recycler:
    """Arrays for batches of one shape, used again as soon as nobody holds them.

    A fresh 50 MB costs as much time in page faults as filling it. Whether a batch is still wanted is told by
    the reference counts of its arrays: views of them and tensors made from them hold a reference, so that
    nothing that can still be read is ever written to. At most ``KEPT`` sets are kept; more are made if more
    are held.
    """

    KEPT = 4

    def __init__(self, rows: int, length: int) -> None:
        self._shape = rows, length
        self._sets: list[Targets] = []

    def take(self) -> Targets:
        """Return arrays that nobody else holds; what they contain is what they were used for last."""
        for one in self._sets:
            if _is_free(one):
                return one
        made = empty_targets(*self._shape)
        if len(self._sets) < self.KEPT:
            self._sets.append(made)
        return made


_FREE = 2
"""References that an array has when only its set holds it: the set's own, and getrefcount's argument."""


def _is_free(one: Targets) -> bool:
    return (
        getrefcount(one.ids) == _FREE
        and getrefcount(one.positions) == _FREE
        and getrefcount(one.labels) == _FREE
        and getrefcount(one.mask) == _FREE
    )
