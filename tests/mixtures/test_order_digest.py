"""The digest of an order: what docs/order.md says, written out again; equal only for equal streams."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldata.errors import InputError
from smolmix.order_digest import Digester, digest_places, digest_windows, window_hashes
from smolmix.plan import load_plan
from smolmix.windows import open_windows


def by_the_page(folder: Path, first: int, end: int) -> tuple[str, str]:
    """Compute the definition of docs/order.md in plain loops over plan.at and the files."""
    plan = load_plan(folder)
    length = plan.sequence_length + 1
    order, tokens = b"smolmix order 1\0", b"smolmix tokens 1\0"
    header = struct.pack("<QQ", first, end)
    order, tokens = order + header, tokens + header
    for index in range(first, end):
        at = plan.at(index)
        order += struct.pack("<QQQQ", xxhash.xxh3_64_intdigest(at.source.encode()), *at[1:])
        shard = folder.parent.parent / "tokens" / "bytes" / at.source / f"{at.shard:05}.ds"
        ids = np.fromfile(shard, "<u2")[at.window * length : (at.window + 1) * length]
        tokens += xxhash.xxh3_128_digest(b"".join(struct.pack("<I", one) for one in ids.tolist()))
    return xxhash.xxh3_128_hexdigest(order), xxhash.xxh3_128_hexdigest(tokens)


@pytest.mark.parametrize(("first", "end"), [(0, 160), (0, 0), (7, 99), (159, 160)])
def test_the_digest_is_what_the_page_says(built: Path, first: int, end: int) -> None:
    folder = built / "sample/plans/stage2-blog"
    order, tokens = by_the_page(folder, first, end)
    seen = digest_windows(open_windows(folder), first, end)
    assert (seen.order, seen.first, seen.end) == (order, first, end)
    assert seen.tokens == tokens
    places = digest_places(load_plan(folder), first, end)
    assert (places.order, places.tokens) == (order, None if first < end else tokens)


def test_ranks_can_hash_their_own_windows(built: Path) -> None:
    windows = open_windows(built / "sample/plans/stage2-blog")
    whole = digest_windows(windows)
    by_rank = [
        list(window_hashes(windows.read(np.arange(rank, len(windows), 3, dtype=np.int64))[1]))
        for rank in range(3)
    ]
    together = Digester(0, len(windows))
    together.add_hashes(by_rank[index % 3][index // 3] for index in range(len(windows)))
    assert together.tokens_digest() == whole.tokens


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_other_stream_has_another_digest(built: Path, data: st.DataObject) -> None:
    windows = open_windows(built / "sample/plans/stage2-blog")
    first = data.draw(st.integers(0, 100))
    end = first + data.draw(st.integers(2, 40))
    _, tokens = windows.read(np.arange(first, end, dtype=np.int64))
    changed = tokens.copy()
    a, b = data.draw(st.lists(st.integers(0, end - first - 1), min_size=2, max_size=2, unique=True))
    if data.draw(st.booleans()):
        changed[[a, b]] = changed[[b, a]]
    else:
        changed[a, b % changed.shape[1]] ^= 1
    assert not np.array_equal(changed, tokens)

    def digest(stream: Any, begin: int) -> str:
        digester = Digester(begin, begin + len(stream))
        digester.add_tokens(stream)
        return digester.tokens_digest()

    assert digest(tokens, first) == digest_windows(windows, first, end).tokens
    assert digest(changed, first) != digest(tokens, first)
    assert digest(tokens, first + 1) != digest(tokens, first)


def test_a_width_of_four_bytes_has_the_same_digest(built: Path) -> None:
    _, tokens = open_windows(built / "sample/plans/stage2-blog").read(np.arange(5, dtype=np.int64))
    assert list(window_hashes(tokens)) == list(window_hashes(tokens.astype("<u4")))
    assert list(window_hashes(tokens)) == list(window_hashes(tokens.astype(np.int64)))


def test_a_range_outside_the_stage_is_refused(built: Path) -> None:
    plan = load_plan(built / "sample/plans/stage2-blog")
    for first, end in ((-1, 5), (3, 2), (0, 161)):
        with pytest.raises(InputError, match="not within the stage: it has 160"):
            digest_places(plan, first, end)
