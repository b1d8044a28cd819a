"""Work spread over watched processes: a killed worker is an error, a killed parent leaves no orphan.

datatrove's own pool waits for ever when a worker is killed, and leaves its manager process behind when the
parent is. Here a broken pool raises at once, and each worker ends by itself within a second of losing its
parent.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from smoldata.errors import SmolError

T = TypeVar("T")
_STOP_SECONDS = 5.0


def run_all(work: Sequence[Callable[[], T]], workers: int) -> Iterator[T]:
    """Run every callable; yield results as they come. With one worker, in this process and in order.

    On the first error the rest is cancelled and the error raised. Callables and results must be picklable.
    """
    if workers <= 1 or len(work) <= 1:
        for call in work:
            yield call()
        return
    # spawn: a fork of a process with threads (Arrow, tokenizers) can deadlock.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(work)), mp_context=context, initializer=watch_parent)
    try:
        with interrupts_held_back():
            futures = [pool.submit(call) for call in work]
        for future in as_finished(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise SmolError(
            "a worker process was killed (out of memory?); finished files are kept: "
            "run the same command again, with fewer --workers if memory is short"
        ) from error
    finally:
        stop_pool(pool)


def as_finished(futures: Sequence[Future[T]]) -> Iterator[Future[T]]:
    """Yield futures as they finish, so that Ctrl-C may come at any moment.

    The library's own ``wait`` and ``as_completed`` lock every future at once; interrupted half-way they leave
    locks behind, on which the pool's thread, and with it the exit of the process, then waits for ever.
    """
    finished: SimpleQueue[Future[T]] = SimpleQueue()
    with interrupts_held_back():
        for future in futures:
            future.add_done_callback(finished.put)
    for _ in futures:
        yield finished.get()


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back while processes are started; it arrives at the end of the block.

    They inherit the mask: one that is interrupted while it still imports would print a traceback of its own.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_pool(pool: ProcessPoolExecutor) -> None:
    """End a pool at once: cancel what waits, end the workers, and see its own thread off, in bounded time.

    The thread is waited for because the interpreter's exit handler writes to a pipe that it may just be
    closing: without this, an interrupted run now and then ended with a traceback.
    """
    running = list((pool._processes or {}).values())  # noqa: SLF001 - no public way to end running work
    # shutdown() forgets both; the stubs give the thread the wrong type and lack the queue.
    calls = cast("Any", pool)._call_queue  # noqa: SLF001
    manager = cast("threading.Thread | None", pool._executor_manager_thread)  # noqa: SLF001
    pool.shutdown(wait=False, cancel_futures=True)
    for process in running:
        process.terminate()
    for process in running:
        process.join(_STOP_SECONDS)
        if process.is_alive():
            process.kill()
    if manager is None:
        return
    manager.join(_STOP_SECONDS / 5)
    if manager.is_alive():
        # Before Python 3.11.5 (cpython gh-94777) it waits for ever for a thread that writes into the workers'
        # pipe, of which this process itself holds the other end; so would the exit of this process.
        calls._reader.close()  # noqa: SLF001 - as the library does since
        manager.join(_STOP_SECONDS)


def watch_parent() -> None:
    """End this process within a second of its parent's death, and leave Ctrl-C to the parent."""
    # Ctrl-C reaches the whole process group; the parent alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()
