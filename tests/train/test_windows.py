"""A window into inputs, positions, labels and mask: against the rules written out token by token."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from smoltrain.windows import Recycler, targets

EOS = 3
WINDOWS = st.tuples(st.integers(1, 5), st.integers(2, 40)).flatmap(
    lambda shape: arrays.arrays(np.uint16, shape, elements=st.integers(0, 5))
)


def by_hand(window: list[int]) -> tuple[list[int], list[bool]]:
    """Return positions of the inputs and the mask of the labels of one window, token by token."""
    position, positions = 0, []
    for at in range(len(window)):
        position = 0 if at == 0 or window[at - 1] == EOS else position + 1
        positions.append(position)
    # A label at position 0 begins another document than the one that its input ends.
    return positions[:-1], [position != 0 for position in positions[1:]]


@given(WINDOWS)
def test_every_window_follows_the_rules(tokens: np.ndarray) -> None:
    made = targets(tokens, EOS)
    for row, window in enumerate(tokens.tolist()):
        positions, mask = by_hand(window)
        assert made.positions[row].tolist() == positions
        assert made.mask[row].tolist() == mask
        assert made.ids[row].tolist() == window[:-1]
        assert made.labels[row].tolist() == window[1:]


def test_types_and_shapes_are_those_of_the_contract() -> None:
    made = targets(np.zeros((2, 5), np.uint32), EOS)
    kinds = {name: getattr(made, name).dtype for name in ("ids", "positions", "labels", "mask")}
    assert kinds == {"ids": np.int64, "positions": np.int32, "labels": np.int64, "mask": np.bool_}
    assert {getattr(made, name).shape for name in kinds} == {(2, 4)}


def test_the_tokens_are_not_touched() -> None:
    tokens = np.array([[1, EOS, 2, EOS, EOS, 1]], np.uint16)
    before = tokens.copy()
    made = targets(tokens, EOS)
    assert (tokens == before).all()
    assert made.positions.tolist() == [[0, 1, 0, 1, 0]]
    assert made.mask.tolist() == [[True, False, True, False, False]]


def test_arrays_are_used_again_only_when_nobody_holds_them() -> None:
    recycler = Recycler(3, 8)
    first = recycler.take()
    row, first_ids = first.positions[1:2], first.ids.ctypes.data
    first.positions[:] = 7
    del first
    second = recycler.take()  # a view of the first one's positions is still held
    assert second.ids.ctypes.data != first_ids
    second.positions[:] = 8
    assert (row == 7).all()
    del row
    assert recycler.take().ids.ctypes.data == first_ids


def test_a_batch_that_is_kept_stays_as_it_was() -> None:
    recycler = Recycler(2, 4)
    kept = []
    for number in range(3 * Recycler.KEPT):
        made = recycler.take()
        made.ids[:] = number
        kept.append(made.ids)
    assert [ids[0, 0] for ids in kept] == list(range(3 * Recycler.KEPT))


def test_tensors_hold_their_memory() -> None:
    recycler = Recycler(2, 4)
    made = recycler.take()
    made.labels[:] = 5
    tensor = torch.from_numpy(made.labels)
    del made
    recycler.take().labels[:] = 6
    assert (tensor == 5).all()
