"""Programs in the sandbox: what honest ones may do, and that hostile ones do nothing."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoleval.sandbox import Limits, run

ROOT = Path(__file__).parents[3]
ROOMS = os.pathsep.join(str(ROOT / room) for room in ("data", "eval"))


def text(program: str, **options: object) -> str:
    """Run an honest program; return what it printed."""
    outcome = run(program, **options)  # type: ignore[arg-type]
    assert (outcome.reason, outcome.exit_code) == ("exit", 0), outcome
    return outcome.stdout.decode()


def test_a_program_reads_its_input_and_files_and_writes_beside_itself() -> None:
    program = (
        "import sys; open('made', 'w').write(sys.stdin.read())\n"
        "print(open('made').read(), open('given').read())"
    )
    assert text(program, stdin=b"input", files={"given": b"file"}) == "input file\n"


@settings(max_examples=15)
@given(st.binary(max_size=2000), st.integers(0, 255))
def test_input_output_and_exit_code_are_kept_to_the_byte(data: bytes, code: int) -> None:
    program = (
        "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data);"
        "sys.stderr.buffer.write(data[::-1]); sys.stdout.flush(); sys.stderr.flush();"
        f"import os; os._exit({code})"
    )
    outcome = run(program, stdin=data)
    assert (outcome.stdout, outcome.stderr) == (data, data[::-1])
    assert (outcome.reason, outcome.exit_code) == ("exit", code)


def test_children_threads_and_packages_work() -> None:
    program = (
        "import subprocess, sys, threading, numpy, multiprocessing\n"
        "print(subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True).stdout)\n"
        "thread = threading.Thread(target=print, args=('thread',)); thread.start(); thread.join()\n"
        "print(numpy.arange(3).sum(), multiprocessing.Queue is not None)"
    )
    assert text(program, packages=True) == "b'42\\n'\nthread\n3 True\n"


def test_without_packages_only_the_standard_library_is_there() -> None:
    assert run("import numpy").stderr.endswith(b"ModuleNotFoundError: No module named 'numpy'\n")


def test_a_file_of_a_program_must_stay_in_its_folder() -> None:
    for name in ("/etc/x", "../x", "a/../../x"):
        with pytest.raises(ValueError, match="must stay in its folder"):
            run("", files={name: b""})


STOPPED = {
    "endless loop": ("while True: pass", "cpu"),
    "endless loop that ignores the signal": (
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        "cpu",
    ),
    "endless output": ("while True: print('passed')", "output"),
    "endless errors": ("import sys\nwhile True: print('x' * 1000, file=sys.stderr)", "output"),
    "its own group": ("import os; os.kill(0, 9)", "signal"),
    "everybody": ("import os\ntry: os.kill(-1, 9)\nfinally: os._exit(7)", "exit"),
    "a lost child": ("import os\nif os.fork(): os._exit(0)\nwhile True: pass", "exit"),
}


@pytest.mark.parametrize("name", STOPPED)
def test_a_program_that_goes_on_for_ever_is_ended(name: str) -> None:
    program, reason = STOPPED[name]
    outcome = run(program, limits=Limits(cpu_seconds=1, wall_seconds=60))
    assert outcome.reason == reason
    assert len(outcome.stdout) <= Limits().output_bytes


def test_sleeping_is_ended_by_the_wall_clock() -> None:
    outcome = run("import time; time.sleep(10**6)", limits=Limits(wall_seconds=0.5))
    assert (outcome.reason, outcome.exit_code) == ("wall", None)


def test_a_fork_bomb_starts_no_more_than_its_processes() -> None:
    program = (
        "import os\n"
        "while True:\n"
        "    try: os.fork()\n"
        "    except BlockingIOError: os.write(1, b'refused\\n'); os.kill(0, 9)"
    )
    limits = Limits(wall_seconds=60, processes=8)
    outcome = run(program, limits=limits)
    assert outcome.reason == "signal"
    assert 1 <= outcome.stdout.count(b"refused") <= limits.processes


def test_memory_is_limited_for_one_process_and_for_all() -> None:
    limits = Limits(memory_bytes=256 << 20, wall_seconds=60)
    assert run("bytearray(1 << 30)", limits=limits).stderr.endswith(b"MemoryError\n")
    program = (
        "import os, time\n"
        "for _ in range(3): os.fork()\n"
        "held = bytearray(128 << 20)\n"
        "for at in range(0, len(held), 4096): held[at] = 1\n"
        "time.sleep(10**6)"
    )
    outcome = run(program, limits=limits)
    assert outcome.reason == "memory"
    assert outcome.peak_bytes > limits.memory_bytes


def test_files_are_limited_one_by_one_and_together() -> None:
    limits = Limits(file_bytes=1 << 20, scratch_bytes=4 << 20, open_files=32)
    large = "try: open('large', 'wb').write(bytes(2 << 20))\nexcept OSError as error: print(error.errno)"
    assert (
        int(text(f"import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n{large}", limits=limits))
        == 27
    )
    many = (
        "try:\n"
        "    for n in range(100): open(str(n), 'wb').write(bytes(1 << 19))\n"
        "except OSError as error: print(error.errno)"
    )
    assert int(text(many, limits=limits)) == 28
    opened = (
        "try:\n    held = [open('main.py') for _ in range(100)]\nexcept OSError as error: print(error.errno)"
    )
    assert int(text(opened, limits=limits)) == 24


REFUSED = {
    "tcp": "import socket; socket.create_connection(('127.0.0.1', PORT), 5)",
    "udp": "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    "unix socket": "import socket; socket.socket(socket.AF_UNIX).connect('VICTIM')",
    "vsock": "import socket; socket.socket(40, socket.SOCK_STREAM)",
    "names": "import socket; print(socket.getaddrinfo('localhost.localdomain', 80))",
    "delete outside": "import os; os.remove('VICTIM')",
    "write outside": "open('VICTIM', 'w').write('x')",
    "list outside": "import os; os.listdir('FOLDER')",
    "the interpreter": "import os, sys; os.remove(os.__file__)",
    "append to the library": "import os; open(os.__file__, 'a')",
    "write to the root": "open('/made', 'w')",
    "home of the user": "import os; os.listdir('HOME/.ssh')",
    "symbolic link": "import os; os.symlink('VICTIM', 'link'); open('link').read()",
    "hard link": "import os; os.link('VICTIM', 'link')",
    "up and out": "import os; [os.chdir('..') for _ in range(50)]; open('VICTIM'[1:]).read()",
    "passwords": "open('/etc/passwd').read()",
    "other processes": "import os; os.listdir('/proc')",
    "a device": "import os; os.mknod('disk', 0o60600, os.makedev(254, 0)); open('disk', 'rb')",
    "memory of the kernel": "open('/dev/mem', 'rb')",
    "become root": "import os; os.setuid(0 if os.getuid() else 12345)",
    "trace": "import ctypes; exec(CALL); call('ptrace', 0)",
    "new namespaces": "import ctypes; exec(CALL); call('unshare', 0x10000000)",
    "new namespaces by clone": "import ctypes; exec(CALL); call('syscall', 56, 0x10000011, 0, 0, 0, 0)",
    "mount": "import ctypes; exec(CALL); call('mount', b'none', b'/tmp', b'tmpfs', 0, 0)",
    "remount": "import ctypes; exec(CALL); call('mount', b'none', b'/', None, 0x1020, 0)",
    "uncounted memory": "import os; os.memfd_create('x')",
    "kernel modules": "import ctypes; exec(CALL); call('syscall', 175, 0, 0, 0)",
    "host name": "import socket; socket.sethostname('mine')",
    "clock": "import time; time.clock_settime(time.CLOCK_REALTIME, 0)",
    "raise its limits": "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999))",
    "kill others": "import os; os.kill(PARENT, 9)",
}
CALL = (
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "def call(name, *values):\n"
    "    if getattr(libc, name)(*values) < 0: raise OSError(ctypes.get_errno(), name)"
)


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_program_is_refused_and_nothing_is_changed(name: str, tmp_path: Path) -> None:
    if "syscall" in REFUSED[name] and os.uname().machine != "x86_64":
        pytest.skip("the numbers are those of x86-64")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for folder in (tmp_path, tmp_path.parent):
        folder.chmod(0o777)
    victim.chmod(0o666)
    with socket.create_server(("127.0.0.1", 0)) as server:
        names = {
            "PORT": str(server.getsockname()[1]),
            "VICTIM": str(victim),
            "FOLDER": str(tmp_path),
            "HOME": str(Path.home()),
            "PARENT": str(os.getpid()),
        }
        program = REFUSED[name]
        for word, value in names.items():
            program = program.replace(word, value)
        caught = "except (OSError, ValueError): print('refused')\nelse: print('DONE')"
        program = f"CALL = {CALL!r}\ntry:\n    {program}\n{caught}"
        assert text(program) == "refused\n"
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert victim.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]


def test_nothing_of_the_environment_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAL_SECRET", "secret")
    seen = text(
        "import os, socket; print(dict(os.environ), os.getcwd(), os.listdir('/'), socket.gethostname())"
    )
    assert "secret" not in seen.lower()
    assert "TRIAL" not in seen


def test_open_files_of_the_caller_are_not_there(tmp_path: Path) -> None:
    """However many there are: with 400 open, the sandbox's own channels have high numbers too."""
    (tmp_path / "secret").write_text("secret")
    program = (
        "import os\nfor number in range(3, 2000):\n"
        '    try: os.write(number, b\'{"reason": "exit", "exit_code": 0}\'); print(\'open\', number)\n'
        "    except OSError: pass\n"
        "exit(9)"
    )
    with contextlib.ExitStack() as held:
        for _ in range(400):
            file = held.enter_context((tmp_path / "secret").open())
            os.set_inheritable(file.fileno(), True)  # noqa: FBT003 - the function's only argument
        outcome = run(program)
    assert (outcome.stdout, outcome.exit_code) == (b"", 9)


def test_the_link_to_another_sandbox_survives_any_numbers() -> None:
    """The link's own numbers may be the ones that it gets inside, in either order."""
    for surplus in (0, 1, 2, 5, 40):
        with contextlib.ExitStack() as held:
            for _ in range(surplus):
                held.enter_context(Path(os.devnull).open())
            reader, writer = os.pipe()
            back_reader, back_writer = os.pipe()
            os.write(writer, b"ping")
            os.close(writer)
            outcome = run("import os; os.write(4, os.read(3, 9)[::-1])", link=(reader, back_writer))
            assert outcome.succeeded, outcome
            assert os.read(back_reader, 9) == b"gnip"
            os.close(back_reader)


def test_the_program_has_no_rights_and_is_nobody_else() -> None:
    program = (
        "import ctypes\nlibc = ctypes.CDLL(None)\nheader = (ctypes.c_uint32 * 2)(0x20080522, 0)\n"
        "held = (ctypes.c_uint32 * 6)()\nassert libc.capget(header, held) == 0\n"
        "print(list(held), libc.prctl(39, 0, 0, 0, 0), libc.prctl(21, 0, 0, 0, 0))"
    )
    assert text(program) == "[0, 0, 0, 0, 0, 0] 1 2\n"  # no capability; no new privileges; a filter


def test_killing_the_caller_ends_the_program() -> None:
    reader, writer = os.pipe()
    spare = os.open(os.devnull, os.O_RDONLY)
    code = (
        "import sys; from smoleval.sandbox import run, Limits\n"
        "run('import os, time; os.write(4, b\"up\"); time.sleep(10**6)', link=tuple(map(int, sys.argv[1:])),"
        " limits=Limits(wall_seconds=10**6))"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", code, str(spare), str(writer)],
        pass_fds=(spare, writer),
        env=os.environ | {"PYTHONPATH": ROOMS},
    )
    for descriptor in (spare, writer):
        os.close(descriptor)
    assert os.read(reader, 2) == b"up"
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    assert os.read(reader, 1) == b""  # blocks until no process holds the other end
    os.close(reader)


def test_many_threads_may_run_programs_at_once() -> None:
    seen: dict[int, str] = {}

    def one(number: int) -> None:
        seen[number] = text(f"print({number})")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {number: f"{number}\n" for number in range(8)}


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user then")
def test_an_ordinary_user_is_isolated_as_well(tmp_path: Path) -> None:
    python = Path("/usr/bin/python3")
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=False).stdout
    if tuple(map(int, version.split()[-1].split(".")[:2])) < (3, 11):
        pytest.skip("no interpreter of the system that this package supports")
    code = (
        "import os; assert os.getuid() == 65534\n"
        "from smoleval.sandbox import run, Limits, Case, judge\n"
        "print(run('import os; print(os.listdir(\"/tmp\"), os.getpid())').stdout)\n"
        "for bad in ('import os; os.listdir(\"/home\")', 'import socket; socket.socket()',"
        " 'open(\"/usr/lib/x\", \"w\")', 'import os; os.setgroups([])', 'import os; os.fork()'):\n"
        "    print(run(bad, limits=Limits(processes=1)).exit_code)\n"
        "print(judge(Case('def f(x): return x', tests='assert f(1) == 1', functions=('f',))).passed)"
    )
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    copies = _readable_copies(tmp_path)
    seen = subprocess.run(
        [*drop, python, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": copies},
        cwd="/",
    )
    assert seen.stdout.split("\n")[:-1] == ["b\"['main.py'] 2\\n\"", *["1"] * 5, "True"], seen.stderr


def _readable_copies(folder: Path) -> str:
    """Copy what the sandbox needs to where any user may read it."""
    for path in (folder, *folder.parents[:3]):
        path.chmod(path.stat().st_mode | 0o755)
    for room, package in (("data", "smoldata"), ("eval", "smoleval")):
        shutil.copytree(ROOT / room / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return str(folder)
