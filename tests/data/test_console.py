"""Exit codes and messages of every command line program."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, typer
from smoldata.console import run_command
from smoldata.errors import IntegrityError, SourceError
app = typer.Typer()
@app.command()
def fail(kind: str = "none") -> None:
    if kind == "input": raise SourceError("source 'x' is unknown; did you mean 'y'?")
    if kind == "integrity": raise IntegrityError("3 bytes differ")
    if kind == "interrupt": raise KeyboardInterrupt
    if kind == "system": open("/proc/nowhere/file", "w")
    if kind == "bug": raise ZeroDivisionError
@app.command()
def other() -> None: ...
sys.argv[1:] = ARGUMENTS
run_command(app)
"""


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = PROGRAM.replace("ARGUMENTS", repr(list(arguments)))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fail"], 0, ""),
        (["fail", "--kind", "input"], 2, "error: source 'x' is unknown; did you mean 'y'?\n"),
        (["fail", "--kind", "integrity"], 1, "error: 3 bytes differ\n"),
        (["fail", "--kind", "system"], 1, "error: No such file or directory: /proc/nowhere/file\n"),
        (["fail", "--kind", "interrupt"], 130, "run the same command again"),
        (["fail", "--knd", "input"], 2, "--knd"),
        (["nothing"], 2, "nothing"),
        ([], 2, "Missing command"),
    ],
)
def test_exit_codes(arguments: list[str], code: int, message: str) -> None:
    done = _run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bug_is_not_hidden() -> None:
    done = _run("fail", "--kind", "bug")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_help_is_a_success() -> None:
    done = _run("--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
