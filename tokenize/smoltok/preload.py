"""The fast engine, built in a thread while the program imports the rest.

To build it takes 0.7 to 1 s, most of it in Rust without Python's lock; to import NumPy, Arrow and what stands
on them takes 0.2 s. Where a second core is free, the second costs no time then. :func:`start` begins,
:func:`native` waits for it, or builds there and then if nothing was begun. The thread has ended when
:func:`native` returns, so a process may be forked after it. This module imports nothing heavy.
"""

import threading
from contextlib import suppress
from typing import Any

from smoltok.tokenizer import Tokenizer
from smoltok.vocabulary import model_json


class _Build(threading.Thread):
    """Builds one engine. Not a daemon: a program must not end while Rust is at work in it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(name="build-engine")
        self._tokenizer = tokenizer
        self.built: Any = None

    def run(self) -> None:
        """Build it; an error is met again, and told, by :func:`native`."""
        with suppress(Exception):
            self.built = _build(self._tokenizer)


_begun: dict[Tokenizer, _Build] = {}


def start(tokenizer: Tokenizer) -> None:
    """Begin to build the fast engine of a tokenizer."""
    if tokenizer not in _begun:
        _begun[tokenizer] = _Build(tokenizer)
        _begun[tokenizer].start()


def native(tokenizer: Tokenizer) -> Any:
    """Return fastokens' own object for a tokenizer. Raises TokenizerError, ImportError, ValueError."""
    begun = _begun.pop(tokenizer, None)
    if begun is not None:
        begun.join()
        if begun.built is not None:
            return begun.built
    return _build(tokenizer)


def wait() -> None:
    """Return when no engine is being built; one that nobody asked for is let go."""
    while _begun:
        _begun.popitem()[1].join()


def _build(tokenizer: Tokenizer) -> Any:
    from fastokens._native import Tokenizer as Native

    return Native.from_json_str(model_json(tokenizer, reachable_only=True))


def start_worker(tokenizer: Tokenizer) -> None:
    """Begin to build the engine and import what a worker needs beside it."""
    start(tokenizer)
    import humanize  # noqa: F401 - here it is imported once, in a worker once each

    import smoltok.pool  # noqa: F401
