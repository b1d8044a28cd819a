"""What nanotron's own loader reads: its greedy blend of folders, window for window, and its float64 weights.

For sample ``s`` nanotron takes the folder with the largest ``w * max(s, 1) - count``, the first on ties, in
float64 (``build_blending_indices`` in ``src/nanotron/data/nemo_dataset/helpers.cpp`` at bc1f5a61; the rule is
Megatron's). The seed plays no part. Compared on 2026-11-22 with that helper, compiled: the first 300,000
samples of three published stages are the same. Cost: about 3 microseconds a sample; nanotron stores 10 bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smoldata.errors import InputError

BYTES_PER_SAMPLE: Final = 10
"""int16 folder and int64 place, over all steps of the run, in every process."""
MOST_FOLDERS: Final = 32_766
"""The folder's number is an int16, and nanotron asserts fewer than 32,767."""


@dataclass(frozen=True, slots=True)
class Blend:
    """The first samples of a stage as nanotron reads them."""

    folder: NDArray[np.int16]
    """Number of the folder of each sample."""
    place: NDArray[np.int64]
    """Which window of the folder's stream it is, from 0 (offsets of earlier stages come on top)."""
    counts: NDArray[np.int64]
    """Samples of each folder."""


def normalised(weights: Sequence[float]) -> NDArray[np.float64]:
    """Return the weights as nanotron normalises them: divided by their sum."""
    values = np.array(weights, dtype=np.float64)
    total = np.sum(values)
    if not total > 0 or bool((values < 0).any()):
        raise InputError(f"weights must not be negative and must have a positive sum, not {total}")
    return np.asarray(values / total)


def blend(weights: Sequence[float], samples: int) -> Blend:
    """Return the first ``samples`` samples of nanotron's blend.

    Raises:
        InputError: no positive weight, or more folders than an int16 can number.
    """
    parts = list(blend_blocks(weights, samples))
    return Blend(
        np.concatenate([part.folder for part in parts]),
        np.concatenate([part.place for part in parts]),
        parts[-1].counts,
    )


def blend_blocks(weights: Sequence[float], samples: int, block: int = 1 << 16) -> Iterator[Blend]:
    """Yield the same in blocks, so that a whole stage needs little memory; ``counts`` are those so far.

    At least one block comes, be it empty.

    Raises:
        InputError: no positive weight, or more folders than an int16 can number.
    """
    if len(weights) > MOST_FOLDERS:
        raise InputError(f"{len(weights):,} folders; nanotron takes at most {MOST_FOLDERS:,}")
    shares = normalised(weights)
    counts = np.zeros(shares.size, np.float64)
    error = np.empty_like(shares)
    for first in range(0, max(samples, 1), block):
        size = min(block, samples - first)
        folder = np.empty(size, np.int16)
        place = np.empty(size, np.int64)
        for row in range(size):
            np.multiply(shares, float(max(first + row, 1)), out=error)
            error -= counts
            chosen = int(error.argmax())
            folder[row] = chosen
            place[row] = int(counts[chosen])
            counts[chosen] += 1
        yield Blend(folder, place, counts.astype(np.int64))


def exact_shares(weights: Sequence[float]) -> list[Fraction]:
    """Return the shares that the weights mean, from their shortest decimal form: what the file says."""
    literals = [Fraction(repr(float(weight))) for weight in weights]
    total = sum(literals, Fraction(0))
    return [literal / total for literal in literals]


def float_error(weights: Sequence[float], samples: int) -> Fraction:
    """Return by how many of ``samples`` windows float64 weights miss the shares in the file, at most."""
    floats = (Fraction(float(share)) for share in normalised(weights))
    return max(abs(a - b) for a, b in zip(floats, exact_shares(weights), strict=True)) * samples
