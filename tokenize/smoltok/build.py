"""Documents → token shards for whole sources: what is stale is made, the rest is kept, any number of workers.

One task a documents file, largest first, in this process or in a pool; a finished task's rows go into the
manifest at once (at most every two seconds), so a run that is killed loses seconds and the next one goes on.
Rows of stale shards leave the manifest before their files are touched; files that no row names are removed at
the end. The bytes are the same for any number of workers and any number of kills.

Workers cost about 1.5 s to start (:mod:`smoltok.crew`), so little text is tokenized in this process whatever
``workers`` says.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from smoldata.files import remove_leftovers, single_writer
from smoltok.crew import Recruits
from smoltok.currency import Settings, Stale, State, code_version, examine, extra_files
from smoltok.manifest import ShardRow, write_manifest
from smoltok.ordering import FILE_ORDER, DocumentOrder
from smoltok.pool import run_tasks
from smoltok.selftest import choose
from smoltok.split import VALIDATION, threshold
from smoltok.tokenizer import LLAMA_3_2, Tokenizer
from smoltok.tokenizing import Task

Advance = Callable[[int, str], None]
"""Told (documents done, source) as work is finished; see smoldata.console.progress."""

_RECORD_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did for one source."""

    source: str
    shards: int
    """Shards that are current now."""
    made: int
    """Shards made by this run."""
    tokens: int
    documents: int
    text_bytes: int
    reasons: tuple[tuple[str, str], ...] = ()
    """(documents file, why its shards were made)."""
    removed: int = 0
    """Stale files removed."""


@dataclass(slots=True)
class _Source:
    """A source while it is built: the manifest's rows and when they were last written."""

    name: str
    folder: Path
    state: State
    rows: list[ShardRow] = field(default_factory=list)
    recorded: float = 0.0
    cost: float = 0.0
    made: int = 0

    def record(self, *, force: bool = False) -> None:
        """Write the manifest, unless that was done a moment ago; large manifests are written more rarely."""
        now = time.monotonic()
        if not force and now - self.recorded < max(_RECORD_SECONDS, 20 * self.cost):
            return
        write_manifest(self.folder, self.rows)
        self.recorded, self.cost = time.monotonic(), time.monotonic() - now


def is_current(
    sources: Iterable[str],
    *,
    documents: Path,
    tokens: Path,
    tokenizer: Tokenizer = LLAMA_3_2,
    validation_share: Fraction,
    order: DocumentOrder = FILE_ORDER,
) -> bool:
    """Return whether :func:`build_all` with these arguments has nothing to do. Raises SourceError."""
    settings = Settings(tokenizer, validation_share, order)
    states = (examine(source, documents=documents, tokens=tokens, settings=settings) for source in sources)
    return all(state.is_current for state in states)


def build_tokens(
    source: str,
    *,
    documents: Path,
    tokens: Path,
    tokenizer: Tokenizer = LLAMA_3_2,
    validation_share: Fraction,
    workers: int = 1,
    order: DocumentOrder = FILE_ORDER,
    advance: Advance | None = None,
) -> BuildReport:
    """Make documents/<source> into tokens/<source>: shards, their sidecars and the manifest.

    Raises SourceError (no documents, unreadable), IntegrityError (documents changed under their manifest),
    TokenizerError (no vocabulary), BusyError (another run is there), StorageError (disk full).
    """
    return build_all(
        [source],
        documents=documents,
        tokens=tokens,
        tokenizer=tokenizer,
        validation_share=validation_share,
        workers=workers,
        order=order,
        advance=advance,
    )[0]


def build_all(
    sources: Sequence[str],
    *,
    documents: Path,
    tokens: Path,
    tokenizer: Tokenizer = LLAMA_3_2,
    validation_share: Fraction,
    workers: int = 1,
    order: DocumentOrder = FILE_ORDER,
    advance: Advance | None = None,
    recruits: Recruits | None = None,
) -> list[BuildReport]:
    """Make several sources with one pool and one load of the engine; see :func:`build_tokens`.

    ``recruits`` are workers that were started ahead (:mod:`smoltok.early`). Returns one report a source, in
    the order given.
    """
    settings = Settings(tokenizer, validation_share, order)
    threshold(validation_share)  # Refuses a share that is none before anything is touched.
    with ExitStack() as locks:
        for name in sources:
            locks.enter_context(single_writer(tokens / name))
        open_sources = {name: _open(name, documents, tokens, settings) for name in sources}
        tasks = [
            task_of(source.name, stale, documents=documents, tokens=tokens, settings=settings)
            for source in open_sources.values()
            for stale in source.state.stale
        ]
        if tasks:
            choose(tokenizer)  # The self-test runs here once, not in each worker.
        try:
            with closing(
                run_tasks(tasks, workers, recruits)
            ) as finished:  # Its workers end before the locks do.
                for task, rows in finished:
                    _finish_task(open_sources[task.source], rows, advance)
        finally:
            for source in open_sources.values():
                source.record(force=source.made > 0)
        return [_close(source) for source in open_sources.values()]


def _open(name: str, documents: Path, tokens: Path, settings: Settings) -> _Source:
    """Examine a source; take rows that are no longer true out of its manifest before any file changes."""
    folder = tokens / name
    remove_leftovers(folder)
    state = examine(name, documents=documents, tokens=tokens, settings=settings)
    source = _Source(name, folder, state, rows=list(state.current))
    if not state.is_current:
        source.record(force=True)
    source.recorded = time.monotonic()
    return source


def task_of(source: str, stale: Stale, *, documents: Path, tokens: Path, settings: Settings) -> Task:
    """Return the task that makes the shards of a documents file."""
    return Task(
        source=source,
        input_folder=documents / source,
        input_path=stale.file.path,
        input_xxh3_128=stale.file.xxh3_128,
        output_folder=tokens / source,
        tokenizer=settings.tokenizer,
        validation_share=settings.share_text,
        validation_limit=threshold(settings.validation_share),
        order=settings.order,
        code_version=code_version(),
        text_bytes=stale.file.text_bytes,
    )


def remove_stale(folder: Path, rows: Sequence[ShardRow]) -> int:
    """Remove the shard files that no row names; return how many there were."""
    extra = extra_files(folder, rows)
    for path in extra:
        path.unlink(missing_ok=True)
    validation = folder / VALIDATION
    if validation.is_dir() and not any(validation.iterdir()):
        validation.rmdir()
    return len(extra)


def _finish_task(source: _Source, rows: list[ShardRow], advance: Advance | None) -> None:
    source.rows += rows
    source.made += len(rows)
    source.record()
    if advance is not None:
        advance(sum(row.documents for row in rows), source.name)


def _close(source: _Source) -> BuildReport:
    """Remove what no row names, and say what was done."""
    removed = remove_stale(source.folder, source.rows)
    return BuildReport(
        source=source.name,
        shards=len(source.rows),
        made=source.made,
        tokens=sum(row.tokens for row in source.rows),
        documents=sum(row.documents for row in source.rows),
        text_bytes=sum(row.text_bytes for row in source.rows),
        reasons=tuple((stale.file.path, stale.reason) for stale in source.state.stale),
        removed=removed,
    )
