"""Folders that are whole or absent: written under another name, and renamed before they are removed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smoldata.files import fsync, storage_errors


@contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``final``; on success flush it and put it in ``final``'s place."""
    temporary = final.with_name(f"{final.name}.tmp-{os.getpid()}")
    with storage_errors(final):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for path in (*temporary.iterdir(), temporary):
                fsync(path)
            discard(final)
            temporary.rename(final)
            fsync(final.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove a folder, if it is there, so that no half of it ever stands under its name."""
    if folder.exists():
        doomed = folder.with_name(f"{folder.name}.tmp-{os.getpid()}-old")
        folder.rename(doomed)
        shutil.rmtree(doomed)


def remove_unfinished(parent: Path) -> None:
    """Remove folders that a killed run left half-written or half-removed in ``parent``."""
    for folder in parent.glob("*.tmp-*"):
        if folder.is_dir():
            shutil.rmtree(folder)
