"""Proof of a bundle on the machine where it lies: a bundle in, every difference by file out.

``bundle.json`` says what belongs to the bundle and carries a sha256 of itself; ``shards.parquet`` says what
the shards are. Every byte is read: a changed, missing or extra file is found and named, with what was
expected and what is there. Cost: sha256 of everything named, about 0.5 GB/s a core, on all cores.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smoldata.console import progress
from smoldata.errors import InputError
from smolmix.bundle import FORMAT_VERSION, digest_file, index_text
from smolmix.windows import shard_path

Kind = Literal["missing", "extra", "size", "content"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One file that is not as the bundle says."""

    path: str
    kind: Kind
    expected: str
    seen: str

    def __str__(self) -> str:
        """Return the difference as a line for people."""
        return f"{self.path}: {self.kind}: expected {self.expected}, found {self.seen}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was checked and what differs."""

    lock: str
    files: int
    shards: int
    virtual_shards: int
    """Shards sized from the registry: there is nothing to check."""
    bytes: int
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        """Whether every byte is what the bundle says."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file and what it must be; an empty sha256 is not compared."""

    name: str
    path: Path
    bytes: int
    sha256: str
    xxh3_128: str


def verify_bundle(bundle: Path, root: Path | None = None, workers: int | None = None) -> VerifyReport:
    """Read every file of a bundle and every shard it names; return what differs.

    ``root`` is the folder that holds ``tokens/`` if the shards are not where the bundle's own relative
    paths lead (leading ``..`` of a path are then dropped). Raises :class:`InputError` if ``bundle`` is no
    bundle.
    """
    bundle = Path(bundle)
    index, differences = _read_index(bundle)
    files = [
        _Wanted(one["path"], bundle / one["path"], one["bytes"], one["sha256"], "") for one in index["files"]
    ]
    differences += _check_all(files, workers, "verifying the bundle")
    differences += _extra(bundle, {"bundle.json", *(one.name for one in files)})
    shards, virtual = _read_shards(bundle, root) if (bundle / "shards.parquet").is_file() else ([], 0)
    differences += _check_all(shards, workers, "verifying shards")
    checked = sum(one.bytes for one in [*files, *shards])
    return VerifyReport(index["lock"], len(files) + 1, len(shards), virtual, checked, tuple(differences))


def _read_index(bundle: Path) -> tuple[dict[str, Any], list[Difference]]:
    path = bundle / "bundle.json"
    if not path.is_file():
        raise InputError(
            f"{bundle} is no bundle: it has no bundle.json; make one with `make handoff STAGE=2`"
        )
    text = path.read_bytes()
    try:
        index: dict[str, Any] = json.loads(text)
        version, _ = (
            index["format_version"],
            [(one["path"], one["bytes"], one["sha256"]) for one in index["files"]],
        )
        wanted, lock = index["sha256"], index["lock"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error!r}): nothing else can be proved; copy the bundle again"
        ) from error
    if version != FORMAT_VERSION:
        raise InputError(f"{path} has format_version {version}, this program reads {FORMAT_VERSION}")
    right = index_text(index).encode()
    if text == right:
        return index, []
    seen = json.loads(right)["sha256"]
    found = f"sha256 {seen}" if seen != wanted else "other spacing or order"
    expected = f"sha256 {wanted} over its statements"
    return index, [Difference("bundle.json", "content", expected, f"{found} (lock {lock})")]


def _read_shards(bundle: Path, root: Path | None) -> tuple[list[_Wanted], int]:
    """Return the shards to check and how many have no file; a broken list differs in its own hash."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(bundle / "shards.parquet").to_pylist()
    except (OSError, ValueError, pa.ArrowException):
        return [], 0
    real = [row for row in rows if row["path"] is not None]
    if any("\0" in row["path"] for row in real):  # no file can be called so
        return [], 0
    return [
        _Wanted(
            f"{row['source']}/{row['ordinal']} ({row['path']})",
            shard_path(bundle, row["path"], root),
            row["bytes"],
            row["sha256"],
            row["xxh3_128"],
        )
        for row in real
    ], len(rows) - len(real)


def _check_all(files: list[_Wanted], workers: int | None, label: str) -> list[Difference]:
    if not files:
        return []
    differences: list[Difference] = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool, progress(label, len(files)) as advance:
        for file, found in zip(files, pool.map(_check, files), strict=True):
            differences += found
            _advance(advance, file)
    return differences


def _advance(advance: Callable[[int, str], None], file: _Wanted) -> None:
    advance(1, file.name)


def _check(file: _Wanted) -> list[Difference]:
    try:
        seen = digest_file(file.path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return [Difference(file.name, "missing", f"{file.bytes:,} bytes", f"nothing at {file.path}")]
    if seen.bytes != file.bytes:
        return [Difference(file.name, "size", f"{file.bytes:,} bytes", f"{seen.bytes:,} bytes")]
    return list(_hashes(file, seen.sha256, seen.xxh3_128))


def _hashes(file: _Wanted, sha256: str, xxh3_128: str) -> Iterator[Difference]:
    if file.sha256 and sha256 != file.sha256:
        yield Difference(file.name, "content", f"sha256 {file.sha256}", f"sha256 {sha256}")
    elif file.xxh3_128 and xxh3_128 != file.xxh3_128:
        yield Difference(file.name, "content", f"xxh3 {file.xxh3_128}", f"xxh3 {xxh3_128}")


def _extra(bundle: Path, known: set[str]) -> list[Difference]:
    """Return what lies in the bundle and is not of it: a stray file may be what a job picks up."""
    there = (path.relative_to(bundle).as_posix() for path in sorted(bundle.rglob("*")) if not path.is_dir())
    return [Difference(name, "extra", "no such file", "a file") for name in there if name not in known]
