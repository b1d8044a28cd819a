"""The keyed bijections: onto, invertible, the same in numpy and in plain integers, well mixed."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolmix.permutation import MAX_SIZE, Lanes, permute, permute_many, unpermute

keys = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))


def whole(key: Lanes, size: int, x: np.ndarray, *, inverse: bool = False) -> np.ndarray:
    lanes = (np.array([key[0]], np.uint32), np.array([key[1]], np.uint32))
    return permute_many(lanes, np.array([size]), np.zeros(x.size, np.intp), x, inverse=inverse)


@pytest.mark.parametrize("size", [*range(1, 200), 1000, 4097, 65536, 100_000])
def test_it_is_a_bijection(size: int) -> None:
    everything = np.arange(size)
    image = whole((size, 7), size, everything)
    assert (np.sort(image) == everything).all()
    assert (whole((size, 7), size, image, inverse=True) == everything).all()


@settings(max_examples=300)
@given(keys, st.integers(1, MAX_SIZE), st.data())
def test_numpy_equals_plain_integers_at_any_size(key: Lanes, size: int, data: st.DataObject) -> None:
    x = data.draw(st.integers(0, size - 1))
    y = permute(key, size, x)
    assert unpermute(key, size, y) == x
    assert whole(key, size, np.array([x])).tolist() == [y]
    assert whole(key, size, np.array([y]), inverse=True).tolist() == [x]


@pytest.mark.parametrize("size", [2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1, 10**12])
def test_both_widths_of_lanes_agree_at_their_border(size: int) -> None:
    x = np.linspace(0, size - 1, 500).astype(np.int64)
    assert whole((1, 2), size, x).tolist() == [permute((1, 2), size, int(value)) for value in x]


def test_many_bijections_at_once_equal_one_by_one() -> None:
    rng = np.random.default_rng(3)
    lanes = (rng.integers(0, 2**32, 50).astype(np.uint32), rng.integers(0, 2**32, 50).astype(np.uint32))
    sizes = rng.integers(1, 10**6, 50)
    which = rng.integers(0, 50, 20_000)
    x = rng.integers(0, 2**60, 20_000) % sizes[which]
    got = permute_many(lanes, sizes, which, x)
    for row in range(0, 20_000, 97):
        u = which[row]
        assert got[row] == permute((int(lanes[0][u]), int(lanes[1][u])), int(sizes[u]), int(x[row]))


def chi_square(values: np.ndarray, bins: int) -> float:
    counts = np.bincount(values, minlength=bins)
    expected = values.size / bins
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("size", [1000, 20_000, 244_081])
def test_neighbours_are_independent(size: int) -> None:
    # Distances of neighbours in 64 bins: chi-square with 63 degrees of freedom, mean 63, deviation 11.2.
    trials = 40 if size < 100_000 else 8
    values = []
    for key in range(trials):
        image = whole((key, 99), size, np.arange(size))
        values.append(chi_square(np.diff(image) % size * 64 // size, 64))
    assert abs(np.mean(values) - 63) < 5 * 11.2 / np.sqrt(trials)


def test_positions_are_independent_of_places() -> None:
    size, values = 20_000, []
    everything = np.arange(size)
    for key in range(40):
        image = whole((key, 5), size, everything)
        values.append(chi_square(everything * 16 // size * 16 + image * 16 // size, 256))
    # A permutation fixes rows and columns: 225 degrees of freedom, deviation 21.2.
    assert abs(np.mean(values) - 225) < 5 * 21.2 / np.sqrt(40)


def test_keys_give_different_bijections() -> None:
    images = {whole((key, 0), 100, np.arange(100)).tobytes() for key in range(2000)}
    assert len(images) == 2000


def test_golden_digest() -> None:
    """Frozen: another digest is another order, and every plan ever made would change its meaning."""
    digest = hashlib.sha256()
    for size in (1, 2, 10, 244_081):
        digest.update(whole((6, 7), size, np.arange(size)).astype("<i8").tobytes())
    digest.update(whole((6, 7), 10**12, np.arange(0, 10**12, 10**8)).astype("<i8").tobytes())
    assert digest.hexdigest() == "e373789873c085a280590e246f3ffc1889388aff81e7f24ba779774728901c1a"
