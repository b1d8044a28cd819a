"""What the sample step has made: one record a package, one manifest a source.

``raw/.records/<package>-<version>.json`` lets a rerun skip a package; ``raw/<source>/manifest.json`` tells
the documents step which raw files are whole.
"""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smoldata.files import write_json

_RECORDS = ".records"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class RawFile:
    """One raw file."""

    source: str
    name: str
    bytes: int
    rows: int
    xxh3_128: str

    def path(self, raw: Path) -> Path:
        """Return where the file lies."""
        return raw / self.source / self.name


@dataclass(frozen=True, slots=True)
class Record:
    """What a package became."""

    format_version: int
    label: str
    input_hash: str
    files: tuple[RawFile, ...]

    def path(self, raw: Path) -> Path:
        """Return where the record lies."""
        return raw / _RECORDS / f"{self.label}.json"

    def is_whole(self, raw: Path) -> bool:
        """Tell whether every file is there with its size."""
        return all(
            file.path(raw).is_file() and file.path(raw).stat().st_size == file.bytes for file in self.files
        )

    def remove(self, raw: Path) -> None:
        """Delete the record, then its files."""
        self.path(raw).unlink(missing_ok=True)
        for file in self.files:
            file.path(raw).unlink(missing_ok=True)

    def as_json(self) -> dict[str, Any]:
        """Return the record as JSON-able values."""
        return asdict(self)


def read_record(raw: Path, label: str) -> Record | None:
    """Return the record of a package, or ``None`` when there is none that can be read."""
    return _read(raw / _RECORDS / f"{label}.json")


def _read(path: Path) -> Record | None:
    try:
        value = json.loads(path.read_bytes())
        files = tuple(RawFile(**file) for file in value.pop("files"))
        return Record(**value, files=files)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_manifests(raw: Path, labels: Iterable[str]) -> dict[str, Path]:
    """Write each source's manifest from the records in ``labels``; remove files and folders of no record.

    Returns the folder of each source that has text.
    """
    wanted = set(labels)
    files: dict[str, list[RawFile]] = defaultdict(list)
    for path in sorted((raw / _RECORDS).glob("*.json")):
        record = _read(path)
        if record is None or record.label not in wanted:
            path.unlink(missing_ok=True)
            continue
        for file in record.files:
            files[file.source].append(file)
    for folder in raw.iterdir():
        if folder.is_dir() and folder.name != _RECORDS:
            _tidy(folder, {file.name for file in files.get(folder.name, [])})
    for source, made in files.items():
        entries = [asdict(file) for file in sorted(made, key=lambda file: file.name)]
        value = {"format_version": 1, "source": source, "files": entries}
        path = raw / source / MANIFEST
        if not path.is_file() or json.loads(path.read_bytes()) != value:
            write_json(path, value)
    return {source: raw / source for source in sorted(files)}


def _tidy(folder: Path, known: set[str]) -> None:
    if not known:
        shutil.rmtree(folder)
        return
    for path in folder.iterdir():
        if path.name not in known and path.name != MANIFEST:
            path.unlink()
