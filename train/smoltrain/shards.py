"""Shard files into windows of tokens: memory maps, the most recent ones kept open, each checked when opened.

Cost: one copy of the window out of the page cache, 3 to 6 microseconds of 4,097 tokens; opening a shard is
three system calls and a size check.
"""

import mmap
import os
from collections import OrderedDict

import numpy as np

from smoldata.errors import IntegrityError
from smoltrain.bundle import Bundle
from smoltrain.store import LocalStore, Store
from smoltrain.windows import Tokens

MAX_OPEN_SHARDS = 128
"""Maps kept at once. A stage draws from one shard a source and pass at a time, and no recipe has 128
sources."""

_DTYPES = {2: "<u2", 4: "<u4"}


class ShardPool:
    """Reads windows out of a bundle's shards with a bounded number of open maps."""

    def __init__(self, bundle: Bundle, store: Store | None = None, max_open: int = MAX_OPEN_SHARDS) -> None:
        self._bundle = bundle
        self._store = LocalStore(bundle) if store is None else store
        self._max_open = max_open
        self._open: OrderedDict[int, Tokens] = OrderedDict()
        self._length = bundle.sequence_length + 1

    def read(self, row: int, window: int, into: Tokens, step: int) -> None:
        """Copy a window (0-based in its shard) of the shard in ``row`` into ``into`` [seq + 1]."""
        tokens = self._open.get(row)
        if tokens is None:
            tokens = self._map(row, step)
        else:
            self._open.move_to_end(row)
        begin = window * self._length
        into[:] = tokens[begin : begin + self._length]

    @property
    def num_open(self) -> int:
        """Return the number of maps held now."""
        return len(self._open)

    def _map(self, row: int, step: int) -> Tokens:
        path = self._store.path(row)
        wanted = int(self._bundle.shards.bytes[row])
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        except FileNotFoundError:
            raise IntegrityError(
                f"shard {path} is missing and step {step} needs it; bring it there (the bundle's "
                "shards.parquet lists every shard with its hash), or say with --root where the shards are"
            ) from None
        if size != wanted:
            raise IntegrityError(
                f"shard {path}: {size:,} bytes, the plan counts on {wanted:,} (step {step}); "
                "it was changed or cut off: copy it again, or make the plan anew"
            )
        tokens: Tokens = np.frombuffer(mapped, _DTYPES[self._bundle.token_width])
        while len(self._open) >= self._max_open:
            self._open.popitem(last=False)
        self._open[row] = tokens
        return tokens
