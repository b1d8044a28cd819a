"""A program's text -> an :class:`Outcome`: start the sandbox, read what comes out, within bounds.

The caller's process only starts a bare interpreter and reads pipes; nothing of the program's is executed or
unpickled here.
"""

import base64
import json
import os
import platform
import selectors
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from smoleval.sandbox import seccomp
from smoleval.sandbox.limits import Limits, Outcome, SandboxError

_HERE = Path(__file__).resolve().parent
_PACKAGES = "/packages"
_SYSTEM = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib")
_GRACE_SECONDS = 60.0  # for set-up on a busy machine, and for the end
# The packages' own __init__ are not run: what they import takes longer than everything else at the start.
_START = """\
import sys
for name, folder in zip(("smoleval", "smoleval.sandbox"), sys.argv[1:]):
    sys.modules[name] = module = type(sys)(name)
    module.__path__ = [folder]
from smoleval.sandbox.box import main
main()
"""
_ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108 - inside the sandbox
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_ADVICE = (
    "; nothing was run. The sandbox needs Linux 5.12 or later on x86-64 or 64-bit ARM with user namespaces: "
    "allow them (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
    "kernel.apparmor_restrict_unprivileged_userns; in Docker, a seccomp profile that allows unshare and "
    "mount), or run on a machine that does. There is no way to run such programs without it"
)


def run(
    program: str,
    *,
    stdin: bytes = b"",
    files: Mapping[str, bytes] | None = None,
    limits: Limits | None = None,
    packages: bool = False,
    link: tuple[int, int] | None = None,
) -> Outcome:
    """Run a Python program isolated from the machine.

    ``files`` are put beside it, by relative name. ``packages`` shows it this environment's installed
    packages, read-only (numpy). ``link`` is a pair of descriptors (to read, to write) that it gets as 3 and
    4; they are closed here. Raises :class:`SandboxError` where the machine cannot isolate.
    """
    limits = limits or Limits()
    try:
        check_machine()
        with tempfile.TemporaryFile() as request_file:
            return _Run(limits, link or ()).go(
                _request(program, stdin, files or {}, limits, packages=packages), request_file
            )
    finally:
        for descriptor in link or ():
            os.close(descriptor)


def check_machine() -> None:
    """Raise :class:`SandboxError` if this is no machine on which the sandbox can work."""
    if sys.platform != "linux" or not seccomp.supported():
        raise SandboxError(f"no sandbox on {sys.platform} {platform.machine()}" + _ADVICE)


def probe() -> None:
    """Run an empty program: raises :class:`SandboxError` now, and not after hours of generation."""
    if not run("pass").succeeded:
        raise SandboxError("an empty program does not run in the sandbox of this machine" + _ADVICE)


def _request(
    program: str, stdin: bytes, files: Mapping[str, bytes], limits: Limits, *, packages: bool
) -> dict[str, Any]:
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"a file of a program must stay in its folder: {name}")
    contents = {"main.py": program.encode("utf-8", "surrogatepass"), **files}
    binds, links = runtime()
    environment = dict(_ENVIRONMENT)
    if packages:
        binds = [*binds, (sysconfig.get_path("platlib"), _PACKAGES)]
        environment["PYTHONPATH"] = _PACKAGES
    return {
        "binds": binds,
        "links": links,
        "hidden": _base_packages(),
        "files": {name: base64.b64encode(content).decode() for name, content in contents.items()},
        "stdin": base64.b64encode(stdin).decode(),
        "limits": asdict(limits),
        "environment": environment,
        "command": [_interpreter(), "main.py"],
    }


def _interpreter() -> str:
    return os.path.realpath(sys.executable)


@cache
def _base_packages() -> list[str]:
    """Return the package folder of the interpreter: not to be seen, and its start-up hooks not to be run."""
    folder = Path(sysconfig.get_path("platlib", vars={"platbase": sys.base_prefix, "base": sys.base_prefix}))
    return [str(folder)] if folder.is_dir() else []


@cache
def runtime() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return what the program sees of this machine, read-only: (folders and files, symbolic links)."""
    base = sys.base_prefix
    wanted = [*_SYSTEM, f"{base}/lib", f"{base}/lib64", "/etc/ld.so.cache", _interpreter()]
    binds: list[tuple[str, str]] = []
    links: list[tuple[str, str]] = []
    for path in dict.fromkeys(wanted):
        if Path(path).is_symlink() and path in _SYSTEM:
            links.append((path, str(Path(path).readlink())))
        elif Path(path).exists() and not any(path.startswith(f"{done}/") for done, _ in binds):
            binds.append((path, path))
    return binds, links


class _Run:
    """One run: the pipes, and what has come out of them."""

    def __init__(self, limits: Limits, link: Sequence[int]) -> None:
        """Nothing is started yet."""
        self.limits = limits
        self.link = tuple(link)
        self.output = {"stdout": bytearray(), "stderr": bytearray(), "report": bytearray()}
        self.ended_for = ""

    def go(self, request: dict[str, Any], request_file: Any) -> Outcome:
        reader, writer = os.pipe()
        request |= {"parent": os.getpid(), "report": writer, "link": self.link}
        request_file.write(json.dumps(request).encode())
        request_file.seek(0)
        started = time.monotonic()
        try:
            keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, *map(str, (_HERE.parent, _HERE))],
                stdin=request_file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(writer, *self.link),
                start_new_session=True,
                cwd="/",
                env={},
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        with keeper, os.fdopen(reader, "rb", buffering=0) as report:
            try:
                self._read(keeper, report, started + self.limits.wall_seconds + _GRACE_SECONDS)
            finally:
                keeper.kill()
                keeper.wait()
        return self._outcome(time.monotonic() - started)

    def _read(self, keeper: "subprocess.Popen[bytes]", report: Any, deadline: float) -> None:
        """Read until all is closed; end the run when there is too much, or when it does not end by itself."""
        with selectors.DefaultSelector() as selector:
            assert keeper.stdout is not None
            assert keeper.stderr is not None
            for name, pipe in (("stdout", keeper.stdout), ("stderr", keeper.stderr), ("report", report)):
                selector.register(pipe, selectors.EVENT_READ, name)
            while selector.get_map():
                for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                    self._take(selector, key, keeper)
                if time.monotonic() > deadline:
                    self.ended_for = self.ended_for or "wall"
                    keeper.kill()
                    deadline += _GRACE_SECONDS

    def _take(
        self, selector: selectors.BaseSelector, key: selectors.SelectorKey, keeper: "subprocess.Popen[bytes]"
    ) -> None:
        data = os.read(key.fd, 65536)
        if not data:
            selector.unregister(key.fileobj)
            return
        kept = self.output[key.data]
        kept += data
        if len(kept) > self.limits.output_bytes:
            del kept[self.limits.output_bytes :]
            self.ended_for = self.ended_for or "output"
            keeper.kill()  # process 1 dies with it, and everything with process 1

    def _outcome(self, seconds: float) -> Outcome:
        report = json.loads(self.output["report"] or "{}")
        if "error" in report:
            raise SandboxError(f"this machine cannot isolate a program ({report['error']})" + _ADVICE)
        known = {
            "reason": "lost",
            "exit_code": None,
            "signal": None,
            "wall_seconds": seconds,
            "cpu_seconds": 0.0,
            "peak_bytes": 0,
        } | report
        if self.ended_for:
            known |= {"reason": self.ended_for, "exit_code": None, "signal": signal.SIGKILL}
        return Outcome(stdout=bytes(self.output["stdout"]), stderr=bytes(self.output["stderr"]), **known)
