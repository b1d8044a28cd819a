"""Band hashes -> clusters of near-duplicates, and which document of each stays.

Documents that share a band are linked, and whoever is linked over others is in the same cluster. Each band is
sorted by itself; links are neighbours in the sorted order. Components are found by hooking each root to the
least root it is linked to, and halving the paths, until nothing changes: a few rounds of numpy.

Cost: 8 bytes a document and band, and about 60 bytes a document on top; 10 million documents of 14 bands take
1.1 GB for the bands and under 1 GB for the work.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Hashes = NDArray[np.uint64]


def components(count: int, bands: int, column: Callable[[int], Hashes]) -> Labels:
    """Return for each document the least number of its cluster's documents: int64[count].

    ``column(band)`` gives one band's hash of every document, uint64[count].
    """
    parent = np.arange(count, dtype=np.int64)
    for band in range(bands):
        left, right = _links(column(band))
        _unite(parent, left, right)
    return _roots(parent, np.arange(count, dtype=np.int64))


def _links(hashes: Hashes) -> tuple[Labels, Labels]:
    """Return pairs of documents with the same hash: each with the next one in the order of hashes."""
    order = np.argsort(hashes)
    ordered = hashes[order]
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    return order[same], order[same + 1]


def _unite(parent: Labels, left: Labels, right: Labels) -> None:
    """Make one tree of the trees of each pair; roots are the least numbers of their trees."""
    while len(left):
        left, right = _roots(parent, left), _roots(parent, right)
        apart = left != right
        left, right = left[apart], right[apart]
        np.minimum.at(parent, np.maximum(left, right), np.minimum(left, right))


def _roots(parent: Labels, numbers: Labels) -> Labels:
    """Return the root of each number's tree, and shorten the ways there."""
    roots = parent[numbers]
    while True:
        higher = parent[roots]
        if (higher == roots).all():
            parent[numbers] = roots
            return roots
        roots = parent[higher]


def keep_one(labels: Labels, preference: Labels) -> Labels:
    """Return for each document the document of its cluster that stays: int64[count].

    It is the one with the least ``preference``, which differ from one another.
    """
    order = np.argsort(preference)
    best = np.full(len(labels), -1, np.int64)
    # Written from the least preferred to the most: the last one written stays.
    backwards = order[::-1]
    best[labels[backwards]] = backwards
    return best[labels]
