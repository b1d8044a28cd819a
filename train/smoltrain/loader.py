"""A bundle into batches: each rank's rows of the global batch, in the order of the plan, from any step.

Step s of the stage (from 0) is samples s * batch to (s + 1) * batch - 1; rank r of w takes the r-th of w
equal runs of them. Where one lies is the plan's arithmetic, so that starting at step k costs what starting
at 0 costs, and the number of ranks or workers changes nothing. Look-ups are made for a block of steps ahead
of time, reads are memory maps. The arrays of a batch are used again once nobody holds them or a view of them.

Cost: constant memory; measured figures are in train/README.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smoldata.errors import InputError, IntegrityError
from smoltrain.bundle import Bundle, Places, open_bundle
from smoltrain.lookups import Lookups
from smoltrain.shards import ShardPool
from smoltrain.store import LocalStore, RemoteStore, Store
from smoltrain.windows import Ints, Recycler, Tokens, block_rows, fill


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's share of a step: B windows of seq tokens, and where each comes from.

    ``ids``, ``labels``: int64 [B, seq]; ``positions``: int32 [B, seq], from 0 in each document; ``mask``:
    bool [B, seq], false where the label begins another document. ``places``: index, source, pass, shard,
    window, [B] each.
    """

    step: int
    ids: Ints
    positions: npt.NDArray[np.int32]
    labels: Ints
    mask: npt.NDArray[np.bool_]
    places: Places

    def rows(self, rows: slice) -> "Batch":
        """Return some rows of the batch, as views."""
        parts = self.ids[rows], self.positions[rows], self.labels[rows], self.mask[rows]
        return Batch(self.step, *parts, self.places.rows(rows))


class Loader:
    """Batches of a stage for one rank; iterate, or ask for any step with :meth:`batch`."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
        store: Store | None = None,
    ) -> None:
        _check(bundle, rank, world_size, start_step)
        self.bundle = bundle
        self.start_step = start_step
        self._rows = bundle.batch_windows // world_size
        self._first = rank * self._rows
        self._store = LocalStore(bundle) if store is None else store
        self._pool = ShardPool(bundle, self._store)
        length = bundle.sequence_length
        dtype = np.uint16 if bundle.token_width == np.dtype(np.uint16).itemsize else np.uint32
        self._scratch: Tokens = np.empty((min(self._rows, block_rows(length)), length + 1), dtype)
        self._recycler = Recycler(self._rows, length)
        self._lookups = Lookups(bundle, self._rows, self._first)

    def __len__(self) -> int:
        """Return the number of steps from the start step to the end of the stage."""
        return self.bundle.steps - self.start_step

    def __iter__(self) -> Iterator[Batch]:
        """Yield a batch for every step from the start step to the end of the stage."""
        for step in range(self.start_step, self.bundle.steps):
            yield self.batch(step)

    def batch(self, step: int) -> Batch:
        """Return this rank's batch of ``step``, counted from 0 in the stage."""
        if not 0 <= step < self.bundle.steps:
            raise InputError(f"step {step} is outside the stage: it has steps 0 to {self.bundle.steps - 1}")
        places = self.places(step)
        made = self._recycler.take()
        rows = (self.bundle.shards.first_row[places.source] + places.shard).tolist()
        windows = places.window.tolist()
        self._store.prepare(step, rows)
        for first in range(0, self._rows, len(self._scratch)):
            block = slice(first, first + len(self._scratch))
            tokens = self._read(step, rows[block], windows[block])
            fill(made, first, tokens, self.bundle.eos_id)
        return Batch(step, made.ids, made.positions, made.labels, made.mask, places)

    def _read(self, step: int, rows: list[int], windows: list[int]) -> Tokens:
        """Copy a few windows out of their shards into memory that the next call uses again."""
        tokens = self._scratch[: len(rows)]
        for at, (row, window) in enumerate(zip(rows, windows, strict=True)):
            self._pool.read(row, window, tokens[at], step)
        if tokens.max() >= self.bundle.vocab_size:
            self._refuse_id(step, tokens, rows)
        return tokens

    def _refuse_id(self, step: int, tokens: Tokens, rows: list[int]) -> None:
        at = int(tokens.max(axis=1).argmax())
        raise IntegrityError(
            f"shard {self._store.path(rows[at])}: token id {int(tokens.max())} at step {step}, "
            f"but {self.bundle.plan.tokenizer.name} has ids below {self.bundle.vocab_size}; it is of another "
            f"tokenizer or not of {self.bundle.token_width} bytes a token: tokenize again"
        )

    def places(self, step: int) -> Places:
        """Return where this rank's rows of ``step`` lie."""
        return self._lookups.places(step)


def open_loader(
    bundle: str | Path | Bundle,
    *,
    rank: int = 0,
    world_size: int = 1,
    start_step: int = 0,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    cache_bytes: int | None = None,
) -> Loader:
    """Open a bundle's batches for ``rank`` of ``world_size``, beginning at ``start_step`` of the stage.

    ``root`` says where the shards are, if not where the bundle's relative paths point: a folder, or a URL
    that fsspec can open (``s3://bucket/prefix``); from a URL they are copied to ``cache`` ahead of need, and
    with ``cache_bytes`` those that the stage reads no more are removed where room is needed.
    Raises :class:`InputError` if ``world_size`` does not divide the global batch; a shard that is missing or
    of another size raises :class:`IntegrityError` when its first window is due.
    """
    remote = str(root) if "://" in str(root) else None
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, None if remote else root)
    store = None if remote is None else _remote_store(opened, remote, cache, cache_bytes)
    return Loader(opened, rank=rank, world_size=world_size, start_step=start_step, store=store)


def _remote_store(bundle: Bundle, url: str, cache: str | Path | None, cache_bytes: int | None) -> RemoteStore:
    if cache is None:
        raise InputError(f"shards at {url} need a folder of this machine to be copied to; give it as `cache`")
    return RemoteStore(bundle, url, Path(cache), cache_bytes=cache_bytes)


def _check(bundle: Bundle, rank: int, world_size: int, start_step: int) -> None:
    if world_size < 1 or bundle.batch_windows % world_size:
        fitting = [n for n in range(1, bundle.batch_windows + 1) if bundle.batch_windows % n == 0]
        raise InputError(
            f"world_size {world_size} does not divide the global batch of {bundle.batch_windows} windows; "
            f"use one of {', '.join(map(str, fitting))}"
        )
    if not 0 <= rank < world_size:
        raise InputError(f"rank {rank} is outside world_size {world_size}: ranks are 0 to {world_size - 1}")
    if not 0 <= start_step <= bundle.steps:
        raise InputError(f"start_step {start_step} is outside the stage: it has {bundle.steps} steps")
