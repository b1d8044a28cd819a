"""Python and NumPy values → Arrow arrays, without ``pa.array``.

Where pandas is installed, the first ``pa.array`` or ``pa.scalar`` imports it, to ask whether it was given one
of its series: 0.5 to 1.3 s, many times what a small build takes. Arrays over buffers ask nobody.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def int64s(column: NDArray[np.int64]) -> Any:
    """Return an Arrow array over the same memory."""
    column = np.ascontiguousarray(column, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(column), [None, pa.py_buffer(column)])


def strings(values: Sequence[str]) -> Any:
    """Return an Arrow array of strings; together they may have 2 GB of UTF-8."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)
