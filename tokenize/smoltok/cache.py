"""The user's cache folder: what is derived from the vocabulary once and read again at each start.

``$SMOLTOK_CACHE``, else ``$XDG_CACHE_HOME/smoltok``, else ``~/.cache/smoltok``. A file there is only a
convenience: a missing, damaged or unwritable one costs time, never correctness.
"""

import os
from collections.abc import Callable
from pathlib import Path

import xxhash

from smoldata.files import write_atomic

CACHE_VARIABLE = "SMOLTOK_CACHE"


def folder() -> Path:
    """Return the cache folder; it need not exist."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smoltok"


def keep(name: str, make: Callable[[], str]) -> str:
    """Return the text kept under ``name``, or make and keep it; a damaged copy is made again.

    The first line of the file is the xxh3-128 of the rest.
    """
    kept = read(name)
    if kept is not None:
        return kept
    made = make()
    store(name, made)
    return made


def read(name: str) -> str | None:
    """Return the text kept under ``name``; None if there is none or it is damaged."""
    try:
        digest, _, body = (folder() / name).read_bytes().partition(b"\n")
    except OSError:
        return None
    if xxhash.xxh3_128_hexdigest(body).encode() != digest:
        return None
    return body.decode()


def store(name: str, text: str) -> None:
    """Keep ``text`` under ``name``; a folder that cannot be written is not an error."""
    body = text.encode()
    try:
        write_atomic(folder() / name, xxhash.xxh3_128_hexdigest(body).encode() + b"\n" + body)
    except OSError:
        return
