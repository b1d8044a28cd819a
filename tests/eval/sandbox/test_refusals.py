"""Machines that cannot isolate a program: each is refused with what to do, and nothing is run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smoleval.sandbox import Case, SandboxError, judge_many, run, runner

ROOT = Path(__file__).parents[3]
ROOMS = os.pathsep.join(str(ROOT / room) for room in ("data", "eval"))
_AS_IN_A_CONTAINER = """
import errno, os, struct, sys
from smoleval.sandbox import SandboxError, Case, judge, kernel, run, seccomp
column = list(seccomp._ARCHITECTURES).index(os.uname().machine)
number = seccomp._REFUSED[sys.argv[1]][column]
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | errno.EPERM), (0x06, 0, 0, 0x7FFF0000)]
kernel.no_new_privileges()
kernel.filter_system_calls(b"".join(struct.pack("=HBBI", *step) for step in steps))
program = f"import os; os.mkdir({sys.argv[2]!r})"
for act in (lambda: run(program), lambda: judge(Case(program, tests="f()", functions=("f",)))):
    try:
        print("RUN", act())
    except SandboxError as error:
        print(error)
"""


@pytest.mark.parametrize("call", ["unshare", "mount", "pivot_root", "mount_setattr"])
def test_a_container_that_forbids_a_call_refuses_and_says_which(call: str, tmp_path: Path) -> None:
    """Docker's default profile forbids unshare and mount, also to root."""
    made = tmp_path / "made"
    seen = subprocess.run(
        [sys.executable, "-c", _AS_IN_A_CONTAINER, call, str(made)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": ROOMS},
    )
    lines = seen.stdout.splitlines()
    assert len(lines) == 2, seen.stderr
    for line in lines:
        assert line.startswith("this machine cannot isolate a program (")
        assert call in line
        assert "Operation not permitted" in line
        assert "nothing was run" in line
    assert not made.exists()


def test_a_machine_without_namespaces_refuses_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner.sys, "platform", "darwin")
    monkeypatch.delattr(os, "sched_getaffinity")
    for act in (lambda: run("print(1)"), lambda: judge_many([Case("")])):
        with pytest.raises(SandboxError, match=r"no sandbox on darwin .*nothing was run"):
            act()


def test_a_sandbox_that_cannot_be_built_refuses_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "runtime", lambda: ([("/no/such/folder", "/x")], []))
    with pytest.raises(SandboxError, match=r"cannot isolate a program \(file system of the sandbox.*nothing"):
        run("print(1)")


def test_a_probe_passes_here_and_fails_where_programs_do_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    runner.probe()
    monkeypatch.setattr(runner, "_interpreter", lambda: "/no/such/interpreter")
    with pytest.raises(SandboxError, match=r"cannot isolate .*nothing was run"):
        runner.probe()
