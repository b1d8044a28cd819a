"""Real text from the running Python's own library, and tiny packages and registries that point at it."""

import gzip
import hashlib
import io
import sysconfig
import tarfile
from pathlib import Path

import yaml

STDLIB = Path(sysconfig.get_path("stdlib"))


def real_texts(count: int) -> list[str]:
    """Return the sources of ``count`` modules of the standard library: real text, each different."""
    paths = sorted(STDLIB.glob("*.py"), key=lambda path: (path.stat().st_size, path.name))
    texts = [path.read_text(encoding="utf-8") for path in paths if 2_000 < path.stat().st_size < 40_000]
    assert len(texts) >= count
    return texts[:count]


def make_sdist(path: Path, files: dict[str, bytes]) -> str:
    """Write an sdist with ``files`` under its top folder; return its sha256."""
    top = path.name.removesuffix(".tar.gz")
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for name, data in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_registry(path: Path, sources: dict[str, object], packages: dict[str, object] | None = None) -> Path:
    """Write a user's registry file."""
    path.write_text(yaml.safe_dump({"sources": sources, "packages": packages or {}}), encoding="utf-8")
    return path


def own_source(folder: Path, **changes: object) -> dict[str, object]:
    """Return the registry entry of own data in ``folder``."""
    entry: dict[str, object] = {
        "kind": "reference",
        "domain": "code",
        "group": "code",
        "language": "Python",
        "location": {"url": str(folder), "files": ["**/*"]},
        "columns": {"text": ["text"]},
    }
    return entry | changes
