"""``python -m smolmix.quick build …``: say "nothing to do" in milliseconds, or hand over to the full command.

A finished build leaves a note: size and modification time of every file that went in or came out.
While all of them are as noted, the same command has nothing to do. Only the standard library is
imported until then: about 0.1 s in all. What the note cannot see (a byte changed with size and time
kept), ``smolmix verify`` finds.
"""

import hashlib
import json
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_FORMAT_VERSION = 1
_NOT_PART_OF_THE_KEY = {"--quiet", "--yes"}


def main() -> None:
    """Recognise a finished build; hand everything else to :mod:`smolmix.cli`.

    Ctrl-C while modules are imported (from there on the command line has its own handling) is one line too.
    """
    try:
        _main()
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        sys.exit(130)


def _main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["build"] and "--force" not in arguments:
        message = up_to_date(arguments)
        if message is not None:
            if "--quiet" not in arguments:
                print(message)
            return
        _keep_pandas_out()
    from smolmix.cli import main as full

    full()


class _NoPandas:
    """Finds no pandas, whatever is installed."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)


def _keep_pandas_out() -> None:
    """Let pyarrow settle in this process that there is no pandas.

    At its first scalar pyarrow imports pandas, where that is installed (the train group has it), only to know
    its types: 0.4 to 0.8 s of a job of two. It asks once; afterwards pandas can be imported as ever.
    """
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.scalar("")  # an array asks too, but does not remember the answer
    finally:
        sys.meta_path.remove(_NoPandas)


def up_to_date(arguments: Sequence[str]) -> str | None:
    """Return the message of a finished build with these arguments, or None if anything has changed since."""
    try:
        note = json.loads(_note_path(arguments).read_text())
        if note["format_version"] != _FORMAT_VERSION:
            return None
        fresh = all(_stamp(path) == stamp for path, stamp in note["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return str(note["message"]) if fresh else None


def record(arguments: Sequence[str], watched: Iterable[Path], message: str) -> None:
    """Note that a build with these arguments is finished; ``watched`` are its inputs and outputs.

    Folders among ``watched`` stand for every file in them, and for the list of those files.
    """
    from smoldata.files import write_json

    files = {str(path): _stamp(str(path)) for path in sorted(_with_contents(watched))}
    note = {"format_version": _FORMAT_VERSION, "files": files, "message": message}
    write_json(_note_path(arguments), note)


def _with_contents(paths: Iterable[Path]) -> set[Path]:
    found = set()
    for path in paths:
        found.add(path.absolute())
        if path.is_dir():
            found |= {
                inner.absolute()
                for inner in path.rglob("*")
                if "__pycache__" not in inner.parts and inner.is_file()
            }
    return found


def _note_path(arguments: Sequence[str]) -> Path:
    key = [argument for argument in arguments if argument not in _NOT_PART_OF_THE_KEY]
    digest = hashlib.sha256(json.dumps([key, str(Path.cwd())]).encode()).hexdigest()[:32]
    return Path(_option(arguments, "--build", "build")) / "state" / f"{digest}.json"


def _option(arguments: Sequence[str], name: str, default: str) -> str:
    for position, argument in enumerate(arguments):
        if argument == name and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return default


def _stamp(name: str) -> list[int] | None:
    """Return size and modification time of a file, the number of entries of a folder, None if absent."""
    path = Path(name)
    try:
        status = path.stat()
    except OSError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return [sum(not entry.name.startswith((".", "__pycache__")) for entry in path.iterdir())]
    return [status.st_size, status.st_mtime_ns]


if __name__ == "__main__":
    main()
