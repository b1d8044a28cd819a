"""Files that are whole or absent: temporary name, fsync, rename; hashes; one writer at a time.

Every writer of the house goes through :func:`atomic_path` or :func:`write_atomic`, so a reader never sees
half a file under a final name, and a ``kill -9`` leaves at most a ``*.tmp-<pid>`` that the next run removes.
"""

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import xxhash

from smoldata.errors import BusyError, StorageError

_CHUNK_BYTES = 1 << 20
_REFUSALS = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "the file would pass the size limit of this file system or process",
    errno.EACCES: "permission denied; check who owns the folder",
    errno.EPERM: "permission denied; check who owns the folder",
    errno.EEXIST: "a file stands where a folder is needed; move it away or choose another --build folder",
    errno.ENOTDIR: "a file stands where a folder is needed; move it away or choose another --build folder",
    errno.EROFS: "the file system is read-only; choose another --build folder",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a refusal of the file system into a :class:`StorageError` that says what to do next."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageError) or error.errno not in _REFUSALS:
            raise
        raise StorageError(f"cannot write {path}: {_REFUSALS[error.errno]}") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success fsync it and rename it to ``path``.

    On any exception, ``KeyboardInterrupt`` included, the temporary file is removed and ``path`` is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            fsync(temporary)
            temporary.replace(path)
            fsync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON with sorted keys: the same value gives the same bytes."""
    write_atomic(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def fsync(path: Path) -> None:
    """Flush a file or a folder entry to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> int:
    """Remove temporary files of dead runs under ``folder``; return how many there were."""
    leftovers = [path for path in Path(folder).rglob("*.tmp-*") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def xxh3_128(path: Path) -> str:
    """Return the xxh3-128 of a file as 32 hexadecimal digits (about 3 GB/s a core)."""
    return _digest_file(xxhash.xxh3_128(), path)


def sha256(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits (about 0.5 GB/s a core)."""
    return _digest_file(hashlib.sha256(), path)


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def _digest_file(digest: _Digest, path: Path) -> str:
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def digest_values(*values: object) -> str:
    """Return one xxh3-128 over JSON-able values: the key under which work with these inputs is kept."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return xxhash.xxh3_128_hexdigest(text.encode())


def code_digest(package_folders: Iterable[Path]) -> str:
    """Return one digest over the source files of packages (``.py``, ``.sql``, ``.yaml``): the code version.

    A version number would miss an edit in a checkout; the bytes of the code do not.
    """
    digest = xxhash.xxh3_128()
    for folder in package_folders:
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix in {".py", ".sql", ".yaml"}:
                digest.update(f"{folder.name}/{path.relative_to(folder).as_posix()}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def single_writer(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; a second run gets a :class:`BusyError` naming the first.

    The lock is the kernel's (``flock``): it is gone with the process, however that ends.
    """
    folder = Path(folder)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a+")  # closed below
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise BusyError(
                f"{folder} is in use by {holder}; wait for it, or stop it and run again"
            ) from error
        with storage_errors(folder):
            lock.truncate(0)
            lock.write(f"process {os.getpid()}")
            lock.flush()
        yield
