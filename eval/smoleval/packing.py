"""Documents into rows for a model: each document cut to the model's length, pieces packed, each label once.

A document of n tokens (its EOS included) gives n - 1 labels: all tokens but the first, which nothing in the
document predicts. Its pieces are runs of at most L inputs; a piece's last input predicts the next piece's
first token. Pieces stand one after another in rows of L, positions restart at each, so that with exact masks
a packed document scores as if it were alone. Cost: linear in tokens.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Packed pieces: every array is [rows, L]; ``owner`` is the number of the document a label belongs to."""

    ids: Ints
    positions: Ints
    labels: Ints
    mask: npt.NDArray[np.bool_]
    owner: Ints


def pack(documents: Iterable[npt.NDArray[Any]], length: int, rows_at_once: int) -> Iterator[Rows]:
    """Yield ``documents`` (ids with EOS) packed into blocks of at most ``rows_at_once`` rows."""
    rows: list[list[tuple[int, npt.NDArray[Any]]]] = [[]]
    room = length
    for owner, document in enumerate(documents):
        for piece in cut(document, length):
            if len(piece) - 1 > room:
                if len(rows) == rows_at_once:
                    yield _lay_out(rows, length)
                    rows = []
                rows.append([])
                room = length
            rows[-1].append((owner, piece))
            room -= len(piece) - 1
    if rows[0]:
        yield _lay_out(rows, length)


def cut(document: npt.NDArray[Any], length: int) -> Iterator[npt.NDArray[Any]]:
    """Yield pieces of at most ``length`` + 1 tokens that overlap by one: each label is in one piece."""
    for begin in range(0, len(document) - 1, length):
        yield document[begin : begin + length + 1]


def _lay_out(rows: list[list[tuple[int, npt.NDArray[Any]]]], length: int) -> Rows:
    """Lay pieces out in rows; what is left of a row is a document of zeros without labels."""
    shape = (len(rows), length)
    ids, labels, owners = (np.zeros(shape, np.int64) for _ in range(3))
    positions, mask = np.tile(np.arange(length, dtype=np.int64), (len(rows), 1)), np.zeros(shape, bool)
    for row, pieces in enumerate(rows):
        at = 0
        for owner, piece in pieces:
            end = at + len(piece) - 1
            ids[row, at:end], labels[row, at:end] = piece[:-1], piece[1:]
            positions[row, at:end] = np.arange(end - at)
            mask[row, at:end], owners[row, at:end] = True, owner
            at = end
        positions[row, at:] = np.arange(length - at)
    return Rows(ids, positions, labels, mask, owners)
