"""Worker processes that share one loaded engine and neither hang nor outlive their parent.

One fresh process of one thread loads the engine and forks the rest: its tables are built once and shared,
so a crew of any size starts in the time of one load. It is not forked from the caller, which may have threads
that hold locks. Where fork is not to be trusted (macOS, Windows) each worker loads for itself.

Each worker has a pipe of its own to the caller: a task goes in, its result or its error comes back. All read
from one more pipe, the lifeline, that only the caller can write to and nobody writes to: it ends when the
caller lets go of it or is killed, and the workers end that instant, whatever they are at. A worker that is
killed ends its own pipe, which the caller sees. Cost: start-up and one load, 1 to 1.5 s, 5 ms a worker more.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, NoReturn, TypeVar, cast

from smoldata.errors import StorageError
from smoldata.workers import interrupts_held_back

T = TypeVar("T")
R = TypeVar("R")

_ONE_THREAD = ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_FORKS = sys.platform == "linux"
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Failure:
    """What came of a task that raised."""

    error: BaseException
    trace: str


class RemoteTraceback(Exception):  # noqa: N818 - the cause shown above the error, never raised itself
    """Where in a worker an error was raised."""

    def __str__(self) -> str:
        """Return the worker's traceback."""
        return f'\n"""\n{self.args[0]}"""'


@dataclass(frozen=True, slots=True)
class Crew(Generic[T, R]):
    """Workers that have started; see :func:`crew`."""

    connections: tuple[Connection, ...]

    def run(self, tasks: Sequence[T]) -> Iterator[tuple[T, R]]:
        """Yield each task with its result as it is finished. Raises what a task raised, or StorageError.

        A worker gets its next task before the caller sees its last result, so none waits for the caller.
        """
        queue = iter(tasks)
        running: dict[Connection, T] = {}
        for connection in self.connections:
            self._give(connection, queue, running)
        while running:
            for connection in cast("list[Connection]", wait(list(running))):
                task, result = running.pop(connection), self._take(connection)
                self._give(connection, queue, running)
                yield task, result

    def _give(self, connection: Connection, queue: Iterator[T], running: dict[Connection, T]) -> None:
        for task in queue:
            try:
                connection.send(task)
            except OSError as error:
                raise self._lost() from error
            running[connection] = task
            return

    def _take(self, connection: Connection) -> R:
        try:
            answer: R | _Failure = connection.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error
        if isinstance(answer, _Failure):
            raise answer.error from RemoteTraceback(answer.trace)
        return answer

    def _lost(self) -> StorageError:
        return StorageError(
            "a worker was killed, most often for want of memory; finished shards are kept: "
            f"run again, with fewer than {len(self.connections)} workers"
        )


@contextmanager
def crew(workers: int, do: Callable[[T], R], *, before: Callable[[], object]) -> Iterator[Crew[T, R]]:
    """Start workers that do one kind of task; when the block ends, however it ends, they are gone.

    ``before`` is called once, in the process that the workers are forked from: it loads what they share and
    must leave no thread behind. Both are functions of a module; tasks and results must be picklable.
    """
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(workers)]
    ours, theirs = [pipe[0] for pipe in pipes], [pipe[1] for pipe in pipes]
    end, lifeline = context.Pipe(duplex=False)
    groups = [theirs] if _FORKS else [[connection] for connection in theirs]
    processes = [
        context.Process(target=_serve, args=(end, group, pickle.dumps((before, do))), daemon=True)
        for group in groups
    ]
    try:
        with interrupts_held_back():
            for process in processes:
                process.start()
        for connection in (end, *theirs):
            connection.close()  # Theirs alone now: a pipe ends with its worker.
        yield Crew(tuple(ours))
    finally:
        for connection in (lifeline, end, *theirs):
            connection.close()
        for connection in ours:
            _wait_for_end(connection)
        for process in processes:
            if process.pid is not None:
                process.join(_STOP_SECONDS)
                process.kill()
                process.join()


def _wait_for_end(connection: Connection) -> None:
    """Return when the worker is gone: what it still writes must not meet the next run."""
    with suppress(EOFError, OSError), connection:
        while connection.poll(_STOP_SECONDS):
            connection.recv_bytes()


def _serve(end: Connection, connections: list[Connection], pickled: bytes) -> NoReturn:
    """Load what is shared, fork a process a connection, and work until the lifeline ends."""
    _settle()
    # Pickled by the caller. What it imports (NumPy) must find _settle's settings.
    before, do = pickle.loads(pickled)  # noqa: S301
    with suppress(Exception):  # A task meets the same error, and its answer carries it.
        before()
    connection, children = _divide(connections)
    threading.Thread(target=_follow, args=(end, children), daemon=True).start()
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            _leave(children)
        connection.send_bytes(_answer(do, task))


def _settle() -> None:
    """Make this process a worker of one thread that leaves Ctrl-C to its parent and pandas on the disk."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _ONE_THREAD:
        os.environ[name] = "1"
    # Where pandas is installed, Arrow imports it (0.5 to 1.3 s) to ask whether a list is one of its series.
    sys.modules.setdefault("pandas", cast("Any", None))


def _divide(connections: list[Connection]) -> tuple[Connection, list[int]]:
    """Fork until each process has one connection and no other; return this one's and its children."""
    mine, *rest = connections
    children: list[int] = []
    while rest:
        connection = rest.pop()
        child = os.fork()
        if not child:
            for other in (mine, *rest):
                other.close()
            return connection, []
        connection.close()
        children.append(child)
    return mine, children


def _answer(do: Callable[[T], R], task: T) -> bytes:
    try:
        return pickle.dumps(do(task))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the caller is told
        trace = traceback.format_exc()
        try:
            return pickle.dumps(_Failure(error, trace))
        except Exception:  # noqa: BLE001 - an error that cannot travel
            return pickle.dumps(_Failure(RuntimeError(repr(error)), trace))


def _follow(end: Connection, children: list[int]) -> NoReturn:
    with suppress(EOFError, OSError):
        end.recv_bytes()
    _leave(children)


def _leave(children: list[int]) -> NoReturn:
    """End at once; the children do the same by themselves, and are only cleared away."""
    for child in children:
        with suppress(ChildProcessError):
            os.waitpid(child, 0)
    os._exit(0)
