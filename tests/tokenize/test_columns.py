"""Arrow columns and NumPy: the same numbers as the libraries' own ways."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoltok.columns import as_numpy, int64s, repeated, strings, taken

integers = st.integers(-(2**63), 2**63 - 1)


@given(parts=st.lists(st.lists(integers, max_size=5), max_size=4), skip=st.integers(0, 3))
def test_a_column_is_the_same_as_numpy(parts: list[list[int]], skip: int) -> None:
    whole = pa.chunked_array([pa.array(part, pa.int64()) for part in parts], pa.int64())
    column = whole.slice(min(skip, len(whole)))
    assert as_numpy(column).tolist() == column.to_pylist()
    assert as_numpy(column).dtype == np.int64


@pytest.mark.parametrize("kind", [pa.int32(), pa.string()])
def test_other_types_go_the_library_s_way(kind: pa.DataType) -> None:
    column = pa.chunked_array([pa.array([1, 2, 3]).cast(kind)])
    assert as_numpy(column).tolist() == column.to_pylist()


def test_nulls_are_not_taken_for_numbers() -> None:
    assert np.isnan(as_numpy(pa.chunked_array([pa.array([1, None], pa.int64())]))[1])


@given(values=st.lists(st.text(max_size=8), max_size=8), times=st.integers(0, 5))
def test_columns_made_of_buffers_are_arrow_s(values: list[str], times: int) -> None:
    assert strings(values).to_pylist() == values
    assert repeated("é", times).to_pylist() == ["é"] * times
    assert int64s(np.arange(times)[::-1]).to_pylist() == list(range(times))[::-1]


@given(values=st.lists(st.text(max_size=8), max_size=8), data=st.data())
def test_taking_is_arrow_s_own(values: list[str], data: st.DataObject) -> None:
    skip = data.draw(st.integers(0, len(values)))
    column = pa.array(["before", *values], pa.string()).slice(1 + skip)
    rows = data.draw(st.lists(st.integers(0, len(column) - 1), max_size=9) if len(column) else st.just([]))
    assert taken(column, np.array(rows, np.int64)).equals(column.take(pa.array(rows, pa.int64())))


def test_taking_keeps_nulls() -> None:
    column = pa.array(["a", None, "b"])
    assert taken(column, np.array([2, 1], np.int64)).to_pylist() == ["b", None]
