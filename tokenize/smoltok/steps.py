"""Tokenization as datatrove steps: the same shards from any datatrove executor, with any number of tasks.

:class:`TokenizeFiles` makes the shards of the documents files that fall to its rank (every
``world_size``-th of the stale ones) and leaves each file's manifest rows beside them;
:class:`RecordShards`, one task that depends on it, gathers the rows into the manifests and removes what is
stale. A rank that is killed is run again: finished files are not made twice. The bytes are those of
:func:`smoltok.build.build_all`.

    executor = SlurmPipelineExecutor(pipeline=[TokenizeFiles(job)], tasks=500, ...)
    SlurmPipelineExecutor(pipeline=[RecordShards(job)], tasks=1, depends=executor, ...).run()
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from datatrove.pipeline.base import PipelineStep

from smoldata.errors import StorageError
from smoldata.files import write_atomic
from smoltok.build import remove_stale, task_of
from smoltok.currency import Settings, Stale, examine
from smoltok.manifest import ShardRow, write_manifest
from smoltok.tokenizing import tokenize_file

_ROWS = ".rows"


@dataclass(frozen=True, slots=True)
class TokenizeJob:
    """What all ranks agree on."""

    sources: tuple[str, ...]
    documents: Path
    tokens: Path
    settings: Settings

    def stale(self) -> list[tuple[str, Stale]]:
        """Return every (source, documents file) whose shards are not current, in an order all ranks share."""
        found = []
        for source in self.sources:
            state = examine(source, documents=self.documents, tokens=self.tokens, settings=self.settings)
            found += [(source, stale) for stale in state.stale]
        return found


class TokenizeFiles(PipelineStep):  # type: ignore[misc]
    """Make the shards of this rank's documents files; takes no documents from a step before it.

    The share of a rank is a function of the manifests, which no rank changes: rerunning one rank alone is
    safe.
    """

    name = "tokenize"
    type = "smoltok"

    def __init__(self, job: TokenizeJob) -> None:
        super().__init__()
        self.job = job

    def run(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[object]:  # noqa: ARG002 - datatrove's
        """Make every ``world_size``-th stale file's shards; yields nothing."""
        job = self.job
        for source, stale in job.stale()[rank::world_size]:
            folder = job.tokens / source
            rows_path = folder / _ROWS / f"{Path(stale.file.path).stem}.json"
            task = task_of(source, stale, documents=job.documents, tokens=job.tokens, settings=job.settings)
            key = [task.input_xxh3_128, task.code_version, repr(job.settings)]
            if _kept(rows_path, key) is not None:
                continue
            rows = tokenize_file(task)
            write_atomic(rows_path, json.dumps({"key": key, "rows": [asdict(row) for row in rows]}))
            self.stat_update("tokens", value=sum(row.tokens for row in rows))
        yield from ()


class RecordShards(PipelineStep):  # type: ignore[misc]
    """Gather what all ranks of :class:`TokenizeFiles` made into the manifests. One task."""

    name = "record"
    type = "smoltok"

    def __init__(self, job: TokenizeJob) -> None:
        super().__init__()
        self.job = job

    def run(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[object]:  # noqa: ARG002 - datatrove's
        """Write the manifests, remove what is stale; yields nothing. Raises StorageError if a rank failed."""
        job = self.job
        for source in job.sources if rank == 0 else ():
            folder = job.tokens / source
            state = examine(source, documents=job.documents, tokens=job.tokens, settings=job.settings)
            rows = list(state.current)
            for stale in state.stale:
                task = task_of(
                    source, stale, documents=job.documents, tokens=job.tokens, settings=job.settings
                )
                key = [task.input_xxh3_128, task.code_version, repr(job.settings)]
                made = _kept(folder / _ROWS / f"{Path(stale.file.path).stem}.json", key)
                if made is None:
                    raise StorageError(
                        f"{source}/{stale.file.path} has no finished shards: a rank failed; run the tokenize "
                        "step again, it makes only what is missing"
                    )
                rows += made
            write_manifest(folder, rows)
            remove_stale(folder, rows)
            shutil.rmtree(folder / _ROWS, ignore_errors=True)
        yield from ()


def _kept(path: Path, key: list[str]) -> list[ShardRow] | None:
    """Return the rows that a rank left for exactly this work, if it did and their shards stand."""
    try:
        kept = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if kept["key"] != key:
        return None
    rows = [ShardRow(**row) for row in kept["rows"]]
    folder = path.parent.parent
    whole = all(
        (folder / row.path).is_file() and (folder / row.path).stat().st_size == row.bytes for row in rows
    )
    return rows if whole else None
