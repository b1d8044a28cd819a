"""Are finished shards what they were, and what they should be? One pass a file; every fault is located.

Against the manifest: sizes, hashes of all four files, mixed tokenizers, shards without a row. Inside a
shard, in the same pass: an id outside the vocabulary, a BOS anywhere, an EOS missing at a document's end or
standing inside one, an index, metadata or documents table that disagree. A changed byte is located to the
mebibyte and to the documents in it, by the block hashes in ``.docs.parquet``. Cost: one read, xxh3 and
three comparisons a token.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from smoldata.errors import InputError, IntegrityError
from smoldata.files import xxh3_128
from smoltok.blocks import BLOCK_BYTES, changed_blocks
from smoltok.columns import as_numpy
from smoltok.manifest import MANIFEST, ShardRow, read_manifest
from smoltok.ordering import FILE_ORDER
from smoltok.shards import DOCS, INDEX, METADATA, SIDECARS, read_ends, read_metadata
from smoltok.split import VALIDATION

_CHUNK_BYTES = 1 << 18
"""Fits in a core's cache, so that all comparisons after the first are free of memory traffic."""
_MOST_FINDINGS = 10
"""Of one kind in one file; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: what, where, and the numbers seen and wanted."""

    path: str
    code: str
    message: str


@dataclass(slots=True)
class Report:
    """What was checked, and what was wrong."""

    shards: int = 0
    tokens: int = 0
    documents: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Known:
    """What ``.docs.parquet`` and the manifest say about a shard."""

    row: ShardRow
    bos: int | None
    blocks: str
    cut: bool
    """Whether documents may end without an EOS, because chunk shuffling cut them."""


def verify(folders: Iterable[Path]) -> Report:
    """Verify token folders (of a source, or of many). Raises InputError if one holds no manifest."""
    report = Report()
    seen: dict[tuple[str, str, int, int], str] = {}
    for folder in folders:
        for source in _source_folders(folder):
            _verify_source(source, report, seen)
    if len(seen) > 1:
        names = "; ".join(
            f"{path}: {name} {sha[:12]}, width {width}, EOS {eos}"
            for (name, sha, width, eos), path in seen.items()
        )
        report.findings.append(Finding(".", "mixed-tokenizers", f"shards of {len(seen)} tokenizers: {names}"))
    return report


def _source_folders(folder: Path) -> list[Path]:
    found = [
        path.parent for path in (folder / MANIFEST, *sorted(folder.glob(f"*/{MANIFEST}"))) if path.is_file()
    ]
    if not found:
        raise InputError(
            f"{folder} holds no token shards: no {MANIFEST} there or one folder down; name a tokens folder"
        )
    return found


def _verify_source(folder: Path, report: Report, seen: dict[tuple[str, str, int, int], str]) -> None:
    try:
        rows = read_manifest(folder)
    except IntegrityError as error:
        report.findings.append(Finding(str(folder / MANIFEST), "manifest", str(error)))
        return
    for row in rows:
        seen.setdefault(
            (row.tokenizer, row.tokenizer_sha256, row.token_width, row.eos_id), str(folder / row.path)
        )
        report.findings += verify_shard(folder, row)
        report.shards += 1
        report.tokens += row.tokens
        report.documents += row.documents
        report.bytes += row.bytes
    named = {folder / row.path for row in rows}
    for path in sorted([*folder.glob("*.ds"), *(folder / VALIDATION).glob("*.ds")]):
        if path not in named:
            report.findings.append(
                Finding(
                    str(path),
                    "no-row",
                    "no row of the manifest names this shard: it is not finished, or stale",
                )
            )


def verify_shard(folder: Path, row: ShardRow) -> list[Finding]:
    """Return the faults of one shard."""
    path = folder / row.path
    missing = [p for p in (path, *(path.with_name(path.name + s) for s in SIDECARS)) if not p.is_file()]
    if missing:
        return [Finding(str(file), "missing", "the file is missing; tokenize again") for file in missing]
    findings = list(_sidecar_hashes(path, row))
    try:
        known, docs = _known(path, row)
        findings += _agreement(path, row, docs)
        ends = read_ends(path).astype(np.int64)
    except IntegrityError as error:
        return [*findings, Finding(str(path), "unreadable", str(error))]
    return findings + _verify_tokens(path, known, ends)


def _sidecar_hashes(path: Path, row: ShardRow) -> Iterator[Finding]:
    wanted = {INDEX: row.index_xxh3_128, METADATA: row.metadata_xxh3_128, DOCS: row.docs_xxh3_128}
    for suffix, digest in wanted.items():
        file = path.with_name(path.name + suffix)
        seen = xxh3_128(file)
        if seen != digest:
            yield Finding(str(file), "changed", f"xxh3-128 is {seen}, the manifest says {digest}")


def _known(path: Path, row: ShardRow) -> tuple[_Known, Any]:
    try:
        file = pq.ParquetFile(path.with_name(path.name + DOCS))
        table = file.read(columns=["begin", "end", "offset"])
        recorded = {
            key.decode(): value.decode()
            for key, value in (file.metadata.metadata or {}).items()
            if key != b"ARROW:schema"
        }
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path}{DOCS} is damaged ({str(error).splitlines()[0]})") from error
    bos = recorded.get("bos_id", "")
    cut = row.document_order != FILE_ORDER.describe() and "chunks" in row.document_order
    return _Known(row, int(bos) if bos.isdigit() else None, recorded.get("blocks_xxh3_64", ""), cut), table


def _agreement(path: Path, row: ShardRow, docs: Any) -> Iterator[Finding]:
    """Compare the index, the metadata and the documents table with the manifest and with one another."""
    metadata, ends = read_metadata(path), read_ends(path).astype(np.int64)
    if (metadata.tokenizer, metadata.token_width) != (row.tokenizer, row.token_width):
        seen = f"{metadata.tokenizer}|{metadata.token_width}"
        yield Finding(
            str(path) + METADATA,
            "tokenizer",
            f"is {seen}, the manifest says {row.tokenizer}|{row.token_width}",
        )
    counts = {METADATA: metadata.tokens, INDEX: int(ends[-1]) if len(ends) else 0}
    for suffix, count in counts.items():
        if count != row.tokens:
            yield Finding(str(path) + suffix, "tokens", f"says {count:,} tokens, the manifest {row.tokens:,}")
    if np.any(ends[1:] <= ends[:-1]) or (len(ends) and ends[0] <= 0):
        at = int(np.argmax(np.concatenate([[ends[0] <= 0], ends[1:] <= ends[:-1]])))
        yield Finding(str(path) + INDEX, "index-order", f"entry {at} does not end after the one before it")
    begin, end = as_numpy(docs["begin"]), as_numpy(docs["end"])
    if not np.array_equal(end, ends) or not np.array_equal(
        begin, np.concatenate([[0], end[:-1]])[: len(end)]
    ):
        yield Finding(
            str(path) + DOCS, "documents", f"its {len(end):,} ranges are not the {len(ends):,} of the index"
        )


def _verify_tokens(path: Path, known: _Known, ends: NDArray[np.int64]) -> list[Finding]:
    """Hash and check the ids in one pass."""
    row, digest, size = known.row, xxhash.xxh3_128(), path.stat().st_size
    findings: list[Finding] = []
    if size != row.bytes or size % row.token_width:
        findings.append(
            Finding(
                str(path), "size", f"has {size:,} bytes, the manifest says {row.bytes:,}: it was cut or grew"
            )
        )
    checks = _TokenChecks(path, known, ends)
    buffer = np.empty(_CHUNK_BYTES, np.uint8)
    with path.open("rb") as file:
        while count := file.readinto(buffer.data):
            part = buffer[:count]
            digest.update(part.data)
            checks.add(part[: count - count % row.token_width].view(f"<u{row.token_width}"))
    findings += checks.finish()
    if digest.hexdigest() != row.xxh3_128:
        where = _located(path, known, ends)
        findings.insert(
            0,
            Finding(
                str(path),
                "changed",
                f"xxh3-128 is {digest.hexdigest()}, the manifest says {row.xxh3_128}{where}",
            ),
        )
    return findings


def _located(path: Path, known: _Known, ends: NDArray[np.int64]) -> str:
    blocks = changed_blocks(path, known.blocks) if known.blocks else []
    if not blocks:
        return ""
    tokens = BLOCK_BYTES // known.row.token_width
    first, last = np.searchsorted(ends, [blocks[0] * tokens, (blocks[-1] + 1) * tokens - 1], side="right")
    last = min(int(last), len(ends) - 1)
    return (
        f"; {len(blocks)} of its MiB changed, the first at byte {blocks[0] * BLOCK_BYTES:,}, "
        f"the last before {(blocks[-1] + 1) * BLOCK_BYTES:,}: entries {int(first):,} to {last:,}"
    )


class _TokenChecks:
    """Looks at ids chunk by chunk; keeps the first findings of each kind and counts the rest."""

    def __init__(self, path: Path, known: _Known, ends: NDArray[np.int64]) -> None:
        self._path, self._known, self._ends = path, known, ends
        self._at = 0
        self._entry = 0
        self._found: dict[str, list[str]] = {}
        self._count: dict[str, int] = {}

    def add(self, ids: NDArray[np.unsignedinteger]) -> None:
        """Check the next ids."""
        row, bos = self._known.row, self._known.bos
        if len(ids) == 0:
            return
        highest = int(ids.max())
        if highest >= row.vocab_size:
            self._note("vocabulary", np.flatnonzero(ids >= row.vocab_size), ids, f"≥ {row.vocab_size}")
        if bos is not None and highest >= bos and bool((is_bos := ids == bos).any()):
            self._note("bos", np.flatnonzero(is_bos), ids, "is the BOS")
        last = int(np.searchsorted(self._ends, self._at + len(ids), side="right"))
        wanted = self._ends[self._entry : last] - 1 - self._at
        seen = np.flatnonzero(ids == row.eos_id)
        if not np.array_equal(seen, wanted):
            self._compare_ends(seen, wanted, ids)
        self._entry = last
        self._at += len(ids)

    def _compare_ends(self, seen: NDArray[np.int64], wanted: NDArray[np.int64], ids: NDArray[Any]) -> None:
        if not self._known.cut:
            missing = np.setdiff1d(wanted, seen)
            self._note(
                "eos-missing",
                missing[(missing >= 0) & (missing < len(ids))],
                ids,
                f"ends an entry and is not the EOS {self._known.row.eos_id}",
            )
        self._note("eos-inside", np.setdiff1d(seen, wanted), ids, "is an EOS inside an entry")

    def _note(self, code: str, places: NDArray[np.int64], ids: NDArray[Any], what: str) -> None:
        kept = self._found.setdefault(code, [])
        self._count[code] = self._count.get(code, 0) + len(places)
        for place in places[: max(0, _MOST_FINDINGS - len(kept))].tolist():
            token = self._at + place
            entry = int(np.searchsorted(self._ends, token, side="right"))
            kept.append(f"token {token:,} (entry {entry:,}): id {int(ids[place])} {what}")

    def finish(self) -> list[Finding]:
        """Return the findings."""
        findings = [
            Finding(str(self._path), code, text) for code, texts in self._found.items() for text in texts
        ]
        for code, count in self._count.items():
            if count > len(self._found[code]):
                more = count - len(self._found[code])
                findings.append(Finding(str(self._path), code, f"and {more:,} more of this kind"))
        if self._at != self._known.row.tokens:
            text = f"holds {self._at:,} tokens, the manifest says {self._known.row.tokens:,}"
            findings.append(Finding(str(self._path), "tokens", text))
        return findings
