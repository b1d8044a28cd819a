"""Mosaic's MDS folders → flat ids and document ends: `index.json`, `.mds` shards, plain or compressed.

A shard is a count, its offsets (uint32) and samples; a sample is the sizes of its columns that have no fixed
one, then the columns. The token column is ``tokens`` or ``input_ids``, stored as ``ndarray`` (the type may be
in the encoding or in each value) or as ``bytes`` (the type is told by the user). Samples that are all of one
length are windows cut from a stream, so the EOS tells where documents end; else each sample is a document.
Nothing is unpickled: other columns are skipped, not decoded. Cost: one shard in memory, some µs a sample.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoldata.errors import SourceError

INDEX_FILE = "index.json"
_TOKEN_COLUMNS = ("tokens", "input_ids")
_VALUE_TYPES = {8: "u1", 9: "i1", 16: "<u2", 17: "<i2", 32: "<u4", 33: "<i4", 64: "<u8", 65: "<i8"}
"""Type of an ``ndarray`` value whose encoding names none, by its first byte."""
_LARGEST_SHARD_BYTES = 4 << 30
"""Offsets are uint32."""


@dataclass(frozen=True, slots=True)
class MdsShard:
    """The token column of one shard."""

    path: Path
    ids: NDArray[Any]
    """All ids [tokens]."""
    ends: NDArray[np.int64] | None
    """Where samples end; None: samples are windows of a stream."""


@dataclass(frozen=True, slots=True)
class _Column:
    """Which of a shard's columns holds the ids, and how."""

    number: int
    dtype: str
    """NumPy type; empty: each value tells."""
    is_array: bool
    has_shape: bool
    """Whether each value begins with its shape."""


def read_mds(path: Path, dtype: str) -> Iterator[MdsShard]:
    """Yield the shards of an MDS folder (or of its ``index.json``); ``dtype`` is that of ``bytes`` columns.

    Raises SourceError naming the file and what is wrong with it.
    """
    index = path / INDEX_FILE if path.is_dir() else path
    try:
        shards = json.loads(index.read_bytes())["shards"]
    except OSError as error:
        raise SourceError(f"cannot read {index}: {error.strerror}; give the folder that holds it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{index} is no MDS index ({error!r}); it must list 'shards'") from error
    for entry in shards:
        try:
            yield _read_shard(index, entry, dtype)
        except (KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"{index}: a shard's entry is incomplete ({error!r}); write it anew") from error


def _read_shard(index: Path, entry: dict[str, Any], dtype: str) -> MdsShard:
    if entry["format"] != "mds" or entry["version"] != 2:  # noqa: PLR2004 - the only version there is
        raise SourceError(f"{index}: {entry['format']} version {entry['version']}; MDS version 2 can be read")
    column = _token_column(index, entry, dtype)
    path, data = _load(index.parent, entry)
    sizes = entry["column_sizes"]
    samples = [_values(sample, sizes, column, path) for sample in _samples(path, data, entry["samples"])]
    if not samples:
        return MdsShard(path, np.empty(0, dtype), np.empty(0, np.int64))
    lengths = np.array([len(sample) for sample in samples], np.int64)
    windows = len(samples) > 1 and bool(np.all(lengths == lengths[0]))
    return MdsShard(path, np.concatenate(samples), None if windows else _rising(lengths))


def _rising(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where samples end; one without tokens is no document."""
    ends: NDArray[np.int64] = np.cumsum(lengths[lengths > 0])
    return ends


def _token_column(index: Path, entry: dict[str, Any], dtype: str) -> _Column:
    names, encodings = entry["column_names"], entry["column_encodings"]
    number = next((names.index(name) for name in _TOKEN_COLUMNS if name in names), None)
    if number is None:
        raise SourceError(f"{index} has the columns {', '.join(names)}; one of {_TOKEN_COLUMNS} is wanted")
    kind, _, rest = encodings[number].partition(":")
    value, _, shape = rest.partition(":")
    if kind == "bytes":
        return _Column(number, dtype, is_array=False, has_shape=False)
    try:
        known = np.dtype(value).newbyteorder("<").str if value else ""
    except TypeError:
        known = "f8"
    if kind != "ndarray" or (known and np.dtype(known).kind not in "ui"):
        raise SourceError(f"{index}: column {names[number]} is {encodings[number]}; integer ids are wanted")
    return _Column(number, known, is_array=True, has_shape=not shape)


def _load(folder: Path, entry: dict[str, Any]) -> tuple[Path, bytes]:
    """Return a shard's path and its bytes, decompressed if only the compressed file is there."""
    path, wanted = _inside(folder, entry["raw_data"]["basename"]), entry["raw_data"]["bytes"]
    if not 0 <= wanted <= _LARGEST_SHARD_BYTES:
        raise SourceError(f"{folder / INDEX_FILE}: {path.name} cannot have {wanted:,} bytes")
    packed = entry.get("zip_data")
    try:
        if path.is_file() or not packed:
            data = path.read_bytes()
        else:
            data = _decompressed(_inside(folder, packed["basename"]), str(entry["compression"]), wanted)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) != wanted:
        raise SourceError(f"{path} has {len(data):,} bytes, its index says {wanted:,}; fetch it again")
    return path, data


def _inside(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise SourceError(f"{folder / INDEX_FILE} names the file {name!r}, which is outside its folder")
    return folder / name


def _decompressed(path: Path, compression: str, size: int) -> bytes:
    """Return at most ``size`` + 1 bytes: a file that unpacks to more is not what the index says."""
    kind = compression.partition(":")[0]
    if kind == "zstd":
        import zstandard

        try:
            with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
                return reader.read(size + 1)
        except zstandard.ZstdError as error:
            raise SourceError(f"{path} is damaged ({error}); fetch it again") from error
    if kind == "gz":
        try:
            with gzip.open(path) as reader:
                return reader.read(size + 1)
        except EOFError as error:
            raise SourceError(f"{path} is cut ({error}); fetch it again") from error
    raise SourceError(f"{path} is compressed with {compression}; unpack it first (not zstd or gz)")


def _samples(path: Path, data: bytes, count: int) -> Iterator[bytes]:
    head = 4 * (count + 2)
    if len(data) < head or int(np.frombuffer(data, "<u4", 1)[0]) != count:
        raise SourceError(f"{path} does not begin with its {count:,} samples; it is no MDS shard, or damaged")
    offsets = np.frombuffer(data, "<u4", count + 1, 4).astype(np.int64)
    if offsets[0] < head or offsets[-1] != len(data) or bool(np.any(np.diff(offsets) < 0)):
        raise SourceError(f"{path}: the offsets of its samples do not rise to its end; it is damaged")
    bounds = offsets.tolist()
    for begin, end in pairwise(bounds):
        yield data[begin:end]


def _values(sample: bytes, sizes: list[int | None], column: _Column, path: Path) -> NDArray[Any]:
    """Return the ids of a sample."""
    variable = sum(not size for size in sizes)
    if len(sample) >= 4 * variable:
        told = iter(np.frombuffer(sample, "<u4", variable).tolist())
        known = [size or next(told) for size in sizes]
        begin = 4 * variable + sum(known[: column.number])
        value = sample[begin : begin + known[column.number]]
        if 4 * variable + sum(known) == len(sample):
            try:
                return _decode(value, column)
            except (ValueError, IndexError, KeyError) as error:
                raise SourceError(f"{path}: a value is no array of ids ({error}); --dtype?") from error
    raise SourceError(f"{path}: the columns of a sample do not fill it; it is damaged")


def _decode(value: bytes, column: _Column) -> NDArray[Any]:
    dtype, first = column.dtype, 0
    if column.is_array and not dtype:
        dtype, first = _VALUE_TYPES[value[0]], 1
    if column.has_shape:
        axes, width = value[first] >> 2, 1 << (value[first] & 3)
        if axes != 1:
            raise ValueError(f"{axes} axes, 1 is wanted")
        first += 1 + width
    return np.frombuffer(value, dtype, offset=first) if len(value) > first else np.empty(0, dtype)
