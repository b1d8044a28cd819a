"""The staging timetable against a walk over every window: there when read, gone when not, disk as said."""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldata.errors import InputError
from smolmix import staging
from smolmix.order import Order
from smolmix.plan import load_plan
from smolmix.sequence import Sequence, source_key
from smolmix.staging import Timetable, check_disk, disks, parse_bytes, shard_sizes, timetable


@st.composite
def plans(draw: st.DrawFn) -> Any:
    """Return a plan as far as a timetable reads it: several sources, several passes, whole steps."""
    batch, steps = draw(st.sampled_from([4, 6, 12])), draw(st.integers(1, 40))
    left, sequences = batch * steps, []
    for number in range(draw(st.integers(1, 3))):
        sizes = draw(st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(any))
        count = draw(st.integers(0, left))
        left -= count
        start = draw(st.integers(0, 40))
        name = f"s{number}"
        sequences.append(Sequence(name, source_key(6, name), np.array(sizes), start, count))
    sequences.append(Sequence("z", source_key(6, "z"), np.array([50, 20]), 0, left))
    return SimpleNamespace(order=Order(sequences), batch_windows=batch, steps=steps)


def sizes_of(plan: Any) -> dict[str, Any]:
    return {
        name: np.arange(1, 1 + sequence.sizes.size) * 1000 + number
        for number, (name, sequence) in enumerate(plan.order.sequences.items())
    }


def walk(plan: Any, nodes: int) -> dict[tuple[int, str, int], list[int]]:
    """Return the steps at which each node reads each shard, window by window."""
    read = defaultdict(list)
    for index in range(plan.batch_windows * plan.steps):
        at = plan.order.at(index)
        step, within = divmod(index, plan.batch_windows)
        read[within * nodes // plan.batch_windows, at.source, at.shard].append(step)
    return read


def rows(found: Timetable) -> list[tuple[int, str, int, int, int, int]]:
    columns = (found.node, found.source, found.shard, found.fetch_step, found.first_step, found.last_step)
    return [(n, found.names[s], *rest) for n, s, *rest in zip(*(c.tolist() for c in columns), strict=True)]


@settings(max_examples=120, deadline=None)
@given(plans(), st.sampled_from([1, 2]), st.integers(0, 5), st.sampled_from([1, 2, 32]))
def test_each_shard_is_there_when_it_is_read(plan: Any, nodes: int, ahead: int, ends: int) -> None:
    before, staging._ENDS = staging._ENDS, ends  # type: ignore[misc]  # few ends: the whole run is looked at
    try:
        found = timetable(plan, sizes_of(plan), nodes=nodes, ahead=ahead)
    finally:
        staging._ENDS = before  # type: ignore[misc]
    read, seen = walk(plan, nodes), defaultdict(list)
    for node, source, shard, fetch, first, last in rows(found):
        steps = read[node, source, shard]
        # It begins and ends with a real read, and is fetched as far ahead as was asked.
        assert first in steps
        assert last in steps
        assert fetch == max(0, first - ahead)
        seen[node, source, shard].append((fetch, last))
    for key, steps in read.items():
        spans = seen[key]
        assert all(any(fetch <= step <= last for fetch, last in spans) for step in steps)
        # Visits of one shard never overlap: room is counted once.
        assert all(a[1] < b[0] for a, b in pairwise(spans))
    assert set(seen) == set(read)


@settings(max_examples=60, deadline=None)
@given(plans(), st.sampled_from([1, 2]), st.integers(0, 5))
def test_the_disk_is_never_fuller_than_said(plan: Any, nodes: int, ahead: int) -> None:
    sizes = sizes_of(plan)
    found = timetable(plan, sizes, nodes=nodes, ahead=ahead)
    for one in disks(found):
        held = [
            sum(
                int(sizes[s][h])
                for n, s, h, fetch, _, last in rows(found)
                if n == one.node and fetch <= t <= last
            )
            for t in range(plan.steps)
        ]
        assert one.peak_bytes == max(held)
        assert held[one.peak_step] == max(held)
        assert held.index(max(held)) == one.peak_step
    worst = max(one.peak_bytes for one in disks(found))
    check_disk(found, worst)
    with pytest.raises(InputError, match=f"must hold {worst:,} bytes at step"):
        check_disk(found, worst - 1)


def test_a_shard_that_is_read_again_later_is_fetched_again() -> None:
    sequence = Sequence("a", source_key(6, "a"), np.array([40, 40, 40]), 0, 240)
    plan: Any = SimpleNamespace(order=Order([sequence]), batch_windows=4, steps=60)
    found = timetable(plan, {"a": np.array([1, 2, 4])}, nodes=1)
    # Two passes over three shards of ten steps each; a shard that ends one pass and begins the next stays.
    opened = [sequence.table(number).shards.tolist() for number in (0, 1)]
    visits = 6 - (opened[0][-1] == opened[1][0])
    assert len(found) == visits
    assert sorted({*found.pass_.tolist()}) == [0, 1]
    assert disks(found)[0].peak_bytes == 4
    assert disks(found)[0].fetched_bytes == 14 - (0 if visits == 6 else [1, 2, 4][opened[0][-1]])


def test_a_run_whose_ends_miss_a_node_is_looked_at_whole() -> None:
    # One window a step of four: always the same node, which only the whole run proves.
    sizes = {"a": np.array([300]), "b": np.array([900])}
    order = Order(
        [Sequence(name, source_key(6, name), np.array(size), 0, int(size[0])) for name, size in sizes.items()]
    )
    plan: Any = SimpleNamespace(order=order, batch_windows=4, steps=300)
    found = timetable(plan, sizes, nodes=4)
    assert {(n, s): (first, last) for n, s, _, _, first, last in rows(found)} == {
        (n, s): (steps[0], steps[-1]) for (n, s, _), steps in walk(plan, 4).items()
    }


def test_the_real_plan_and_its_bytes(catalogued: Path) -> None:
    plan = load_plan(catalogued / "sample/plans/stage2-blog")
    sizes = shard_sizes(catalogued / "sample/bundles/stage2-blog", plan)
    assert sizes["dclm"].tolist() == [
        path.stat().st_size for path in sorted(catalogued.glob("sample/tokens/bytes/dclm/*.ds"))
    ]
    found = timetable(plan, sizes, nodes=2, ahead=1)
    assert {(n, s, h) for n, s, h, *_ in rows(found)} == set(walk(plan, 2))
    first = {(s, h): min(r[4] for r in rows(found) if r[1:3] == (s, h)) for _, s, h, *_ in rows(found)}
    for (source, shard), step in first.items():
        assert step == plan.first_indices(source)[shard] // plan.batch_windows


def test_wrong_nodes_and_sizes_are_refused(built: Path) -> None:
    plan = load_plan(built / "sample/plans/stage2-blog")
    with pytest.raises(
        InputError, match="3 nodes cannot share a batch of 8 windows equally; use one of 1, 2"
    ):
        timetable(plan, {}, nodes=3)
    with pytest.raises(InputError, match="--ahead -1"):
        timetable(plan, {}, nodes=1, ahead=-1)
    good = {"2T": 2 * 10**12, "1.5 TB": 15 * 10**11, "8GiB": 2**33, "1,000": 1000, "0.5k": 500}
    assert {text: parse_bytes(text) for text in good} == good
    for text in ("", "two", "-1", "0", "0.3", "1.0001K", "2X"):
        with pytest.raises(InputError, match="not a size"):
            parse_bytes(text)
