"""Runs tokenizing tasks here or in a crew of worker processes, largest first; results come as they finish."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from functools import partial

from smoltok import preload
from smoltok.crew import Crew, Recruits, recruit
from smoltok.encoding import encode_flat
from smoltok.manifest import ShardRow
from smoltok.tokenizer import Tokenizer
from smoltok.tokenizing import Task, tokenize_file

_WORTH_A_CREW_BYTES = 64 << 20
"""Text below this is tokenized sooner in one process than a crew starts."""


def run_tasks(
    tasks: Sequence[Task], workers: int, recruits: Recruits | None = None
) -> Generator[tuple[Task, list[ShardRow]], None, None]:
    """Yield each task with its rows as it is finished. Raises what a task raised, or StorageError.

    ``recruits`` were started ahead and stand in for new ``workers``; they are gone at the end.
    """
    ordered = sorted(tasks, key=lambda task: (-task.text_bytes, task.source, task.input_path))
    workers = min(workers, len(ordered))
    with ExitStack() as stack:
        if recruits is not None:
            stack.callback(recruits.dismiss)
        if workers <= 1 or sum(task.text_bytes for task in ordered) < _WORTH_A_CREW_BYTES:
            stack.close()
            for task in ordered:
                yield task, tokenize_file(task)
            return
        tokenizer = ordered[0].tokenizer
        if recruits is None:
            recruits = stack.enter_context(recruit(workers, ahead=partial(preload.start_worker, tokenizer)))
        crew: Crew[Task, list[ShardRow]] = recruits.told(tokenize_file, partial(warm_up, tokenizer))
        yield from crew.run(ordered)


def warm_up(tokenizer: Tokenizer) -> None:
    """Load the engine and let it build the tables that its first text fills; no thread is left."""
    encode_flat(["a"], tokenizer=tokenizer)
    preload.wait()  # Another engine than the one that was begun may have been chosen.
