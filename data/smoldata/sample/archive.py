"""A package archive, the standard library or an installed package -> (path, bytes) of their files.

Archives are streamed in memory: no member is ever written under its own name. Members that are not plain
files, that name a way out (``..``, absolute) or that are larger than 64 MiB are left out. About 60 MB/s of
gzip a core.
"""

import importlib.metadata
import stat
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from smoldata.errors import IntegrityError

_LARGEST_BYTES = 64 << 20

Wanted = Callable[[str], bool]


def read_archive(path: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Yield (path inside the package, bytes) of the plain files that ``wanted`` says yes to.

    An sdist's top folder is cut off. Raises :class:`IntegrityError` for a damaged archive.
    """
    try:
        yield from _read_wheel(path, wanted) if path.suffix in {".whl", ".zip"} else _read_sdist(path, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise IntegrityError(f"{path.name} cannot be read ({error}); delete {path} and run again") from error


def _read_sdist(path: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            name = _inside(member.name.partition("/")[2])
            if name and member.isreg() and member.size <= _LARGEST_BYTES and wanted(name):
                file = archive.extractfile(member)
                assert file is not None
                yield name, file.read()


def _read_wheel(path: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = _inside(info.filename)
            is_link = stat.S_ISLNK(info.external_attr >> 16)
            if (
                name
                and not info.is_dir()
                and not is_link
                and info.file_size <= _LARGEST_BYTES
                and wanted(name)
            ):
                yield name, archive.read(info)


def _inside(name: str) -> str:
    """Return the name if it stays inside the package, else an empty string."""
    path = PurePosixPath(name)
    return "" if path.is_absolute() or ".." in path.parts or "\\" in name else str(path) if path.name else ""


def read_standard_library(wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the running Python's standard library, sorted by path."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if (
            not name.startswith(("site-packages/", "dist-packages/"))
            and not path.is_symlink()
            and wanted(name)
        ):
            yield name, path.read_bytes()


def read_installed(package: str, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Yield the files of an installed package, sorted by path; none when it is not installed."""
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return
    for file in sorted(distribution.files or (), key=str):
        name = _inside(file.as_posix())
        path = Path(str(distribution.locate_file(file)))
        if name and wanted(name) and path.is_file() and not path.is_symlink():
            yield name, path.read_bytes()


def installed_version(package: str) -> str:
    """Return the version of an installed package; empty when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
