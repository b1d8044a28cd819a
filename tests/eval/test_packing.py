"""Packing: every token but a document's first is a label exactly once, with its own past before it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smoleval.packing import cut, pack

DOCUMENTS = st.lists(st.integers(1, 30).map(lambda n: np.arange(1, n + 1, dtype=np.uint32)), max_size=12)


@given(DOCUMENTS, st.integers(1, 9), st.integers(1, 3))
def test_every_label_is_scored_once(documents: list[np.ndarray], length: int, rows_at_once: int) -> None:
    seen: dict[int, list[int]] = {}
    for rows in pack(documents, length, rows_at_once):
        assert len(rows.ids) <= rows_at_once
        for owner, label in zip(rows.owner[rows.mask], rows.labels[rows.mask], strict=True):
            seen.setdefault(int(owner), []).append(int(label))
    wanted = {at: document[1:].tolist() for at, document in enumerate(documents) if len(document) > 1}
    assert seen == wanted


@given(DOCUMENTS, st.integers(1, 9))
def test_positions_restart_with_each_piece(documents: list[np.ndarray], length: int) -> None:
    for rows in pack(documents, length, 2):
        starts = rows.positions == 0
        assert starts[:, 0].all()
        assert (np.diff(rows.positions, axis=1)[~starts[:, 1:]] == 1).all()
        inside = rows.mask & ~starts
        # A token's context is its own document: the input before it is the token before it.
        before = np.roll(rows.ids, 1, axis=1)
        assert (rows.ids[inside] == before[inside] + 1).all()
        assert (rows.labels[rows.mask] == rows.ids[rows.mask] + 1).all()


@given(st.integers(2, 50), st.integers(1, 9))
def test_pieces_are_as_long_as_they_may_be(size: int, length: int) -> None:
    pieces = list(cut(np.arange(size), length))
    assert [len(piece) - 1 for piece in pieces[:-1]] == [length] * (len(pieces) - 1)
    assert sum(len(piece) - 1 for piece in pieces) == size - 1
