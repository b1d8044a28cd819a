"""Python and NumPy values → Arrow arrays and back, without ``pa.array`` and ``pyarrow.compute``.

Where pandas is installed, the first ``pa.array`` or ``pa.scalar`` imports it, to ask whether it was given one
of its series (NumPy's ``asarray`` of a column does the same): 0.5 to 1.3 s, many times what a small build
takes. The first ``take`` or ``cast`` imports ``pyarrow.compute``, which wraps 286 functions: 0.1 s. Arrays
over buffers ask nobody.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def int64s(column: NDArray[np.int64]) -> Any:
    """Return an Arrow array over the same memory."""
    return numbers(column, pa.int64())


def numbers(column: NDArray[np.integer[Any]], kind: Any) -> Any:
    """Return an Arrow array of int32 or int64, over the same memory if it has that type already."""
    column = np.ascontiguousarray(column, np.dtype(f"i{kind.bit_width // 8}"))
    return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(column)])


def as_numpy(column: Any) -> NDArray[Any]:
    """Return an Arrow column as NumPy; int64 without nulls, in one piece, over the same memory."""
    if column.type != pa.int64() or column.null_count:
        return np.asarray(column)
    chunks = [
        np.frombuffer(chunk.buffers()[1], np.int64, len(chunk), 8 * chunk.offset)
        for chunk in column.chunks
        if len(chunk)
    ]
    return chunks[0] if len(chunks) == 1 else np.concatenate([np.zeros(0, np.int64), *chunks])


def repeated(value: str, times: int) -> Any:
    """Return an Arrow array of one string many times; together they may have 2 GB of UTF-8."""
    data = value.encode()
    ends = np.arange(times + 1, dtype=np.int32) * np.int32(len(data))
    return pa.Array.from_buffers(pa.string(), times, [None, pa.py_buffer(ends), pa.py_buffer(data * times)])


def strings(values: Sequence[str]) -> Any:
    """Return an Arrow array of strings; together they may have 2 GB of UTF-8."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def taken(column: Any, rows: NDArray[np.int64]) -> Any:
    """Return the strings of an Arrow array at ``rows``, in that order; rows may repeat.

    Cost: 10 ns and 16 bytes of memory a byte taken: for the names of a batch.
    """
    if column.null_count:
        return column.take(int64s(rows))
    ends = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    lengths = np.diff(ends)[rows]
    bounds = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=bounds[1:])
    places = np.repeat(ends[:-1][rows] - bounds[:-1], lengths) + np.arange(bounds[-1])
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)[places]
    buffers = [None, pa.py_buffer(bounds.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(rows), buffers)
