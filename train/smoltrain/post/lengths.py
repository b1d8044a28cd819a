"""The lengths of rows -> how many a phase's cap cuts, and how many packed rows they fill.

SmolLM3's pairs were cut at 24,576 tokens a side (the published `max_length`), which is one of the two reasons
that its authors give for the long context that APO lost. TRL cuts the end of what is longer, and leaves out a
pair whose prompt alone fills the cap. ``wrapped`` packing cuts nothing, it goes on in the next row. Lengths
stand in the rows' files, so nothing is tokenized here. Cost: a column read; packing about 30 µs
a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from smoltrain.post.phases import Phase

Lengths = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cap:
    """What a cap does to rows, or pairs."""

    max_length: int
    """Tokens of a row, or of one side of a pair."""
    rows: int
    tokens: int
    """Of all rows (both sides), before the cap."""
    longest: int
    over: int
    """Rows (or pairs: either side) that are longer than the cap."""
    tokens_cut: int
    """What the cap takes away; 0 where packing wraps."""


def read_lengths(path: Path) -> Lengths:
    """Return the tokens of each row's conversations: [rows, 1], or [pairs, 2] as chosen, rejected."""
    names = pq.read_schema(path).names
    columns = ["tokens"] if "tokens" in names else ["chosen_tokens", "rejected_tokens"]
    table = pq.read_table(path, columns=columns)
    return np.stack([table[name].to_numpy() for name in columns], axis=1).astype(np.int64)


def cap(lengths: Lengths, phase: Phase) -> Cap:
    """Return what a phase's cap does to rows of these lengths."""
    over = np.maximum(lengths - phase.max_length, 0)
    wraps = phase.packing == "wrapped"
    return Cap(
        max_length=phase.max_length,
        rows=len(lengths),
        tokens=int(lengths.sum()),
        longest=int(lengths.max(initial=0)),
        over=0 if wraps else int((over.max(axis=1, initial=0) > 0).sum()),
        tokens_cut=0 if wraps else int(over.sum()),
    )


def packed_rows(lengths: Sequence[int] | Lengths, phase: Phase) -> int:
    """Return how many rows of ``max_length`` a phase's packing makes of documents; without packing, as many.

    ``bfd``: each document, longest first, goes into the fullest row that still has room, as in TRL.

    >>> from smoltrain.post.phases import phase_named
    >>> packed_rows([30_000, 40_000, 20_000, 30_000], phase_named("sft"))
    2
    """
    sizes = np.minimum(np.asarray(lengths, np.int64).ravel(), phase.max_length)
    if phase.packing is None:
        return len(sizes)
    if phase.packing == "wrapped":
        return -(-int(np.asarray(lengths, np.int64).sum()) // phase.max_length)
    return _best_fit(sizes, phase.max_length)


def _best_fit(sizes: Lengths, room: int) -> int:
    """Count the bins of best fit decreasing; free[r] bins have r tokens of room left."""
    free = np.zeros(room + 1, np.int64)
    bins = 0
    for size in np.sort(sizes)[::-1].tolist():
        fitting = _first_set(free, size)
        if fitting is None:
            bins, fitting = bins + 1, room
        else:
            free[fitting] -= 1
        free[fitting - size] += 1
    return bins


def _first_set(free: Lengths, size: int) -> int | None:
    found = np.flatnonzero(free[max(size, 1) :])
    return int(found[0]) + max(size, 1) if len(found) else None


def cap_facts(path: Path, phase: Phase) -> dict[str, Any]:
    """Return what ``phase.json`` says of the cap."""
    from dataclasses import asdict

    return asdict(cap(read_lengths(path), phase))
