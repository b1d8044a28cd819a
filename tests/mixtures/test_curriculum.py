"""Between stages of different sequence length: nothing is read twice in a pass, nothing is forgotten."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolmix.curriculum import Cursor, enter
from smolmix.order import Order
from smolmix.sequence import Sequence, source_key

KEY = source_key(6, "a")


def read(tokens: np.ndarray, length: int, start: int, count: int) -> list[tuple[int, int, range]]:
    """Return (pass, shard, token positions) of each window that a stage reads."""
    order = Order([Sequence("a", KEY, tokens // (length + 1), start, count)])
    samples = [order.at(index) for index in range(count)]
    return [
        (s.pass_, s.shard, range(s.window * (length + 1), (s.window + 1) * (length + 1))) for s in samples
    ]


@settings(max_examples=80)
@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=6),
    st.integers(1, 9),
    st.integers(1, 30),
    st.integers(1, 120),
)
def test_no_token_is_read_twice_in_a_pass(sizes: list[int], short: int, long: int, first: int) -> None:
    tokens = np.array(sizes)
    old, new = tokens // (short + 1), tokens // (long + 1)
    if old.sum() == 0 or new.sum() == 0:
        return
    place = Cursor(short).advance(first, int(old.sum()))
    after = enter(place, long, KEY, old, new)
    second = int(new.sum())
    windows = read(tokens, short, 0, first) + read(tokens, long, after.base + after.drawn, second)
    seen: dict[tuple[int, int], set[int]] = {}
    for pass_, shard, positions in windows:
        mine = seen.setdefault((pass_, shard), set())
        assert mine.isdisjoint(positions)
        mine.update(positions)


@settings(max_examples=80)
@given(st.lists(st.integers(20, 400), min_size=1, max_size=8), st.integers(0, 120))
def test_held_back_and_skipped_are_what_the_open_shard_has_left(sizes: list[int], first: int) -> None:
    tokens = np.array(sizes)
    old, new = tokens // 5, tokens // 17
    place = enter(Cursor(4).advance(first, int(old.sum())), 16, KEY, old, new)
    pass_ = first // int(old.sum())
    opened = {shard for p, shard, _ in read(tokens, 4, 0, first) if p == pass_}
    read_in_pass = first - pass_ * int(old.sum())
    assert place.skipped_shards == len(opened)
    assert place.held_back == sum(int(old[shard]) for shard in opened) - read_in_pass


def test_numbers_by_hand() -> None:
    # Two shards of 10 windows of 5 tokens; 13 read: one whole, 3 of the other, 7 held back. The next pass
    # begins, at windows of 17 tokens, behind both: each shard of 50 tokens has 2 of those.
    tokens = np.array([50, 50])
    place = enter(Cursor(4).advance(13, 20), 16, KEY, tokens // 5, tokens // 17)
    assert (place.base, place.drawn, place.held_back, place.skipped_shards) == (4, 0, 7, 2)
    assert place.passes == Fraction(13, 20)


def test_the_same_length_goes_on() -> None:
    place = Cursor(4).advance(13, 20)
    assert enter(place, 4, KEY, np.array([10, 10]), np.array([10, 10])) is place


def test_a_source_of_unknown_size_goes_on_behind_its_last_token() -> None:
    place = enter(Cursor(4).advance(10, None), 16, KEY, None, None)
    assert place.base == 3  # 50 tokens read; windows 0, 1 and 2 of 17 tokens hold some of them
    assert place.passes is None


@pytest.mark.parametrize("start", [None, Cursor(4)])
def test_an_unread_source_begins_at_its_beginning(start: Cursor | None) -> None:
    place = enter(start, 16, KEY, np.array([10]), np.array([2]))
    assert (place.base, place.drawn, place.sequence_length) == (0, 0, 16)
