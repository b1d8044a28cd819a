"""Processes are watched: results arrive, a killed worker is an error at once, no process is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from smoldata.errors import SmolError, SourceError
from smoldata.workers import run_all


def square(number: int) -> int:
    return number * number


def fail(message: str) -> int:
    raise SourceError(message)


def kill_self() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def tell_and_sleep(folder: Path, number: int) -> int:
    (folder / f"{number}.pid").write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(60)
    return number


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: object, seconds: float) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_result_arrives(workers: int) -> None:
    work = [partial(square, number) for number in range(7)]
    assert sorted(run_all(work, workers)) == [0, 1, 4, 9, 16, 25, 36]


@pytest.mark.parametrize("workers", [1, 2])
def test_our_errors_come_through_as_they_are(workers: int) -> None:
    with pytest.raises(SourceError, match="file a, row 7"):
        list(run_all([partial(fail, "file a, row 7"), partial(fail, "file a, row 7")], workers))


def test_a_killed_worker_is_an_error_in_bounded_time() -> None:
    start = time.monotonic()
    with pytest.raises(SmolError, match="a worker process was killed"):
        list(run_all([kill_self, kill_self], 2))
    assert time.monotonic() - start < 120  # not for ever


def test_an_error_ends_the_work_of_others(tmp_path: Path) -> None:
    def started() -> bool:
        return (tmp_path / "1.pid").exists() and bool((tmp_path / "1.pid").read_text(encoding="utf-8"))

    with pytest.raises(SourceError, match="stop"):
        list(run_all([partial(tell_and_sleep, tmp_path, 1), partial(fail_after, tmp_path)], 2))
    assert started()
    process = int((tmp_path / "1.pid").read_text(encoding="utf-8"))
    wait_until(lambda: not is_alive(process), 60)
    # The pool's own thread is gone too: the interpreter's exit handler would race with it.
    assert not [thread for thread in threading.enumerate() if "Executor" in type(thread).__name__]


def fail_after(folder: Path) -> int:
    path = folder / "1.pid"
    wait_until(lambda: path.exists() and path.read_text(encoding="utf-8"), 30)
    message = "stop"
    raise SourceError(message)


def test_a_killed_parent_leaves_no_worker(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "from smoldata.workers import run_all\n"
        "def work(folder, number):\n"
        "    Path(folder, f'{number}.pid').write_text(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    list(run_all([partial(work, sys.argv[1], n) for n in range(2)], 2))\n",
        encoding="utf-8",
    )
    # What a killed process leaves, its resource tracker reports: here that is what is wanted.
    quiet = os.environ | {"PYTHONWARNINGS": "ignore"}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=quiet)
    paths = [tmp_path / f"{number}.pid" for number in range(2)]
    wait_until(lambda: all(path.exists() and path.read_text(encoding="utf-8") for path in paths), 30)
    parent.kill()
    parent.wait()
    workers = [int(path.read_text(encoding="utf-8")) for path in paths]
    wait_until(lambda: not any(is_alive(worker) for worker in workers), 15)


def _interrupt_when_begun(script: Path) -> None:
    """Send Ctrl-C to a script and its workers when one of them has begun; it must end with 7, silently."""
    mark = script.with_name("mark")
    line = [sys.executable, str(script), str(mark)]
    parent = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(mark.exists, 30)
    os.killpg(parent.pid, signal.SIGINT)
    try:
        _, errors = parent.communicate(timeout=120)
    finally:
        parent.kill()
    assert parent.returncode == 7, errors
    assert errors == ""


def test_ctrl_c_while_workers_start_prints_no_traceback(tmp_path: Path) -> None:
    """A worker that still imports has no signal handler of ours yet; it must not answer Ctrl-C itself."""
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "if __name__ != '__main__':\n"
        "    Path(sys.argv[1]).write_text('starting')\n"
        "    time.sleep(1)\n"
        "from smoldata.workers import run_all\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        list(run_all([partial(time.sleep, 60)] * 2, 2))\n"
        "    except KeyboardInterrupt:\n"
        "        sys.exit(7)\n",
        encoding="utf-8",
    )
    _interrupt_when_begun(script)


def test_ctrl_c_ends_at_once_where_the_pipe_to_the_workers_is_full(tmp_path: Path) -> None:
    """Before Python 3.11.5 the pool's thread does not close the pipe, and waits for who writes to it."""
    script = tmp_path / "full.py"
    script.write_text(
        "import sys, threading, time\n"
        "from concurrent.futures import process\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "if __name__ != '__main__':\n"
        "    Path(sys.argv[1]).write_text('starting')\n"
        "    time.sleep(600)\n"
        "from smoldata.workers import run_all\n"
        "broken = process._ExecutorManagerThread.terminate_broken\n"
        "def as_before(self, cause):\n"
        "    close = self.call_queue._reader.close\n"
        "    main = threading.main_thread()\n"
        "    self.call_queue._reader.close = lambda: threading.current_thread() is main and close()\n"
        "    broken(self, cause)\n"
        "process._ExecutorManagerThread.terminate_broken = as_before\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        list(run_all([partial(len, bytes(2**20))] * 2, 2))\n"
        "    except KeyboardInterrupt:\n"
        "        sys.exit(7)\n",
        encoding="utf-8",
    )
    _interrupt_when_begun(script)
