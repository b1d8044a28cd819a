"""Look-ups ahead of time, in parts: at every step, in any order of steps, they are the plan's own answer."""

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoltrain import lookups
from smoltrain.bundle import Bundle, Places, open_bundle

if TYPE_CHECKING:
    from tests.conftest import SmallHouse


@pytest.fixture(scope="module")
def bundle(small_house: "SmallHouse") -> Bundle:
    return open_bundle(small_house.bundle)


@pytest.fixture(scope="module")
def all_places(bundle: Bundle) -> np.ndarray:
    """Return the plan's answer for every sample of the stage: [5, windows]."""
    return _columns(bundle.places(np.arange(bundle.plan.windows)))


def _columns(found: Places) -> np.ndarray:
    return np.stack([found.index, found.source, found.pass_, found.shard, found.window])


@settings(max_examples=25)
@given(
    samples=st.integers(1, 80),
    world=st.sampled_from([1, 2, 3, 6]),
    rank=st.integers(0, 5),
    walk=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 20)), min_size=1, max_size=3),
)
def test_every_step_is_the_plans_own_answer(
    bundle: Bundle, all_places: np.ndarray, samples: int, world: int, rank: int, walk: list[tuple[int, int]]
) -> None:
    """A walk jumps to a step and goes on from there: read in turn, ahead, again, past a jump, to the end."""
    rows = bundle.batch_windows // world
    first = rank % world * rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookups, "SAMPLES", samples)
        found = lookups.Lookups(bundle, rows, first)
        for jump, length in walk:
            start = jump % bundle.steps
            for step in range(start, min(start + length, bundle.steps)):
                begin = step * bundle.batch_windows + first
                got = _columns(found.places(step))
                assert np.array_equal(got, all_places[:, begin : begin + rows])


def test_no_step_looks_up_a_whole_block_but_the_first(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read in turn, the plan is never asked for more than a group of sources at a time."""
    asked: list[int] = []
    monkeypatch.setattr(lookups, "SAMPLES", 14 * bundle.batch_windows)
    plain = Bundle.places

    def counted(self: Bundle, index: np.ndarray) -> Places:
        asked.append(len(index))
        return plain(self, index)

    monkeypatch.setattr(Bundle, "places", counted)
    found = lookups.Lookups(bundle, bundle.batch_windows, 0)
    for step in range(bundle.steps):
        before = len(asked)
        found.places(step)
        assert len(asked) - before <= 1
    block = 14 * bundle.batch_windows
    assert asked[0] == block
    assert max(asked[1:]) < block
    assert sum(asked) == bundle.plan.windows
