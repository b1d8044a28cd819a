"""Runs tokenizing tasks here or in a crew of worker processes, largest first; results come as they finish."""

from collections.abc import Generator, Sequence
from functools import partial

from smoltok.crew import Crew, crew
from smoltok.encoding import encode_flat
from smoltok.manifest import ShardRow
from smoltok.tokenizer import Tokenizer
from smoltok.tokenizing import Task, tokenize_file

_WORTH_A_CREW_BYTES = 64 << 20
"""Text below this is tokenized sooner in one process than a crew starts."""


def run_tasks(tasks: Sequence[Task], workers: int) -> Generator[tuple[Task, list[ShardRow]], None, None]:
    """Yield each task with its rows as it is finished. Raises what a task raised, or StorageError."""
    ordered = sorted(tasks, key=lambda task: (-task.text_bytes, task.source, task.input_path))
    workers = min(workers, len(ordered))
    if workers <= 1 or sum(task.text_bytes for task in ordered) < _WORTH_A_CREW_BYTES:
        for task in ordered:
            yield task, tokenize_file(task)
        return
    started: Crew[Task, list[ShardRow]]
    with crew(workers, tokenize_file, before=partial(warm_up, ordered[0].tokenizer)) as started:
        yield from started.run(ordered)


def warm_up(tokenizer: Tokenizer) -> None:
    """Load the engine and let it build the tables that its first text fills."""
    encode_flat(["a"], tokenizer=tokenizer)
