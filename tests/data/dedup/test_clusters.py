"""Clusters are the connected components, and of each one document stays, whatever the order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldata.dedup.clusters import components, keep_one

tables = st.integers(0, 40).flatmap(
    lambda count: st.lists(
        st.lists(st.integers(0, max(1, count)), min_size=count, max_size=count), min_size=1, max_size=4
    )
)


def naive(table: list[list[int]]) -> list[int]:
    """Return the least number of each document's cluster, by spreading it until nothing changes."""
    count = len(table[0])
    labels = list(range(count))
    changed = True
    while changed:
        changed = False
        for band in table:
            for left in range(count):
                for right in range(count):
                    if band[left] == band[right] and labels[right] > labels[left]:
                        labels[right], changed = labels[left], True
    return labels


def clusters(table: list[list[int]]) -> np.ndarray:
    columns = [np.array(band, np.uint64) for band in table]
    return components(len(table[0]), len(table), lambda band: columns[band])


@given(tables)
def test_clusters_are_the_components(table: list[list[int]]) -> None:
    assert clusters(table).tolist() == naive(table)


@given(tables, st.randoms(use_true_random=False))
def test_one_of_each_cluster_stays_and_it_is_the_preferred(table: list[list[int]], draw: object) -> None:
    labels = clusters(table)
    preference = np.arange(len(labels))
    draw.shuffle(preference)  # type: ignore[attr-defined]
    kept = keep_one(labels, preference)
    for document, stays in enumerate(kept.tolist()):
        same = np.flatnonzero(labels == labels[document])
        assert preference[stays] == preference[same].min()
        assert labels[stays] == labels[document]


@pytest.mark.parametrize("count", [1000, 30_000])
def test_a_long_chain_is_one_cluster(count: int) -> None:
    order = np.random.default_rng(3).permutation(count)
    pairs = np.empty(count, np.uint64)
    pairs[order] = np.arange(count, dtype=np.uint64) // 2
    shifted = np.empty(count, np.uint64)
    shifted[order] = (np.arange(count, dtype=np.uint64) + 1) // 2
    labels = components(count, 2, lambda band: (pairs, shifted)[band])
    assert (labels == 0).all()
