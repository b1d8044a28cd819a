"""Train or validation? A function of the text and the share alone, so copies fall on the same side.

A document is in the validation split when xxh3_64 of its UTF-8 is below share · 2⁶⁴, compared exactly.
Cost: one hash a document, about 10 GB/s.
"""

from collections.abc import Sequence
from fractions import Fraction

import xxhash

from smoldata.errors import RecipeError

TRAIN, VALIDATION = "train", "validation"
SPLITS = (TRAIN, VALIDATION)


def threshold(share: Fraction) -> int:
    """Return the smallest integer not below share · 2⁶⁴: a hash is below the share iff it is below this.

    >>> threshold(Fraction(1, 3)) == -(-(2**64) // 3)
    True
    """
    if not 0 <= share <= 1:
        raise RecipeError(f"the validation share is {share}; it must be from 0 to 1, such as 1/100")
    return -(-(share.numerator << 64) // share.denominator)


def is_validation(text: str, share: Fraction) -> bool:
    """Return whether a text is in the validation split."""
    return xxhash.xxh3_64_intdigest(text.encode()) < threshold(share)


def divide(digests: Sequence[int], limit: int) -> tuple[list[int], list[int]]:
    """Return the positions of training and validation texts; ``digests`` are the xxh3-64 of their UTF-8."""
    train = [i for i, digest in enumerate(digests) if digest >= limit]
    return train, [i for i, digest in enumerate(digests) if digest < limit]
