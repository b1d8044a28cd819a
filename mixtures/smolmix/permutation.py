"""A key and a size ``n`` into a bijection on ``[0, n)``: any ``n``, both ways, no array over ``n``.

Swap-or-not (Hoang, Morris, Rogaway, CRYPTO 2012): in round ``r`` an element ``x`` has the partner
``(K_r - x) mod n``, and a keyed bit of the larger of the two decides whether they change places. Each round
is its own inverse, so the inverse runs the rounds backwards; no size needs cycle walking. The bit is a
32-bit integer mix (constants: lowbias32 of C. Wellons, public domain), simple enough to be the same in SQL.

:data:`ROUNDS` was chosen by measurement (``benchmarks/bench_order.py``). It is a shuffle, not a cipher.
Cost: 2 to 4 ns an element and round in numpy, twice that where each element has a bijection of its own, with
blocks that fit the cache.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ROUNDS: Final = 24
MASK32: Final = 0xFFFFFFFF
MULTIPLIER_1: Final = 0x7FEB352D
MULTIPLIER_2: Final = 0x846CA68B
STEP_A: Final = 0x9E3779B9
STEP_B: Final = 0x85EBCA6B
_SMALL: Final = 2**31
"""Sizes up to here run in 32-bit lanes, larger ones in 64-bit lanes: same values, half the speed."""
MAX_SIZE: Final = 2**62
_BLOCK: Final = 8192
"""Elements worked on at a time: some arrays of this length fit the first-level cache."""

Lanes = tuple[int, int]
"""A key: two 32-bit numbers."""

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


def mix32(h: int) -> int:
    """Return a 32-bit mix of ``h``: a bijection in which each input bit moves half of the output bits."""
    h &= MASK32
    h ^= h >> 16
    h = (h * MULTIPLIER_1) & MASK32
    h ^= h >> 15
    h = (h * MULTIPLIER_2) & MASK32
    return h ^ (h >> 16)


def derive(key: Lanes, number: int) -> Lanes:
    """Return the key below ``key`` for ``number`` (a pass, a shard); its low 32 bits count."""
    return mix32(key[0] ^ mix32(number + STEP_A)), mix32(key[1] ^ mix32(number + STEP_B))


def permute(key: Lanes, size: int, x: int) -> int:
    """Return where the bijection of ``key`` on ``[0, size)`` takes ``x``."""
    return _rounds(key, size, x, range(ROUNDS))


def unpermute(key: Lanes, size: int, y: int) -> int:
    """Return the ``x`` that :func:`permute` takes to ``y``."""
    return _rounds(key, size, y, range(ROUNDS - 1, -1, -1))


def _rounds(key: Lanes, size: int, x: int, rounds: range) -> int:
    assert 0 <= x < size <= MAX_SIZE, "an element of the domain"
    for r in rounds:
        a, b = mix32(key[0] + r * STEP_A), mix32(key[1] + r * STEP_B)
        k = (a * size) >> 32 if size <= MASK32 else (((a & 0x3FFFFFFF) << 32) | b) % size
        partner = k - x if k >= x else k - x + size
        larger = max(x, partner)
        h = (((larger ^ (larger >> 32)) & MASK32) ^ b) * MULTIPLIER_1 & MASK32
        h = (h ^ (h >> 15)) * MULTIPLIER_2 & MASK32
        if h >> 31:
            x = partner
    return x


def mix32_array(h: U32) -> U32:
    """Return :func:`mix32` of each element (uint32 in, new uint32 array out)."""
    h = h ^ (h >> np.uint32(16))
    h *= np.uint32(MULTIPLIER_1)
    h ^= h >> np.uint32(15)
    h *= np.uint32(MULTIPLIER_2)
    h ^= h >> np.uint32(16)
    return h


def derive_array(key: Lanes, numbers: I64) -> tuple[U32, U32]:
    """Return :func:`derive` of one key for many numbers."""
    low = (numbers & MASK32).astype(np.uint32)
    lane_a = mix32_array(np.uint32(key[0]) ^ mix32_array(low + np.uint32(STEP_A)))
    lane_b = mix32_array(np.uint32(key[1]) ^ mix32_array(low + np.uint32(STEP_B)))
    return lane_a, lane_b


def permute_many(
    lanes: tuple[U32, U32], sizes: I64, which: NDArray[np.intp], x: I64, *, inverse: bool = False
) -> I64:
    """Return the images of many elements under many bijections.

    ``lanes`` and ``sizes`` (length u) describe the bijections; element ``x[i]`` goes through number
    ``which[i]``.
    """
    order = range(ROUNDS - 1, -1, -1) if inverse else range(ROUNDS)
    small = bool(sizes.size == 0 or int(sizes.max()) <= _SMALL)
    dtype: Any = np.uint32 if small else np.uint64
    keys = [_round_keys(lanes, sizes, r, dtype) for r in order]
    sizes_of = sizes.astype(dtype)
    out = np.empty(x.size, np.int64)
    for begin in range(0, x.size, _BLOCK):
        part = slice(begin, begin + _BLOCK)
        out[part] = _permute_block(keys, sizes_of, which[part], x[part].astype(dtype))
    return out


def _round_keys(lanes: tuple[U32, U32], sizes: I64, r: int, dtype: Any) -> tuple[Any, U32]:
    """Return the reflection points K of a round, one a bijection, and the keys of its bit."""
    a = mix32_array(lanes[0] + np.uint32(r * STEP_A & MASK32))
    b = mix32_array(lanes[1] + np.uint32(r * STEP_B & MASK32))
    n = sizes.astype(np.uint64)
    wide_a = a.astype(np.uint64)
    k = (wide_a * n) >> np.uint64(32)
    if dtype is np.uint64:
        wide = ((wide_a & np.uint64(0x3FFFFFFF)) << np.uint64(32)) | b
        k = np.where(n <= np.uint64(MASK32), k, wide % n)
    return k.astype(dtype), b


def _permute_block(keys: list[tuple[Any, U32]], sizes: Any, which: NDArray[np.intp], x: Any) -> Any:
    single = sizes.size == 1
    n = sizes[0] if single else sizes[which]
    wide = x.dtype == np.uint64
    partner, other = np.empty_like(x), np.empty_like(x)
    for k_of, b_of in keys:
        k, b = (k_of[0], b_of[0]) if single else (k_of[which], b_of[which])
        # k - x wraps below zero; adding n then wraps back, and the smaller of the two is (k - x) mod n.
        np.subtract(k, x, out=partner)
        np.add(partner, n, out=other)
        np.minimum(partner, other, out=partner)
        np.maximum(x, partner, out=other)
        h = (other ^ (other >> np.uint64(32))).astype(np.uint32) if wide else other
        h ^= b
        h *= np.uint32(MULTIPLIER_1)
        h ^= h >> np.uint32(15)
        h *= np.uint32(MULTIPLIER_2)
        # All ones where they change places: three passes of whole words are faster than a masked copy.
        swap = h.view(np.int32) >> 31
        partner ^= x
        partner &= swap.astype(np.int64).view(np.uint64) if wide else swap.view(np.uint32)
        x ^= partner
    return x
