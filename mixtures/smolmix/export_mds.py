"""Windows into Mosaic streaming shards: ``shard.NNNNN.mds`` and ``index.json``, format version 2.

Column ``tokens`` is one window: ``ndarray:uint32:<sequence_length + 1>`` (uint16 with a small vocabulary). A
shard is: number of samples, the byte offsets of each and of the end (all uint32), the configuration as JSON,
the samples. Written from the published format, since the values have a fixed size: a shard's length is known
before it is written. Cost: one read and one write of the data; a shard and a block in memory, 80 MB.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash

from smoldata.files import atomic_path, write_atomic
from smolmix.windows import Tokens, Windows

SHARD_BYTES: Final = 1 << 26
"""What the format's own writer takes; offsets are uint32, so it must stay below 4 GiB."""


def write_mds(
    windows: Windows, blocks: Iterable[Tokens], folder: Path, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write windows that come in blocks [n, sequence_length + 1] as an MDS folder."""
    config = _config(windows, shard_bytes)
    head = json.dumps(config, sort_keys=True).encode()
    window_bytes = windows.length * windows.dtype.itemsize
    fit = max(1, (shard_bytes - 8 - len(head)) // (window_bytes + 4))
    shards = []
    for number, part in enumerate(_regroup(blocks, fit)):
        name = f"shard.{number:05}.mds"
        seen = _write_shard(folder / name, part, head, window_bytes)
        raw = {"basename": name, "bytes": seen[0], "hashes": {"xxh3_64": seen[1]}}
        samples = sum(len(block) for block in part)
        shards.append({"samples": samples, "raw_data": raw, "zip_data": None, **config})
    index = {"version": 2, "shards": shards}
    write_atomic(folder / "index.json", json.dumps(index, sort_keys=True))


def _config(windows: Windows, shard_bytes: int) -> dict[str, Any]:
    return {
        "version": 2,
        "format": "mds",
        "compression": None,
        "hashes": ["xxh3_64"],
        "size_limit": shard_bytes,
        "column_names": ["tokens"],
        "column_encodings": [f"ndarray:{windows.dtype.name}:{windows.length}"],
        "column_sizes": [windows.length * windows.dtype.itemsize],
    }


def _regroup(blocks: Iterable[Tokens], fit: int) -> Iterable[list[Tokens]]:
    """Cut blocks into groups of ``fit`` windows; only the last group is smaller."""
    group: list[Tokens] = []
    room = fit
    for block in blocks:
        rest = block
        while len(rest) >= room:
            yield [*group, rest[:room]]
            group, rest, room = [], rest[room:], fit
        if len(rest):
            group.append(rest)
            room -= len(rest)
    if group:
        yield group


def _write_shard(path: Path, part: list[Tokens], head: bytes, window_bytes: int) -> tuple[int, str]:
    """Write a shard; return its size and its hash."""
    samples = sum(len(block) for block in part)
    begins = 4 + 4 * (samples + 1) + len(head) + np.arange(samples + 1, dtype=np.int64) * window_bytes
    digest, size = xxhash.xxh3_64(), 0
    pieces = [np.uint32(samples).astype("<u4").tobytes(), begins.astype("<u4").tobytes(), head, *part]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for piece in pieces:
            data = piece if isinstance(piece, bytes) else np.ascontiguousarray(piece).data.cast("B")
            file.write(data)
            digest.update(data)
            size += len(data)
    assert size == int(begins[-1]), "a shard is as long as its offsets say"
    return size, digest.hexdigest()
