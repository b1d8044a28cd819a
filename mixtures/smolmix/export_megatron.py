"""Windows into Megatron's indexed dataset: ``windows.bin`` and ``windows.idx``, one window a sequence.

The ``.bin`` is the ids one after another; the ``.idx`` is a magic, version 1, the type code (4: int32, 8:
uint16), the numbers of sequences and documents, lengths (int32), byte offsets (int64), documents (int64), all
little-endian. Every window is a document of its own. Ids are below 2**31, so that uint32 and int32 are the
same bytes. Cost: one read and one write of the data; 20 bytes a window of index, in blocks.
"""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

import numpy as np

from smoldata.files import atomic_path
from smolmix.windows import Tokens, Windows

PREFIX: Final = "windows"
_MAGIC: Final = b"MMIDIDX\0\0"
_CODES: Final = {2: 8, 4: 4}
_BLOCK: Final = 1 << 20


def write_megatron(windows: Windows, blocks: Iterable[Tokens], folder: Path) -> None:
    """Write windows that come in blocks [n, sequence_length + 1] as an indexed dataset."""
    count, width = 0, windows.dtype.itemsize
    with atomic_path(folder / f"{PREFIX}.bin") as path, path.open("wb") as file:
        for block in blocks:
            file.write(np.ascontiguousarray(block).data.cast("B"))
            count += len(block)
    with atomic_path(folder / f"{PREFIX}.idx") as path, path.open("wb") as file:
        file.write(_MAGIC + struct.pack("<QBQQ", 1, _CODES[width], count, count + 1))
        _write_line(file, "<i4", 0, windows.length, count)
        _write_line(file, "<i8", windows.length * width, 0, count)
        _write_line(file, "<i8", 1, 0, count + 1)


def _write_line(file: IO[bytes], dtype: str, slope: int, start: int, count: int) -> None:
    """Write ``start + slope * i`` for ``i`` below ``count``, in blocks."""
    for begin in range(0, count, _BLOCK):
        numbers = np.arange(begin, min(begin + _BLOCK, count), dtype=np.int64)
        file.write((numbers * slope + start).astype(dtype).tobytes())
