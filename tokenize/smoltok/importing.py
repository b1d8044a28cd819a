"""Token files of others → a manifest of ours: linked, not copied, and counted before anything is believed.

``megatron``: ``.bin`` + ``.idx`` (MMIDIDX version 1). ``numpy``: flat ids, a ``.npy`` or headerless
``.bin`` of a known width, documents found by their EOS. ``mds``: Mosaic's folders (:mod:`smoltok.mds`).
The ids are read once: documents, tokens, BOS, missing EOS, highest id. A layout that is already ours
(little-endian unsigned ids of the tokenizer's width, no header) is hard-linked or symlinked; any other is
converted, and the reason is told. Provenance is recorded as ``unknown``: who chose the text, and with which
tokenizer, no file tells. Cost: one read; a conversion costs one write.
"""

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from smoldata.errors import SourceError
from smoldata.files import atomic_path, single_writer, write_atomic, xxh3_128
from smoltok.blocks import BlockDigest
from smoltok.columns import int64s
from smoltok.manifest import ShardRow, write_manifest
from smoltok.mds import read_mds
from smoltok.ordering import FILE_ORDER
from smoltok.shards import DOCS, INDEX, METADATA, metadata_text
from smoltok.split import TRAIN
from smoltok.tokenizer import Tokenizer
from smoltok.writer import Origin, docs_schema

UNKNOWN = "unknown"
_MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
_MEGATRON_TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f8", 7: "<f4", 8: "<u2"}
_CHUNK_TOKENS = 1 << 20


@dataclass(frozen=True, slots=True)
class Foreign:
    """A token file of another kind, as its own format describes it."""

    path: Path
    dtype: str
    first_byte: int
    ids: NDArray[Any]
    """Memory-mapped [tokens]."""
    ends: NDArray[np.int64] | None
    """Where documents end; None: the EOS tells."""
    is_flat: bool = True
    """Whether the ids lie in the file one after the other."""

    def why_not_linked(self, dtype: str) -> str:
        """Return why the file cannot serve as a shard of that type as it lies; empty if it can."""
        if not self.is_flat:
            return "its samples have headers between them"
        if self.first_byte:
            return f"its ids begin at byte {self.first_byte}"
        if np.dtype(self.dtype) != np.dtype(dtype):
            return f"its ids are {np.dtype(self.dtype).name}, the tokenizer's are {np.dtype(dtype).name}"
        return ""


@dataclass(frozen=True, slots=True)
class Imported:
    """What was found in one file."""

    path: str
    tokens: int
    documents: int
    bos: int
    missing_eos: int
    """Documents that do not end with the EOS."""
    highest_id: int
    linked: bool
    """Whether the ids were linked; else they were converted to the tokenizer's width."""
    why_copied: str
    """Why they could not be linked; empty if they were."""


def import_shards(
    kind: str, files: list[Path], *, source: str, tokens: Path, tokenizer: Tokenizer, dtype: str = "<u2"
) -> list[Imported]:
    """Read token files of others into tokens/<source>; ``dtype`` is that of headerless files.

    Raises SourceError if a file is not of that kind, or an id does not fit the tokenizer.
    """
    if kind not in KINDS:
        raise SourceError(f"unknown kind of token file {kind!r}; there are {', '.join(KINDS)}")
    folder = tokens / source
    with single_writer(folder):
        found, rows = [], []
        foreign = (one for path in files for one in KINDS[kind](path, dtype))
        for number, one in enumerate(foreign):
            imported, row = _import(one, source, folder, number, tokenizer)
            found.append(imported)
            rows.append(row)
        write_manifest(folder, rows)
    return found


def read_megatron(path: Path, _: str) -> Iterator[Foreign]:
    """Yield ``x.bin`` with ``x.idx``. Raises SourceError."""
    index = path.with_suffix(".idx")
    data = _bytes(index)
    if data[:9] != _MEGATRON_MAGIC or len(data) < 34:  # noqa: PLR2004 - bytes of the header
        raise SourceError(f"{index} is no Megatron index: it must begin with MMIDIDX")
    version, code, sequences, documents = struct.unpack_from("<QBQQ", data, 9)
    dtype = _MEGATRON_TYPES.get(code, "")
    if version != 1 or np.dtype(dtype or "f8").kind not in "ui":
        raise SourceError(f"{index}: version {version}, type {code}; version 1 with integer ids can be read")
    wanted = 34 + sequences * (4 + 8) + documents * 8
    if len(data) < wanted:
        raise SourceError(
            f"{index} has {len(data):,} bytes, {wanted:,} are wanted for {sequences:,} sequences"
        )
    lengths = np.frombuffer(data, "<i4", sequences, 34).astype(np.int64)
    boundaries = np.frombuffer(data, "<i8", documents, 34 + sequences * 12)
    ends = np.concatenate([[0], np.cumsum(lengths)])[boundaries[1:]]
    ids = _flat(path, dtype, 0)
    if len(ends) and (int(ends[-1]) != len(ids) or bool(np.any(np.diff(ends) <= 0))):
        raise SourceError(f"{index} ends at token {int(ends[-1]):,}, {path} has {len(ids):,}")
    yield Foreign(path, dtype, 0, ids, ends)


def read_numpy(path: Path, dtype: str) -> Iterator[Foreign]:
    """Yield a ``.npy`` file, or a headerless one of a given type. Raises SourceError."""
    first = 0
    if path.suffix == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise SourceError(f"{path} is no .npy file of ids ({error})") from error
        dtype, first = array.dtype.str, int(getattr(array, "offset", 0))
        if array.ndim != 1 or array.dtype.kind not in "ui":
            raise SourceError(
                f"{path} holds {array.dtype} of shape {array.shape}; flat integer ids are wanted"
            )
    yield Foreign(path, dtype, first, _flat(path, dtype, first), None)


def _read_mds(path: Path, dtype: str) -> Iterator[Foreign]:
    for shard in read_mds(path, dtype):
        yield Foreign(shard.path, shard.ids.dtype.str, 0, shard.ids, shard.ends, is_flat=False)


KINDS: dict[str, Callable[[Path, str], Iterator[Foreign]]] = {
    "megatron": read_megatron,
    "numpy": read_numpy,
    "mds": _read_mds,
}


def _import(
    foreign: Foreign, source: str, folder: Path, number: int, tokenizer: Tokenizer
) -> tuple[Imported, ShardRow]:
    if not len(foreign.ids):
        raise SourceError(f"{foreign.path} holds no token")
    ends = foreign.ends if foreign.ends is not None else _ends_by_eos(foreign.ids, tokenizer.eos_id)
    highest, lowest = _extremes(foreign.ids)
    if lowest < 0 or highest >= tokenizer.vocab_size:
        raise SourceError(
            f"{foreign.path} holds ids from {lowest:,} to {highest:,}; {tokenizer.name} has "
            f"{tokenizer.vocab_size:,}: it is of another tokenizer or another type (--dtype)"
        )
    path = folder / f"{number:05d}.ds"
    why_copied = foreign.why_not_linked(tokenizer.dtype)
    digest = _link(foreign.path, path) if not why_copied else _convert(foreign.ids, path, tokenizer.dtype)
    write_atomic(path.with_name(path.name + INDEX), ends.astype("<u8").tobytes())
    text = metadata_text(tokenizer.name, tokenizer.token_width, len(foreign.ids))
    write_atomic(path.with_name(path.name + METADATA), text)
    _write_docs(path, ends, Origin(source, TRAIN, foreign.path.name, tokenizer, FILE_ORDER), digest)
    imported = Imported(
        path=str(foreign.path),
        tokens=len(foreign.ids),
        documents=len(ends),
        bos=0 if tokenizer.bos_id is None else _count(foreign.ids, tokenizer.bos_id),
        missing_eos=int(np.count_nonzero(foreign.ids[ends - 1] != tokenizer.eos_id)),
        highest_id=highest,
        linked=not why_copied,
        why_copied=why_copied,
    )
    return imported, _row(
        path, imported, Origin(source, TRAIN, foreign.path.name, tokenizer, FILE_ORDER), digest
    )


def _row(path: Path, imported: Imported, origin: Origin, digest: BlockDigest) -> ShardRow:
    tokenizer = origin.tokenizer
    beside = {suffix: xxh3_128(path.with_name(path.name + suffix)) for suffix in (INDEX, METADATA, DOCS)}
    return ShardRow(
        source=origin.source,
        split=TRAIN,
        path=path.name,
        bytes=path.stat().st_size,
        tokens=imported.tokens,
        documents=imported.documents,
        text_bytes=0,
        text_characters=0,
        xxh3_128=digest.hexdigest(),
        index_xxh3_128=beside[INDEX],
        metadata_xxh3_128=beside[METADATA],
        docs_xxh3_128=beside[DOCS],
        tokenizer=tokenizer.name,
        tokenizer_sha256=tokenizer.sha256,
        eos_id=tokenizer.eos_id,
        token_width=tokenizer.token_width,
        vocab_size=tokenizer.vocab_size,
        validation_share="0/1",
        input_path=origin.file,
        input_xxh3_128=UNKNOWN,
        document_order=UNKNOWN,
        code_version=UNKNOWN,
    )


def _write_docs(path: Path, ends: NDArray[np.int64], origin: Origin, digest: BlockDigest) -> None:
    begin = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    numbers = np.arange(len(ends), dtype=np.int64)
    names = pa.array([f"{origin.file}/{number}" for number in numbers.tolist()], pa.string())
    files = pa.repeat(pa.scalar(origin.file, pa.string()), len(ends))
    columns = [int64s(begin), int64s(ends), names, files, int64s(numbers), int64s(np.zeros_like(numbers))]
    schema = docs_schema(origin)
    known = (schema.metadata or {}) | {b"blocks_xxh3_64": digest.blocks().encode()}
    table = pa.Table.from_arrays(columns, schema=schema.with_metadata(known))
    with atomic_path(path.with_name(path.name + DOCS)) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _link(original: Path, path: Path) -> BlockDigest:
    """Give the file our name too: a hard link, or a symbolic one to another file system."""
    digest = BlockDigest()
    with original.open("rb") as file:
        while block := file.read(_CHUNK_TOKENS):
            digest.update(memoryview(block))
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(original)
    except OSError:
        temporary.symlink_to(original.resolve())
    temporary.replace(path)
    return digest


def _convert(ids: NDArray[Any], path: Path, dtype: str) -> BlockDigest:
    digest = BlockDigest()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for first in range(0, len(ids), _CHUNK_TOKENS):
            part = memoryview(ids[first : first + _CHUNK_TOKENS].astype(dtype).tobytes())
            digest.update(part)
            file.write(part)
    return digest


def _ends_by_eos(ids: NDArray[Any], eos: int) -> NDArray[np.int64]:
    """Return the ends of documents: after each EOS, and at the end of the file."""
    ends = [
        np.flatnonzero(ids[first : first + _CHUNK_TOKENS] == eos).astype(np.int64) + first + 1
        for first in range(0, len(ids), _CHUNK_TOKENS)
    ]
    return np.union1d(np.concatenate(ends), [len(ids)]).astype(np.int64)


def _extremes(ids: NDArray[Any]) -> tuple[int, int]:
    parts = [ids[first : first + _CHUNK_TOKENS] for first in range(0, len(ids), _CHUNK_TOKENS)]
    return max(int(part.max()) for part in parts), min(int(part.min()) for part in parts)


def _count(ids: NDArray[Any], value: int) -> int:
    return sum(
        int(np.count_nonzero(ids[first : first + _CHUNK_TOKENS] == value))
        for first in range(0, len(ids), _CHUNK_TOKENS)
    )


def _flat(path: Path, dtype: str, first: int) -> NDArray[Any]:
    try:
        size = path.stat().st_size - first
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
    width = np.dtype(dtype).itemsize
    if size <= 0 or size % width:
        raise SourceError(
            f"{path} has {size:,} bytes of ids, not a multiple of {width}; give the right --dtype"
        )
    return np.memmap(path, dtype, "r", first)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
