"""What a program in the sandbox may use, and what is known of it afterwards."""

from dataclasses import dataclass

from smoldata.errors import SmolError

MIB = 1 << 20


class SandboxError(SmolError):
    """This machine cannot isolate a program, so nothing was run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use, its children included. Beyond it is ended, unless said otherwise."""

    cpu_seconds: int = 10
    """CPU time of each process."""
    wall_seconds: float = 30.0
    """From its start; generous beside ``cpu_seconds``, so that a busy machine changes no verdict."""
    memory_bytes: int = 1024 * MIB
    """Address space of each process (a larger request fails), and resident memory of all together."""
    processes: int = 32
    """Processes and threads at once; a further one cannot be started."""
    file_bytes: int = 16 * MIB
    """Size of one file."""
    scratch_bytes: int = 64 * MIB
    """All files together, in memory; a write beyond fails."""
    open_files: int = 128
    """Open files of one process."""
    output_bytes: int = MIB
    """Of standard output, and as much of standard error."""

    def __post_init__(self) -> None:
        """Refuse limits under which no interpreter starts."""
        assert self.cpu_seconds >= 1
        assert self.wall_seconds > 0
        assert self.memory_bytes >= 64 * MIB
        assert self.processes >= 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program did."""

    reason: str
    """``exit`` (it ended by itself), ``signal``, ``cpu``, ``wall``, ``memory``, ``output``; or ``lost`` (the
    sandbox itself was killed from outside)."""
    exit_code: int | None
    """Its exit status if it ended by itself."""
    signal: int | None
    """The signal that ended it."""
    stdout: bytes
    """At most ``output_bytes``."""
    stderr: bytes
    wall_seconds: float
    cpu_seconds: float
    """Of the program and the children that it waited for."""
    peak_bytes: int
    """Largest resident memory seen; of the program alone, or of all if that was seen to be more."""

    @property
    def succeeded(self) -> bool:
        """Tell whether it ended by itself with status 0. Any program can: this is no verdict on tests."""
        return self.reason == "exit" and self.exit_code == 0
