"""The inside of a run: a keeper outside of the new process namespace, its process 1, and the program.

::

    caller ── keeper ── process 1 ── program (and what it starts)
               new user, network, IPC, process namespaces; dies with the caller
                          new mount namespace and root; counts memory and time; dies with the keeper
                                     no capabilities, system-call filter, limits, only its own descriptors

When process 1 ends, the kernel ends everything in its namespace. Called by root, the program is `nobody` to
the rest of the machine; called by another user it is that user, without any right. Standard library only:
this runs in a bare interpreter (``-I -S``). The request comes as JSON on standard input; the report goes as
JSON to a descriptor that the program does not have.
"""

from __future__ import annotations

import binascii
import contextlib
import fcntl
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

from smoleval.sandbox import kernel, seccomp

TYPE_CHECKING = False  # typing takes as long to import as the rest of this program to run
if TYPE_CHECKING:
    from typing import Any, NoReturn

_NOBODY = 65534
_SCRATCH = "/tmp"  # noqa: S108 - the only folder that can be written; inside the sandbox, in memory
_DEVICES = ("null", "zero", "full", "random", "urandom")
_ROOTS = ("/tmp", "/mnt", "/media", "/srv", "/run", "/var/tmp")  # noqa: S108 - a place to mount the new root
_POLL_SECONDS = 0.02
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LINK_DESCRIPTORS = (3, 4)


def main() -> NoReturn:
    """Read the request, run the program, report, and exit."""
    request = json.load(sys.stdin)
    for descriptor in (request["report"], *request["link"]):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - its only argument; others are so from the start
    step = "die with the caller"
    try:
        kernel.die_with_parent()
        step = "new namespaces (user, process, network, IPC, host name)"
        program_id = _new_namespaces()
        kernel.die_with_parent()  # a change of credentials undoes it
        if os.getppid() != request["parent"]:
            os._exit(1)  # the caller was gone before
        step = "a process in the new namespaces"
        _run_process_one(request, program_id)
    except OSError as error:
        _report(request, {"error": f"{step}: {error}"})
    os._exit(0)


def _report(request: dict[str, Any], report: dict[str, Any]) -> None:
    os.write(request["report"], json.dumps(report).encode() + b"\n")


def _new_namespaces() -> int:
    """Enter new namespaces; return the user inside that the program gets (0 is the setting-up user)."""
    flags = (
        kernel.CLONE_NEWUSER
        | kernel.CLONE_NEWPID
        | kernel.CLONE_NEWNET
        | kernel.CLONE_NEWIPC
        | kernel.CLONE_NEWUTS
        | kernel.CLONE_NEWCGROUP
    )
    user, group = os.geteuid(), os.getegid()
    if user == 0 and _has_nobody():
        _unshare_with_two_users(flags)
        os.setgroups([])
        program_id = 1
    else:
        kernel.unshare(flags)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        program_id = 0
    # A container may show it read-only; the system-call filter refuses new namespaces too.
    with contextlib.suppress(OSError):
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
    return program_id


def _has_nobody() -> bool:
    """Tell whether this root may map `nobody`; a container's root may be mapped alone."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    spans = [tuple(map(int, line.split())) for line in lines]
    return any(first <= _NOBODY < first + count for first, _, count in spans)


def _unshare_with_two_users(flags: int) -> None:
    """Enter new namespaces with two users; only a process that stayed outside may write such a map."""
    reader, writer = os.pipe()
    keeper = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.close(writer)
        _write_maps(keeper, reader)
    try:
        kernel.unshare(flags)
    finally:
        os.close(writer)  # the helper reads the end of the file, also if this failed
        _, status = os.waitpid(helper, 0)
        os.close(reader)
    if status != 0:
        raise PermissionError("the users of a new namespace could not be set")


def _write_maps(keeper: int, reader: int) -> NoReturn:
    """Write the users' maps of a namespace once it is there, and end this process, whatever happens."""
    status = 1
    try:
        os.read(reader, 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{keeper}/{name}").write_text(f"0 0 1\n1 {_NOBODY} 1\n")
        status = 0
    finally:
        os._exit(status)


def _run_process_one(request: dict[str, Any], program_id: int) -> None:
    """Fork process 1 and wait for it. It starts only once it is sure to die with this process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        kernel.die_with_parent()
        os.read(reader, 1)  # the keeper lives, or this is the end of the file and the next line's signal came
        try:
            _process_one(request, program_id)
        except OSError as error:
            _report(request, {"error": f"file system of the sandbox: {error}"})
        os._exit(0)
    os.close(reader)
    os.write(writer, b"x")
    os.waitpid(child, 0)


def _process_one(request: dict[str, Any], program_id: int) -> None:
    processes = _new_root(request, program_id)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    reader, writer = map(_moved_up, os.pipe())
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            _become_program(request, program_id)
        except OSError as error:
            os.write(writer, str(error).encode())
        os._exit(1)
    os.close(writer)
    kernel.lock_capabilities()
    kernel.clear_capabilities()
    _close_program_descriptors(request)
    if failed := os.read(reader, 4096):  # closed by exec
        _report(request, {"error": f"start of the program: {failed.decode()}"})
        return
    _report(request, _watch(child, started, request["limits"], processes))


def _new_root(request: dict[str, Any], program_id: int) -> int | None:
    """Build the program's file system, move into it; return a descriptor of its `/proc`, which none can see.

    None where the kernel refuses one (inside some containers).
    """
    sources = [source for source, _ in request["binds"]]
    root = next(place for place in _ROOTS if Path(place).is_dir() and not _holds_any(place, sources))
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", root, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=0755")
    for source, target in request["binds"]:
        _bind(source, root + target)
    for hidden in request["hidden"]:
        kernel.mount("tmpfs", root + hidden, "tmpfs", kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV)
    for link, target in request["links"]:
        Path(root + link).symlink_to(target)
    for name in _DEVICES:
        _bind(f"/dev/{name}", f"{root}/dev/{name}", read_only=False)
    processes = _own_processes(root)
    _scratch(root + _SCRATCH, request, program_id)
    (Path(root) / "dev" / "shm").symlink_to(_SCRATCH)
    kernel.mount(None, root, None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.pivot_root(root)
    kernel.mount(
        None, "/", None, 0x20 | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
    )
    return processes


def _holds_any(place: str, sources: list[str]) -> bool:
    return any(source == place or source.startswith(f"{place}/") for source in sources)


def _bind(source: str, target: str, *, read_only: bool = True) -> None:
    path = Path(target)
    if Path(source).is_dir():
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)
    if read_only:
        kernel.make_read_only(target)


def _own_processes(root: str) -> int | None:
    path = Path(root) / "counted"
    path.mkdir()
    try:
        flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
        kernel.mount("proc", str(path), "proc", flags)
    except OSError:
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    kernel.detach(str(path))
    path.rmdir()
    return descriptor


def _scratch(folder: str, request: dict[str, Any], program_id: int) -> None:
    """Make the writable folder, in memory, with the program's files in it."""
    Path(folder).mkdir()
    size = request["limits"]["scratch_bytes"]
    options = f"size={size},nr_inodes=4096,mode=0700"
    kernel.mount("tmpfs", folder, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    os.chown(folder, program_id, program_id)
    for name, content in request["files"].items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(binascii.a2b_base64(content))
        os.chown(path, program_id, program_id)


def _become_program(request: dict[str, Any], program_id: int) -> NoReturn:
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.chdir(_SCRATCH)
    stdin = os.open(_SCRATCH, os.O_TMPFILE | os.O_RDWR, 0o600)
    with os.fdopen(os.dup(stdin), "wb") as file:
        file.write(binascii.a2b_base64(request["stdin"]))
    os.lseek(stdin, 0, os.SEEK_SET)
    os.dup2(stdin, 0)
    _arrange_link(request["link"])
    _set_limits(request["limits"], counted=request["limits"]["processes"])
    kernel.lock_capabilities()
    if program_id:
        os.setresgid(program_id, program_id, program_id)
        os.setresuid(program_id, program_id, program_id)
    kernel.clear_capabilities()
    kernel.no_new_privileges()
    kernel.filter_system_calls(seccomp.program())
    command = request["command"]
    os.execve(command[0], command, request["environment"])  # noqa: S606 - an argument list, no shell


def _arrange_link(link: list[int]) -> None:
    """Put the link to the other sandbox, if any, at its descriptors: all else is closed by exec."""
    away = [_moved_up(descriptor) for descriptor in link]
    for descriptor, wanted in zip(away, _LINK_DESCRIPTORS, strict=False):
        os.dup2(descriptor, wanted)


def _moved_up(descriptor: int) -> int:
    """Give a descriptor another number, none that the link takes; exec closes it."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, max(_LINK_DESCRIPTORS) + 1)
    os.close(descriptor)
    return moved


def _close_program_descriptors(request: dict[str, Any]) -> None:
    """Close, in process 1, what only the program shall hold: its end is then the end of its pipes."""
    for descriptor in (1, 2, *request["link"]):
        os.close(descriptor)


def _set_limits(limits: dict[str, Any], counted: int) -> None:
    both = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_NPROC: counted,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for name, value in both.items():
        resource.setrlimit(name, (value, value))
    seconds = limits["cpu_seconds"]
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def _watch(child: int, started: float, limits: dict[str, Any], processes: int | None) -> dict[str, Any]:
    """Wait for the program; return what became of it. Ends it by returning: process 1 ends with all."""
    peak, reason = 0, ""
    while not reason:
        signal.sigtimedwait({signal.SIGCHLD}, _POLL_SECONDS)
        status, usage = _reap(child)
        if usage is not None:
            return _ended(status, usage, started, peak, limits)
        if time.monotonic() - started > limits["wall_seconds"]:
            reason = "wall"
        if processes is not None:
            peak = max(peak, _resident(processes))
            reason = reason or ("memory" if peak > limits["memory_bytes"] else "")
    return {
        "reason": reason,
        "exit_code": None,
        "signal": None,
        "wall_seconds": time.monotonic() - started,
        "cpu_seconds": 0.0,
        "peak_bytes": peak,
    }


def _reap(child: int) -> tuple[int, resource.struct_rusage | None]:
    """Collect ended processes (orphans come to process 1); return how the program ended, if it did."""
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return 0, None
        if pid == child:
            return status, usage
        if pid == 0:
            return 0, None


def _ended(
    status: int, usage: resource.struct_rusage, started: float, peak: int, limits: dict[str, Any]
) -> dict[str, Any]:
    seconds = usage.ru_utime + usage.ru_stime
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    reason = "exit" if number is None else "signal"
    if number == signal.SIGXCPU or (number == signal.SIGKILL and seconds >= limits["cpu_seconds"]):
        reason = "cpu"
    return {
        "reason": reason,
        "exit_code": os.WEXITSTATUS(status) if number is None else None,
        "signal": number,
        "wall_seconds": time.monotonic() - started,
        "cpu_seconds": seconds,
        "peak_bytes": max(peak, usage.ru_maxrss * 1024),
    }


def _resident(processes: int) -> int:
    """Return the resident bytes of all processes in the sandbox but process 1."""
    total = 0
    for name in os.listdir(processes):
        if name.isdigit() and name != "1":
            try:
                file = os.open(f"{name}/statm", os.O_RDONLY, dir_fd=processes)
            except OSError:
                continue  # it ended meanwhile
            try:
                total += int(os.read(file, 256).split()[1]) * _PAGE_BYTES
            except (OSError, IndexError):
                pass
            finally:
                os.close(file)
    return total
