"""``locks/sample.lock`` -> pinned archives: which package file, of which version, with which sha256.

One line an archive: ``package==version file sha256:digest bytes``.
"""

from dataclasses import dataclass
from pathlib import Path

from smoldata.errors import InputError

_LOCK_NAME = "sample.lock"
_FIELDS = 4


@dataclass(frozen=True, slots=True)
class Pin:
    """One archive of the sample."""

    package: str
    version: str
    file: str
    sha256: str
    bytes: int

    @property
    def label(self) -> str:
        """Return ``package-version``: the prefix of raw files made from this archive."""
        return f"{self.package}-{self.version}"


def default_lock() -> Path:
    """Return the shipped lock: beside this module in an installed wheel, under ``locks/`` in a checkout."""
    here = Path(__file__).resolve()
    places = (here.with_name(_LOCK_NAME), here.parents[3] / "locks" / _LOCK_NAME)
    for place in places:
        if place.is_file():
            return place
    raise InputError(f"no {_LOCK_NAME} beside the code or under locks/; give one with --lock")


def read_lock(path: Path | None = None) -> tuple[Pin, ...]:
    """Read a sample lock; raise :class:`InputError` naming the line that does not fit."""
    path = path or default_lock()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InputError(f"no sample lock at {path}") from error
    return tuple(
        _parse(line, path, number)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    )


def _parse(line: str, path: Path, number: int) -> Pin:
    fields = line.split()
    package, equals, version = fields[0].partition("==")
    digest = fields[2].removeprefix("sha256:") if len(fields) == _FIELDS else ""
    plain = len(fields) == _FIELDS and fields[1] == Path(fields[1]).name and fields[3].isdigit()
    if not (equals and plain and len(digest) == 64 and set(digest) <= set("0123456789abcdef")):  # noqa: PLR2004
        raise InputError(
            f"{path}:{number}: want `package==version file sha256:<64 hex digits> bytes`, got {line!r}"
        )
    return Pin(package, version, fields[1], digest, int(fields[3]))
