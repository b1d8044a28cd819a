"""The few Linux calls that Python 3.11 has no name for, through ctypes. Standard library only.

Everything here runs between fork and exec in a process of its own, never in the caller's.
"""

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_SECUREBITS = 28
_PR_SET_NO_NEW_PRIVS = 38
_SECUREBITS_ALL_LOCKED = 0xEF  # root is nobody special, keeps and raises nothing; all locked
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY_EVER = 63
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by ``flags`` for new ones."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount a file system, or bind a folder."""
    result = _libc.mount(
        None if source is None else os.fsencode(source),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        options.encode(),
    )
    _check(result, f"mount {target}")


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def make_read_only(target: str, flags: int = MS_RDONLY | MS_NOSUID | MS_NODEV) -> None:
    """Make a mount and all below it read-only (Linux 5.12)."""
    attributes = _MountAttr(attr_set=flags)
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        os.fsencode(target),
        ctypes.c_uint(_AT_RECURSIVE),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    _check(result, f"mount_setattr {target}")


def detach(target: str) -> None:
    """Unmount at once; what is open stays open."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def pivot_root(folder: str) -> None:
    """Make ``folder`` the root and let the old root go."""
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    os.chdir(folder)
    _check(_libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    detach(".")
    os.chdir("/")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. A change of user undoes it."""
    _prctl(_PR_SET_PDEATHSIG, 9)


def no_new_privileges() -> None:
    """Make set-user-id programs and file capabilities mean nothing, for good."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def lock_capabilities() -> None:
    """Have exec give no capability to anybody, for good; what is held now is kept."""
    for number in range(_LAST_CAPABILITY_EVER + 1):
        if _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break  # beyond this kernel's last one
    _prctl(_PR_SET_SECUREBITS, _SECUREBITS_ALL_LOCKED)


def clear_capabilities() -> None:
    """Give up every capability that is held."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(header, nothing), "capset")


def _prctl(option: int, value: int) -> None:
    result = _libc.prctl(
        ctypes.c_int(option), ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)
    )
    _check(result, f"prctl {option}")


def filter_system_calls(program: bytes) -> None:
    """Install a seccomp filter (instructions of 8 bytes). Needs :func:`no_new_privileges` before."""

    class _Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    structure = _Program(len(program) // 8, program)
    set_seccomp, filter_mode = 22, 2
    result = _libc.prctl(ctypes.c_int(set_seccomp), ctypes.c_ulong(filter_mode), ctypes.byref(structure))
    _check(result, "seccomp")
