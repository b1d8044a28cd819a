"""Where shards come from: files here, or any fsspec store with a local cache that fills ahead of need.

A remote shard is copied whole to the cache under a temporary name, compared with the size and the xxh3-128 of
the bundle, and renamed; from then on it is a local file. At each step the shards that the bundle's timetable
(``first_step``) needs within the next steps are fetched in the background, the step's own are waited for.
Several processes may share a cache. A store that fails is asked again, after longer and longer waits: a
training run does not end with a broken connection. Cost: each shard crosses the network once.

Nothing is removed from the cache, unless it is given a bound: then shards that the stage reads no more are
removed when room is needed, and no more is fetched ahead than fits. What the steps themselves need is fetched
in any case. A shard is removed ``BEHIND_STEPS`` after its last use, for processes that are behind this one.
"""

import errno
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from smoldata.console import say
from smoldata.errors import InputError, IntegrityError, SmolError, StorageError
from smoldata.files import atomic_path, xxh3_128
from smoltrain.bundle import Bundle, last_steps

LOOKAHEAD_STEPS = 200
BEHIND_STEPS = 200
FETCHERS = 4
WAITS = (1.0, 4.0, 15.0, 60.0)
"""Seconds before each further attempt at a shard."""
_LOCAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES})
"""Faults of this machine's disk: waiting does not help."""


class Store(Protocol):
    """Knows where shards lie and sees to it that they are there."""

    def prepare(self, step: int, rows: Iterable[int]) -> None:
        """Have the shards of ``rows``, which ``step`` reads, and begin with those of the steps after it."""
        ...

    def path(self, row: int) -> Path:
        """Return the local file of a shard."""
        ...


class LocalStore:
    """Shards that are files of this machine."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def prepare(self, step: int, rows: Iterable[int]) -> None:
        """Do nothing: files are there, or opening them says that they are not."""

    def path(self, row: int) -> Path:
        """Return where the bundle says that a shard lies."""
        return self._bundle.path_of(row)


class RemoteStore:
    """Shards below a URL that fsspec can open, copied to a cache on this machine."""

    def __init__(
        self,
        bundle: Bundle,
        url: str,
        cache: Path,
        lookahead_steps: int = LOOKAHEAD_STEPS,
        cache_bytes: int | None = None,
    ) -> None:
        self._bundle, self._url, self._cache = bundle, url.rstrip("/"), cache
        self._room = None if cache_bytes is None else Room(bundle, cache_bytes, self.path)
        self._lookahead = lookahead_steps
        self._system, self._base = _file_system(url)
        self._hashes, self._order, self._due = _timetable(bundle)
        self._next = 0
        self._pool: ThreadPoolExecutor | None = None
        self._fetched: dict[int, Future[None]] = {}

    def prepare(self, step: int, rows: Iterable[int]) -> None:
        """Fetch the shards of ``rows`` now and those that the next steps open behind them."""
        needed = list(dict.fromkeys(rows))
        if self._room is not None:
            self._make_room(self._room, step, needed)
        wanted = [self._fetch(row) for row in needed]
        while self._next < len(self._order) and self._due[self._next] < step + self._lookahead:
            row = int(self._order[self._next])
            if self._due[self._next] >= step:
                if self._room is not None and not self._room.takes(row):
                    break
                self._fetch(row)
            self._next += 1
        for fetched in wanted:
            fetched.result()

    def _make_room(self, room: "Room", step: int, needed: list[int]) -> None:
        for row in needed:
            known = self._fetched.get(row)
            if known is not None and known.done() and not self.path(row).is_file():
                room.drop(row)  # another process, far ahead of this one, has removed it
                del self._fetched[row]
        for row in room.make(step, needed):
            self._fetched.pop(row, None)

    def path(self, row: int) -> Path:
        """Return the cached file of a shard."""
        return self._cache.joinpath(*_parts(self._bundle, row))

    def close(self) -> None:
        """Stop fetching; what is under way is finished."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _fetch(self, row: int) -> "Future[None]":
        if self._pool is None:
            # Made when first needed: threads don't live on in a forked worker.
            self._pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="shards")
        if row not in self._fetched:
            self._fetched[row] = self._pool.submit(self._copy, row)
            if self._room is not None:
                self._room.add(row)
        return self._fetched[row]

    def _copy(self, row: int) -> None:
        path = self.path(row)
        size = int(self._bundle.shards.bytes[row])
        if path.is_file() and path.stat().st_size == size:
            return
        parts = "/".join(_parts(self._bundle, row))
        with atomic_path(path) as temporary:
            self._get(parts, temporary)
            seen, wanted = xxh3_128(temporary), self._hashes[row].as_py()
            if seen != wanted:
                raise IntegrityError(
                    f"shard {self._url}/{parts}: {temporary.stat().st_size:,} bytes with xxh3-128 {seen}, "
                    f"the bundle says {size:,} with {wanted}; it was changed or cut: copy it there again"
                )

    def _get(self, parts: str, temporary: Path) -> None:
        """Copy a file from the store; one that is missing, or for which the disk has no room, only once."""
        for wait in (*WAITS, None):
            try:
                self._system.get_file(f"{self._base}/{parts}", str(temporary))
            except FileNotFoundError:
                raise IntegrityError(
                    f"shard {self._url}/{parts} is missing; copy it there, as the bundle's list says"
                ) from None
            except Exception as error:  # every store has errors of its own
                if isinstance(error, SmolError) or getattr(error, "errno", None) in _LOCAL:
                    raise
                if wait is None:
                    raise StorageError(
                        f"shard {self._url}/{parts} cannot be fetched, {len(WAITS) + 1} attempts "
                        f"({type(error).__name__}: {error}); when the store answers, the same command goes on"
                    ) from error
                say(f"shard {self._url}/{parts}: {type(error).__name__}: {error}; again in {wait:.0f} s")
                time.sleep(wait)
            else:
                return


class Room:
    """What a bounded cache holds, and what of it the stage reads no more."""

    def __init__(self, bundle: Bundle, most: int, path: Callable[[int], Path]) -> None:
        self._sizes, self._most, self._path = bundle.shards.bytes, most, path
        last = last_steps(bundle)
        opened = np.flatnonzero(last >= 0)
        self._order = opened[np.argsort(last[opened], kind="stable")]
        self._last = last[self._order]
        self._next = 0
        self._held: set[int] = set()
        self._bytes = 0
        self._past: deque[int] = deque()
        self._told = False

    def add(self, row: int) -> None:
        """Count a shard that is there or on its way."""
        if row not in self._held:
            self._held.add(row)
            self._bytes += int(self._sizes[row])

    def takes(self, row: int) -> bool:
        """Say whether a shard still fits."""
        return row in self._held or self._bytes + int(self._sizes[row]) <= self._most

    def make(self, step: int, needed: list[int]) -> list[int]:
        """Remove shards of the past until those that ``step`` needs fit; return the ones removed."""
        while self._next < len(self._order) and self._last[self._next] < step - BEHIND_STEPS:
            row = int(self._order[self._next])
            if row in self._held or self._path(row).is_file():
                self.add(row)
                self._past.append(row)
            self._next += 1
        gone = []
        coming = sum(int(self._sizes[row]) for row in needed if row not in self._held)
        while self._past and self._bytes + coming > self._most:
            row = self._past.popleft()
            if row in self._held and row not in needed:
                self._path(row).unlink(missing_ok=True)
                self.drop(row)
                gone.append(row)
        if self._bytes + coming > self._most and not self._told:
            self._told = True
            say(
                f"the shards in use at step {step} are {(self._bytes + coming) / 1e9:,.2f} GB, more than the "
                f"{self._most / 1e9:,.2f} GB that the cache was given; it grows"
            )
        return gone

    def drop(self, row: int) -> None:
        """Count a shard no more."""
        self._held.remove(row)
        self._bytes -= int(self._sizes[row])


def _parts(bundle: Bundle, row: int) -> list[str]:
    """Return a shard's path below a root: without the leading ``..``."""
    return [part for part in PurePosixPath(str(bundle.shards.paths[row].as_py())).parts if part != ".."]


def _file_system(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        system, base = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"cannot open {url}: {error}") from error
    return system, str(base).rstrip("/")


def _timetable(bundle: Bundle) -> tuple[Any, Any, Any]:
    """Return each shard's hash; and the rows that the stage opens with their first steps, by time."""
    import pyarrow.parquet as pq

    table = pq.read_table(bundle.folder / "shards.parquet", columns=["xxh3_128", "first_step"])
    due = table.column("first_step").fill_null(-1).to_numpy()
    opened = np.flatnonzero(due >= 0)
    order = opened[np.argsort(due[opened], kind="stable")]
    return table.column("xxh3_128"), order, due[order]
