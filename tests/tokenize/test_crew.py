"""A crew: every task's result, a worker's error as the caller's, no hang and no orphan."""

import operator
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from smoldata.errors import StorageError
from smoltok.crew import HUGE_PAGES, Crew, RemoteTraceback, crew, recruit


def test_every_task_gets_its_result_from_processes_that_were_prepared_once() -> None:
    started: Crew[int, int]
    with crew(3, operator.neg, before=os.getpid) as started:
        assert sorted(started.run(range(50))) == [(task, -task) for task in range(50)]
        assert list(started.run([])) == []
        assert list(started.run([7])) == [(7, -7)]


def test_recruits_work_once_they_are_told_what_at() -> None:
    with recruit(2, ahead=os.getpid) as recruits:
        assert dict(recruits.told(operator.neg, os.getpid).run([1, 2, 3])) == {1: -1, 2: -2, 3: -3}


def test_workers_ask_for_huge_pages_and_the_caller_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    started: Crew[str, str | None]
    with crew(1, os.getenv, before=os.getpid) as started:
        assert "GLIBC_TUNABLES" not in os.environ
        assert list(started.run(["GLIBC_TUNABLES"])) == [("GLIBC_TUNABLES", HUGE_PAGES)]


def test_recruits_that_are_told_nothing_are_gone_whatever_they_are_at() -> None:
    with recruit(2, ahead=partial(time.sleep, 1e6)) as recruits:
        pass
    assert not any(process.is_alive() for process in recruits.processes)
    recruits.dismiss()


def test_an_error_of_a_task_is_raised_here_with_the_workers_traceback() -> None:
    started: Crew[str, int]
    with (
        pytest.raises(ValueError, match=r"invalid literal for int.*'x'") as caught,
        crew(2, int, before=os.getpid) as started,
    ):
        list(started.run(["1", "x", "2"]))
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "Traceback (most recent call last)" in str(caught.value.__cause__)


def test_what_cannot_be_prepared_is_left_to_the_tasks() -> None:
    started: Crew[int, int]
    with crew(2, operator.neg, before=partial(int, "x")) as started:
        assert dict(started.run([1, 2])) == {1: -1, 2: -2}


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_killed_is_an_error_at_once(signal_number: signal.Signals) -> None:
    started: Crew[signal.Signals, None]
    with (
        pytest.raises(StorageError, match=r"a worker was killed.*fewer than 2 workers"),
        crew(2, signal.raise_signal, before=os.getpid) as started,
    ):
        list(started.run([signal_number]))


_PARENT = """
import os, sys, time
from smoltok.crew import crew

if __name__ == "__main__":
    with crew(3, time.sleep, before=os.getpid) as started:
        for connection in started.connections:
            connection.send(0)  # A worker that answers has started.
        for connection in started.connections:
            connection.recv()
            connection.send(1e6)
        print("working", flush=True)
        sys.stdin.read()
"""


def test_workers_end_with_a_killed_parent_whatever_they_are_at(tmp_path: Path) -> None:
    """Standard output is theirs too, so it ends when the last of them has ended."""
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    command = [sys.executable, str(script)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"working\n"
        process.kill()
        assert process.stdout.read() == b""
