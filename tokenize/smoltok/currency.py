"""Which shards are current, which must be made, and why. No engine is loaded to know.

A shard is current if its manifest row was made from the same document file, tokenizer, share, order and
code as are asked for now, and its files are there with their sizes. Their bytes are :mod:`smoltok.verify`'s
business. Cost: two small Parquet files and four ``stat`` calls a shard.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import xxhash

from smoldata.errors import IntegrityError
from smoltok.manifest import ShardRow, read_manifest
from smoltok.ordering import FILE_ORDER, DocumentOrder
from smoltok.shards import SIDECARS
from smoltok.sources import DocumentFile, document_files
from smoltok.split import VALIDATION
from smoltok.tokenizer import Tokenizer
from smoltok.tokenizing import order_of

BYTES_DECIDED_BY = (
    "blocks.py",
    "columns.py",
    "custom.py",
    "encoding.py",
    "engines.py",
    "manifest.py",
    "ordering.py",
    "preload.py",
    "shards.py",
    "sources.py",
    "split.py",
    "tokenizer.py",
    "tokenizing.py",
    "vocabulary.py",
    "writer.py",
)
"""The modules whose code can change a shard's bytes; an edit elsewhere leaves shards current."""

_OURS = re.compile(r"\d{5,}\.ds(\.index|\.metadata|\.docs\.parquet)?")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may choose about token shards."""

    tokenizer: Tokenizer
    validation_share: Fraction
    order: DocumentOrder = FILE_ORDER

    @property
    def share_text(self) -> str:
        """The share as the manifest records it, ``p/q``."""
        return f"{self.validation_share.numerator}/{self.validation_share.denominator}"


@dataclass(frozen=True, slots=True)
class Stale:
    """A documents file whose shards must be made, and why."""

    file: DocumentFile
    reason: str


@dataclass(frozen=True, slots=True)
class State:
    """How a source's token folder stands to its documents."""

    current: tuple[ShardRow, ...]
    stale: tuple[Stale, ...]
    foreign_rows: int
    """Manifest rows of documents files that are no longer there."""
    extra: tuple[Path, ...]
    """Shard files that no current row names."""

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.stale or self.foreign_rows or self.extra)


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return one digest over the modules that decide a shard's bytes."""
    digest = xxhash.xxh3_128()
    for name in BYTES_DECIDED_BY:
        digest.update(name.encode() + b"\0")
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()


def examine(source: str, *, documents: Path, tokens: Path, settings: Settings) -> State:
    """Compare tokens/<source> with documents/<source>. Raises SourceError."""
    files = document_files(documents / source)
    folder = tokens / source
    try:
        rows, damaged = read_manifest(folder), ""
    except IntegrityError:
        rows, damaged = [], "the manifest was damaged"
    by_input: dict[str, list[ShardRow]] = {}
    for row in rows:
        by_input.setdefault(row.input_path, []).append(row)
    current: list[ShardRow] = []
    stale: list[Stale] = []
    for file in files:
        made = by_input.pop(file.path, [])
        reason = _why_stale(file, made, folder, settings) or damaged
        if reason and file.documents:
            stale.append(Stale(file, reason))
        else:
            current += made
    extra = tuple(extra_files(folder, current))
    return State(tuple(current), tuple(stale), sum(map(len, by_input.values())), extra)


def extra_files(folder: Path, rows: Iterable[ShardRow]) -> list[Path]:
    """Return the shard files of a source's folder that no row names."""
    named = {folder / row.path for row in rows}
    return [path for path in _shard_files(folder) if _shard_of(path) not in named]


def _why_stale(file: DocumentFile, made: list[ShardRow], folder: Path, settings: Settings) -> str:
    """Return why a file's shards cannot be kept; empty if they can."""
    if not made:
        return "not made yet"
    for row in made:
        reason = _row_reason(row, file, settings) or _files_reason(row, folder)
        if reason:
            return reason
    seen = sum(row.documents for row in made)
    if seen != file.documents and not settings.order.drop_tail:
        return f"{seen} of {file.documents} documents have shards"
    return ""


def _row_reason(row: ShardRow, file: DocumentFile, settings: Settings) -> str:
    tokenizer = settings.tokenizer
    wanted = {
        "the documents changed": (row.input_xxh3_128, file.xxh3_128),
        "the tokenizer changed": (
            (row.tokenizer, row.tokenizer_sha256, row.token_width, row.vocab_size),
            (tokenizer.name, tokenizer.sha256, tokenizer.token_width, tokenizer.vocab_size),
        ),
        "the end-of-document id changed": (row.eos_id, tokenizer.eos_id),
        "the validation share changed": (row.validation_share, settings.share_text),
        "the document order changed": (row.document_order, order_of(settings.order, row.split).describe()),
        "the code changed": (row.code_version, code_version()),
    }
    for reason, (seen, asked) in wanted.items():
        if seen != asked:
            return f"{reason} ({_short(seen)} → {_short(asked)})"
    return ""


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - a line of a terminal


def _files_reason(row: ShardRow, folder: Path) -> str:
    path = folder / row.path
    try:
        size = path.stat().st_size
    except OSError:
        return f"{row.path} is missing"
    if size != row.bytes:
        return f"{row.path} has {size} bytes, its manifest says {row.bytes}"
    missing = [suffix for suffix in SIDECARS if not path.with_name(path.name + suffix).is_file()]
    return f"{row.path}{missing[0]} is missing" if missing else ""


def _shard_files(folder: Path) -> list[Path]:
    folders = [folder, folder / VALIDATION]
    return sorted(
        path for place in folders if place.is_dir() for path in place.iterdir() if _OURS.fullmatch(path.name)
    )


def _shard_of(path: Path) -> Path:
    stem, dot, _ = path.name.partition(".ds")
    return path.with_name(stem + dot)
