"""Worker processes that share one loaded engine and neither hang nor outlive their parent.

One fresh process of one thread loads the engine and forks the rest: its tables are built once and shared,
so a crew of any size starts in the time of one load. It is not forked from the caller, which may have threads
that hold locks. Where fork is not to be trusted (macOS, Windows) each worker loads for itself.

They can be started before it is known what they are for (:func:`recruit`): while the caller still imports and
looks for work, they load.

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
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Generic, NoReturn, TypeVar, cast

from smoldata.errors import StorageError
from smoldata.workers import interrupts_held_back

T = TypeVar("T")
R = TypeVar("R")

_ONE_THREAD = ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""For ``GLIBC_TUNABLES``; glibc reads it when a process starts, others do not know it."""
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
                raise self.lost() from error
            running[connection] = task
            return

    def _take(self, connection: Connection) -> R:
        try:
            answer: R | _Failure = connection.recv()
        except (EOFError, OSError) as error:
            raise self.lost() from error
        if isinstance(answer, _Failure):
            raise answer.error from RemoteTraceback(answer.trace)
        return answer

    def lost(self) -> StorageError:
        """Return the error for a worker that is gone."""
        return StorageError(
            "a worker was killed, most often for want of memory; finished shards are kept: "
            f"run again, with fewer than {len(self.connections)} workers"
        )


@dataclass(slots=True)
class Recruits:
    """Processes that were started and wait to be told what they are for; see :func:`recruit`."""

    connections: tuple[Connection, ...]
    lifeline: Connection
    processes: Sequence[BaseProcess]
    are_told: bool = False

    def told(self, do: Callable[[T], R], before: Callable[[], object]) -> Crew[T, R]:
        """Return the crew that does one kind of task; ``before`` is as :func:`crew` has it."""
        made: Crew[T, R] = Crew(self.connections)
        self.are_told = True
        for connection in self.connections[: 1 if _FORKS else None]:
            try:
                connection.send_bytes(pickle.dumps((before, do)))
            except OSError as error:
                raise made.lost() from error
        return made

    def dismiss(self) -> None:
        """Return when they are gone; those that were told nothing have nothing to finish."""
        self.lifeline.close()
        for process in self.processes:
            if not self.are_told:
                process.kill()
        for connection in self.connections:
            _wait_for_end(connection)
        for process in self.processes:
            process.join(_STOP_SECONDS)
            process.kill()
            process.join()


@contextmanager
def crew(workers: int, do: Callable[[T], R], *, before: Callable[[], object]) -> Iterator[Crew[T, R]]:
    """Start workers that do one kind of task; when the block ends, however it ends, they are gone.

    ``before`` is called once, in the process that the workers are forked from: it loads what they share and
    must leave no thread behind. Both are functions of a module; tasks and results must be picklable.
    """
    with recruit(workers) as recruits:
        yield recruits.told(do, before)


@contextmanager
def recruit(workers: int, *, ahead: Callable[[], object] | None = None) -> Iterator[Recruits]:
    """Start processes that do nothing yet but call ``ahead``; when the block ends, they are gone.

    ``ahead`` is a function of a module, picklable, that begins to load what the work will need.
    """
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(workers)]
    ours, theirs = [pipe[0] for pipe in pipes], [pipe[1] for pipe in pipes]
    end, lifeline = context.Pipe(duplex=False)
    groups = [theirs] if _FORKS else [[connection] for connection in theirs]
    first = pickle.dumps(ahead)
    started: list[BaseProcess] = []
    recruits = Recruits(tuple(ours), lifeline, started)
    try:
        with interrupts_held_back(), _no_main_module(), _huge_pages():
            for group in groups:
                process = context.Process(target=_serve, args=(end, group, first), daemon=True)
                process.start()
                started.append(process)
        for connection in (end, *theirs):
            connection.close()  # Theirs alone now: a pipe ends with its worker.
        yield recruits
    finally:
        for connection in (end, *theirs):
            connection.close()
        recruits.dismiss()


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Hide the program's main module: a spawned process would import it again, 0.1 s and more for nothing."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _huge_pages() -> Iterator[None]:
    """Let glibc ask for huge pages in the processes that are started, unless the user has tuned it.

    Texts and ids stream through a worker's heap, which pays for page faults and missed translations.
    """
    if "GLIBC_TUNABLES" in os.environ:
        yield
        return
    os.environ["GLIBC_TUNABLES"] = HUGE_PAGES
    try:
        yield
    finally:
        del os.environ["GLIBC_TUNABLES"]


def _wait_for_end(connection: Connection) -> None:
    """Return when the worker is gone: what it still writes must not meet the next run."""
    with suppress(EOFError, OSError), connection:
        while connection.poll(_STOP_SECONDS):
            connection.recv_bytes()


def _serve(end: Connection, connections: list[Connection], ahead: bytes) -> NoReturn:
    """Load what is shared, fork a process a connection, and work until the lifeline ends."""
    _settle()
    # All is pickled by the caller. What it imports (NumPy) must find _settle's settings.
    with suppress(Exception):
        first = pickle.loads(ahead)  # noqa: S301
        if first is not None:
            first()
    try:
        before, do = pickle.loads(connections[0].recv_bytes())  # noqa: S301
    except (EOFError, OSError):
        os._exit(0)  # They are not needed.
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
