"""Hashes of a shard as it is written or read: one over all of it, one over each mebibyte.

The first says whether a file is what it was, the second where it is not. Cost: about 10 GB/s each.
"""

from collections.abc import Sequence
from pathlib import Path

import xxhash

BLOCK_BYTES = 1 << 20


class BlockDigest:
    """Hashes a stream: xxh3-128 of the whole, xxh3-64 of each block of 1 MiB."""

    def __init__(self) -> None:
        self._whole = xxhash.xxh3_128()
        self._block = xxhash.xxh3_64()
        self._filled = 0
        self._blocks: list[str] = []

    def update(self, data: memoryview) -> None:
        """Add bytes."""
        self._whole.update(data)
        while len(data):
            part = data[: BLOCK_BYTES - self._filled]
            self._block.update(part)
            self._filled += len(part)
            data = data[len(part) :]
            if self._filled == BLOCK_BYTES:
                self._close_block()

    def hexdigest(self) -> str:
        """Return the xxh3-128 of everything."""
        return self._whole.hexdigest()

    def blocks(self) -> str:
        """Return the xxh3-64 of every block, 16 hexadecimal digits each, joined."""
        return "".join([*self._blocks, *([self._block.hexdigest()] if self._filled else [])])

    def _close_block(self) -> None:
        self._blocks.append(self._block.hexdigest())
        self._block.reset()
        self._filled = 0


def changed_blocks(path: Path, recorded: str) -> Sequence[int]:
    """Return the numbers of the blocks of a file whose bytes are not what was recorded; reads the file."""
    wanted = [recorded[i : i + 16] for i in range(0, len(recorded), 16)]
    seen = []
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            seen.append(xxhash.xxh3_64_hexdigest(block))
    longest = max(len(seen), len(wanted))
    pairs = zip(seen + [""] * (longest - len(seen)), wanted + [""] * (longest - len(wanted)), strict=True)
    return [number for number, (one, other) in enumerate(pairs) if one != other]
