"""The order of a stage: every window once a pass, both ways, the same for everybody, frozen."""

import hashlib
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldata.errors import InputError
from smolmix import sequence as one_source
from smolmix.apportion import largest_remainder
from smolmix.derivation import weights
from smolmix.order import Order, _floor_of_product
from smolmix.sequence import Sequence, source_key
from smolmix.tree import build_tree, locate, prefix_bounds


def sequence(name: str, sizes: list[int] | None, count: int, start: int = 0, seed: int = 6) -> Sequence:
    return Sequence(name, source_key(seed, name), None if sizes is None else np.array(sizes), start, count)


def small_order() -> Order:
    return Order(
        [
            sequence("a", [5, 0, 7, 3], 40, start=4),
            sequence("b", [1], 9),
            sequence("c", None, 11, start=100),
            sequence("d", [20, 20, 20], 17, start=59),
            sequence("e", [3], 0),
        ]
    )


@st.composite
def orders(draw: st.DrawFn) -> Order:
    sequences = []
    for i in range(draw(st.integers(1, 6))):
        sizes = draw(st.none() | st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any))
        sequences.append(sequence(f"s{i}", sizes, draw(st.integers(1, 60)), draw(st.integers(0, 50))))
    return Order(sequences)


@settings(max_examples=60)
@given(orders())
def test_one_and_many_agree_and_are_inverted(order: Order) -> None:
    many = order.at_many(np.arange(order.windows))
    for index in range(order.windows):
        sample = order.at(index)
        assert many.sample(index) == sample
        assert order.index_of(*sample) == index


@settings(max_examples=60)
@given(orders())
def test_each_source_reads_every_window_once_a_pass(order: Order) -> None:
    samples = [order.at(index) for index in range(order.windows)]
    assert len(set(samples)) == len(samples)
    for one in order.sequences.values():
        mine = [sample for sample in samples if sample.source == one.name]
        assert len(mine) == one.count
        passes = [sample.pass_ for sample in mine]
        assert passes == sorted(passes)
        if one.sizes is None:
            assert [sample.window for sample in mine] == list(range(one.start, one.start + one.count))
            continue
        per_pass = Counter(passes)
        first, last = one.start // one.capacity, (one.start + one.count - 1) // one.capacity
        assert all(per_pass[number] == one.capacity for number in range(first + 1, last))
        assert all(0 <= sample.window < one.sizes[sample.shard] for sample in mine)


@settings(max_examples=60)
@given(orders())
def test_a_shard_is_read_to_its_end_before_the_next_is_opened(order: Order) -> None:
    samples = [order.at(index) for index in range(order.windows)]
    for one in order.sequences.values():
        visits = [(sample.pass_, sample.shard) for sample in samples if sample.source == one.name]
        switches = [visit for visit, before in zip(visits, [None, *visits], strict=False) if visit != before]
        assert len(switches) == len(set(switches))


@settings(max_examples=60)
@given(orders())
def test_first_indices_are_the_first_openings(order: Order) -> None:
    opened: dict[tuple[str, int], int] = {}
    for index in range(order.windows):
        sample = order.at(index)
        opened.setdefault((sample.source, sample.shard), index)
    for name in order.names:
        for shard, index in enumerate(order.first_indices(name)):
            assert opened.get((name, shard), -1) == index


def test_drawn_before_counts_every_prefix() -> None:
    order = small_order()
    drawn = dict.fromkeys(order.names, 0)
    for index in range(order.windows):
        assert order.drawn_before(index) == drawn
        drawn[order.at(index).source] += 1
    assert order.drawn_before(order.windows) == drawn


def test_another_source_or_shard_changes_no_other_source() -> None:
    def windows_of(name: str, order: Order) -> list[Any]:
        return [order.at(i)[1:] for i in range(order.windows) if order.at(i).source == name]

    base = Order([sequence("a", [5, 7, 3], 20), sequence("b", [9, 9], 30)])
    more = Order([sequence("a", [5, 7, 3], 20), sequence("b", [9, 9, 4], 30), sequence("c", [8], 5)])
    assert windows_of("a", base) == windows_of("a", more)
    assert windows_of("b", base) != windows_of("b", more)


def test_a_stage_that_goes_on_reads_what_the_one_before_left() -> None:
    sizes = [30, 20, 50]
    first = Order([sequence("a", sizes, 64)])
    second = Order([sequence("a", sizes, 36, start=64)])
    seen = [first.at(i) for i in range(64)] + [second.at(i) for i in range(36)]
    assert len({sample[2:] for sample in seen}) == 100
    assert {sample.pass_ for sample in seen} == {0}


@pytest.mark.parametrize("index", [-1, 77, 10**15])
def test_outside_the_stage(index: int) -> None:
    order = small_order()
    for ask in (order.at, lambda i: order.at_many([i])):
        with pytest.raises(InputError, match="outside the stage; it has indices 0 to 76"):
            ask(index)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("x", 0, 0, 0), "'x' is not in this plan; it has a, b, c, d, e"),
        (("a", 0, 1, 0), "does not read window 0 of shard 1"),
        (("a", 0, 9, 0), "does not read"),
        (("a", 99, 0, 0), "does not read"),
        (("c", 0, 0, 99), "does not read window 99"),
        (("e", 0, 0, 0), "it reads 0 windows"),
    ],
)
def test_what_the_stage_does_not_read(place: tuple[str, int, int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_order().index_of(*place)


def test_empty_and_unsorted_questions() -> None:
    order = small_order()
    assert len(order.at_many([])) == 0
    got = order.at_many([5, 3, 5])
    assert [got.sample(row) for row in range(3)] == [order.at(5), order.at(3), order.at(5)]


def stage_sized() -> Order:
    """Return an order with the sizes of stage 1 and endless, repeated and many-shard sources in it."""
    counts = {
        "dclm": 877_436_731,
        "wiki": 1_987_200,
        "tiny": 59_797,
        "endless": 31_795_200,
        "rest": 900_000_000,
    }
    sizes = {"dclm": [244_081] * 4000, "wiki": [244_081] * 3, "tiny": [7005], "rest": [123_456] * 20_000}
    return Order([sequence(n, sizes.get(n), c, start=7 * c // 3) for n, c in counts.items()])


def test_full_size_one_and_many_and_back() -> None:
    order = stage_sized()
    rng = np.random.default_rng(1)
    indices = rng.integers(0, order.windows, 20_000)
    many = order.at_many(indices)
    for row in range(0, indices.size, 67):
        sample = order.at(int(indices[row]))
        assert many.sample(row) == sample
        assert order.index_of(*sample) == indices[row]


def test_beyond_31_bits_nothing_overflows() -> None:
    counts = {"a": 3 * 10**14, "b": 5 * 10**13, "c": 10**9 + 7, "d": 12345}
    order = Order([sequence(name, None, count) for name, count in counts.items()])
    rng = np.random.default_rng(2)
    indices = np.concatenate([rng.integers(0, order.windows, 3000), [0, order.windows - 1]])
    many = order.at_many(indices)
    for row in range(indices.size):
        assert many.sample(row) == order.at(int(indices[row]))
    for name, count in counts.items():
        j = np.concatenate([rng.integers(0, count, 500), [0, count - 1]])
        back = order.indices_of_drawn(name, j)
        assert [order.index_of(name, 0, 0, int(value)) for value in j] == back.tolist()


@given(st.integers(0, 2**50), st.integers(1, 2**51), st.integers(-(2**51), 2**51), st.integers(1, 2**51))
def test_the_wide_quotient_is_exact(x: int, factor: int, plus: int, divisor: int) -> None:
    factor = min(factor, divisor)  # as in a node, whose quotients do not grow
    assert _floor_of_product(np.array([x]), factor, plus, divisor).tolist() == [
        (x * factor + plus) // divisor
    ]


@pytest.mark.parametrize("ranks", [1, 2, 3, 6, 192])
def test_the_stream_is_the_same_for_any_number_of_ranks(ranks: int) -> None:
    order = stage_sized()
    batch = np.arange(10**9, 10**9 + 576)
    whole = order.at_many(batch)
    parts = [order.at_many(part) for part in np.array_split(batch, ranks)]
    for column in ("source", "pass_", "shard", "window"):
        assert (np.concatenate([getattr(part, column) for part in parts]) == getattr(whole, column)).all()


def test_golden_digests() -> None:
    """Frozen: another digest means that every plan ever made reads other windows."""
    assert (
        digest_of(small_order(), np.arange(77))
        == "3d0b57ad0da162bc41436b416d45cbc35618d02a6b3c5d8bfe49d2d0d193292e"
    )
    full = stage_sized()
    assert (
        digest_of(full, np.arange(0, full.windows, 99_991))
        == "73b32c5f0a206ad28d862c43952cb2207261c616b53a70a6b3a3e31de4ec1248"
    )


def digest_of(order: Order, indices: np.ndarray) -> str:
    got = order.at_many(indices)
    digest = hashlib.sha256("\n".join(got.names).encode())
    for column in (got.source, got.pass_, got.shard, got.window):
        digest.update(column.astype("<i8").tobytes())
    return digest.hexdigest()


def test_a_scaled_down_stage_stays_within_its_bound_everywhere() -> None:
    for stage, preset in (
        ("stage1", "blog"),
        ("stage2", "blog"),
        ("stage3", "released"),
        ("64k", "released"),
    ):
        total = 5000
        counts = largest_remainder(weights(stage, preset), total)
        tree = build_tree(counts)
        assert tree is not None
        bounds, drawn = prefix_bounds(tree), dict.fromkeys(counts, 0)
        worst = dict.fromkeys(counts, Fraction(0))
        for k in range(1, total + 1):
            drawn[locate(tree, k - 1)[0]] += 1
            for name, count in counts.items():
                worst[name] = max(worst[name], abs(Fraction(drawn[name] * total - count * k, total)))
        assert all(worst[name] <= bounds.get(name, 0) for name in counts)


def test_opening_orders_are_kept_within_bounds_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [((key, 7), size) for key in range(40) for size in (1, 9)]
    monkeypatch.setattr(one_source, "_RECENT", kept := one_source._Recent())
    wanted = [one_source.opening_order(key, size).tolist() for key, size in places]
    assert len(kept.orders) == len(places)
    assert [one_source.opening_order(key, size).tolist() for key, size in places] == wanted
    monkeypatch.setattr(one_source, "_RECENT_SHARDS", 100)
    monkeypatch.setattr(one_source, "_RECENT_ORDERS", 12)
    for (key, size), order in zip(places, wanted, strict=True):
        assert one_source.opening_order(key, size).tolist() == order
        assert sorted(order) == list(range(size))
    one_source.opening_order((1, 1), 95)
    assert kept.shards == sum(one.size for one in kept.orders.values()) <= 100
    for number in range(30):
        one_source.opening_order((number, 3), 2)
    assert len(kept.orders) == 12
    assert [one_source.opening_order(key, size).tolist() for key, size in places] == wanted
