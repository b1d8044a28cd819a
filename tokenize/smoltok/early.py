"""Workers for a build before its tasks are known: they load while it imports Arrow and reads manifests.

A guess, and only that: if a good deal of documents has no token manifest yet, workers are started; whether
they get tasks is decided where the tasks are known (:mod:`smoltok.pool`). A wrong guess costs a second of
another core. Nothing heavy is imported here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from smoltok.crew import Recruits, recruit
from smoltok.preload import start_worker
from smoltok.tokenizer import Tokenizer

_MANIFEST = "manifest.parquet"
_LEAST_BYTES = 16 << 20
"""Of documents as they lie on the disk: about 64 MB of text, what workers are worth starting for."""


@contextmanager
def early_crew(
    sources: Sequence[str], *, documents: Path, tokens: Path, tokenizer: Tokenizer, workers: int
) -> Iterator[Recruits | None]:
    """Yield workers that have started to load, or None; they are gone when the block ends."""
    sizes = [
        path.stat().st_size
        for source in sources
        if not (tokens / source / _MANIFEST).exists()
        for path in (documents / source).glob("*.parquet")
        if path.name != _MANIFEST
    ]
    workers = min(workers, len(sizes))
    if workers <= 1 or sum(sizes) < _LEAST_BYTES:
        yield None
        return
    with recruit(workers, ahead=partial(start_worker, tokenizer)) as recruits:
        yield recruits
