"""Runs tasks here or in worker processes, and ends in bounded time whatever happens to a worker.

Workers are spawned, not forked (the engine has threads), take one thread each, ignore Ctrl-C, which is the
parent's to handle, and end themselves within a second of the parent's death. A worker that is killed breaks
the pool at once, with an error that says what to do. Results come as tasks finish.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from smoldata.errors import StorageError
from smoldata.workers import interrupts_held_back, stop_pool
from smoltok.manifest import ShardRow
from smoltok.tokenizing import Task, tokenize_file

_WORTH_A_POOL_BYTES = 64 << 20
"""Text below this is tokenized sooner in one process than a pool starts."""
_ONE_THREAD = ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS", "OMP_NUM_THREADS")


def run_tasks(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, list[ShardRow]]]:
    """Yield each task with its rows as it is finished. Raises what a task raised, or StorageError."""
    ordered = sorted(tasks, key=lambda task: (-task.text_bytes, task.source, task.input_path))
    workers = min(workers, len(ordered))
    if workers <= 1 or sum(task.text_bytes for task in ordered) < _WORTH_A_POOL_BYTES:
        for task in ordered:
            yield task, tokenize_file(task)
        return
    yield from _run_in_pool(ordered, workers)


def _run_in_pool(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, list[ShardRow]]]:
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=prepare_worker,
        initargs=(os.getpid(),),
    ) as pool:
        with interrupts_held_back():
            futures = {pool.submit(tokenize_file, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise StorageError(
                "a worker was killed, most often for want of memory; finished shards are kept: "
                f"run again, with fewer than {workers} workers"
            ) from error
        except BaseException:
            stop_pool(pool)
            raise


def prepare_worker(parent: int) -> None:
    """Make a worker of one thread that leaves Ctrl-C to its parent and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _ONE_THREAD:
        os.environ[name] = "1"
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    """End this process when its parent is gone: a killed run must leave no process behind."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
