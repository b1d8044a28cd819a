"""Files of rows -> rows, strictly: damage raises naming file and row, a bad row is a counted drop.

JSON Lines (plain, ``.gz``, ``.zst``) and Parquet, local or at any fsspec address. Damage is what no row can be
blamed for: a cut or empty file, a wrong format, a missing column. Bad rows are bad JSON, bytes that are not UTF-8,
text that is null, empty, not text, or not encodable; more than 1 % (and more than 100) of them are refused.
One row group, or one line, is in memory at a time.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from smoldata.errors import SourceError

_BLOCK_BYTES = 1 << 18
_BATCH_ROWS = 1000
_TOLERATED_ROWS = 100
_TOLERATED_SHARE = 0.01
_BAD_ROWS = ("bad_json", "bad_utf8", "not_an_object", "not_text", "bad_unicode")
_JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")


@dataclass(frozen=True, slots=True)
class Document:
    """A row that has text."""

    id: str
    text: str
    path: str
    row: int
    """0-based position in the file."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """The row's other columns."""


@dataclass(slots=True)
class Report:
    """What was read: ``read == kept + sum(dropped.values())`` at every moment between rows."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def drop(self, reason: str) -> None:
        """Count a row that was read and dropped."""
        self.read += 1
        self.dropped[reason] += 1

    def bad_rows(self) -> int:
        """Return how many rows were dropped because they are malformed."""
        return sum(self.dropped[reason] for reason in _BAD_ROWS)


class DocumentReader(Iterator[Document]):
    """Iterates over the documents of files; ``report`` counts rows read, kept and dropped by reason."""

    def __init__(self, paths: Sequence[str | Path], text_column: str) -> None:
        """Read ``paths`` in order, text from ``text_column``."""
        self.report = Report()
        self._documents = self._read(paths, text_column)

    def __next__(self) -> Document:
        """Return the next document."""
        return next(self._documents)

    def _read(self, paths: Sequence[str | Path], text_column: str) -> Iterator[Document]:
        for path in paths:
            for number, row in read_rows(str(path), (text_column,), self.report):
                text = usable_text(row.get(text_column), self.report)
                if text is not None:
                    self.report.read += 1
                    self.report.kept += 1
                    rest = {name: value for name, value in row.items() if name != text_column}
                    given = rest.get("id")
                    name = given if isinstance(given, str) and given else f"{Path(str(path)).name}:{number}"
                    yield Document(name, text, str(path), number, rest)
        if self.report.kept == 0:
            raise SourceError(no_documents(self.report, [str(path) for path in paths]))


def read_documents(
    paths: str | Path | Iterable[str | Path], *, text_column: str = "text"
) -> DocumentReader:
    """Read documents from JSON Lines or Parquet files, strictly.

    The iterator's ``report`` has ``read``, ``kept`` and ``dropped`` (by reason). Raises :class:`SourceError` naming
    file and row for a cut or damaged file, a missing column, too many bad rows, or no document at all.
    """
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    if not listed:
        raise SourceError("no files to read: the list of paths is empty")
    return DocumentReader(listed, text_column)


def no_documents(report: Report, paths: Sequence[str]) -> str:
    """Say that nothing was kept, and why."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(report.dropped.items()))
    shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")  # noqa: PLR2004
    return f"no document in {shown}: {report.read:,} rows read, dropped: {reasons or 'none'}"


def usable_text(value: object, report: Report) -> str | None:
    """Return ``value`` if it is text that can be written as UTF-8; else count a drop and return ``None``."""
    if value is None:
        return report.drop("null_text")
    if not isinstance(value, str):
        return report.drop("not_text")
    if not value.strip():
        return report.drop("empty_text")
    try:
        value.encode()
    except UnicodeEncodeError:
        return report.drop("bad_unicode")
    return value


def read_rows(
    path: str, needed: Sequence[str], report: Report, *, columns: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number, row) of a file; rows that cannot be parsed are counted in ``report`` as drops.

    ``needed`` columns must exist; ``columns`` limits what Parquet reads (default: all).
    """
    before = report.read, report.bad_rows()
    wide = sorted({*needed, *columns}) if columns is not None else None
    rows = _parquet_rows(path, needed, wide) if path.endswith(".parquet") else _json_rows(path, needed, report)
    try:
        for number, row in rows:
            yield number, row
            _refuse_bad_rows(path, report, before, at_end=False)
    except SourceError:
        raise
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise SourceError(f"{path}: damaged or unreadable ({type(error).__name__}: {error})") from error
    _refuse_bad_rows(path, report, before, at_end=True)


def _refuse_bad_rows(path: str, report: Report, before: tuple[int, int], *, at_end: bool) -> None:
    read, bad = report.read - before[0], report.bad_rows() - before[1]
    if bad > _TOLERATED_ROWS and bad > read * _TOLERATED_SHARE and (at_end or read > _BATCH_ROWS):
        reasons = ", ".join(f"{report.dropped[reason]:,} {reason}" for reason in _BAD_ROWS if report.dropped[reason])
        raise SourceError(
            f"{path}: {bad:,} of {read:,} rows are malformed ({reasons}), more than 1 %; is it the right file?"
        )


def _json_rows(path: str, needed: Sequence[str], report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    seen_object = False
    for number, line in enumerate(_lines(path)):
        if not line.strip():
            continue
        row = _parsed(line, report, f"{path}: row {number}")
        if row is None:
            continue
        missing = [name for name in needed if name not in row]
        if missing and not seen_object:
            raise SourceError(_missing_columns(f"{path}: row {number}", missing, row))
        seen_object = True
        if missing:
            report.drop("missing_column")
            continue
        yield number, row


def _parsed(line: bytes, report: Report, place: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return report.drop("bad_utf8")
    except (ValueError, RecursionError) as error:
        if not line.endswith(b"\n"):
            raise SourceError(f"{place}: the file ends inside a row; fetch it again") from error
        return report.drop("bad_json")
    return row if isinstance(row, dict) else report.drop("not_an_object")


def _missing_columns(place: str, missing: Sequence[str], available: Iterable[str]) -> str:
    return (
        f"{place}: no column {', '.join(missing)}; available: {', '.join(sorted(available))}. "
        "Name the right one (--text-column, or `columns` in the registry)"
    )


def _lines(path: str) -> Iterator[bytes]:
    """Yield lines with their line ends, so that a cut last row can be told."""
    left: list[bytes] = []
    for block in _blocks(path):
        lines = block.split(b"\n")
        if len(lines) == 1:
            left.append(block)
            continue
        yield b"".join([*left, lines[0], b"\n"])
        for line in lines[1:-1]:
            yield line + b"\n"
        left = [lines[-1]] if lines[-1] else []
    if left:
        yield b"".join(left)


def _blocks(path: str) -> Iterator[bytes]:
    plain = path.removesuffix(".gz").removesuffix(".zst")
    if not plain.endswith(_JSON_SUFFIXES):
        raise SourceError(f"{path}: unknown format; known: .parquet, .jsonl and .json, also .gz and .zst")
    with open_file(path) as file:
        if path.endswith(".gz"):
            yield from _decompressed(file, path, _new_gzip)
        elif path.endswith(".zst"):
            yield from _decompressed(file, path, _new_zstd)
        else:
            count = 0
            while block := file.read(_BLOCK_BYTES):
                count += len(block)
                yield block
            if not count:
                raise SourceError(f"{path}: the file is empty (0 bytes); fetch it again")


def _new_gzip() -> Any:  # noqa: ANN401 - zlib's type has no public name
    return zlib.decompressobj(wbits=31)


def _new_zstd() -> Any:  # noqa: ANN401
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()


def _decompressed(file: IO[bytes], path: str, new: Any) -> Iterator[bytes]:  # noqa: ANN401
    """Decompress member after member; a member that does not end is damage, not the end of the data."""
    decompressor, begun = new(), False
    count = 0
    while block := file.read(_BLOCK_BYTES):
        count += len(block)
        while block:
            begun = True
            try:
                out = decompressor.decompress(block)
            except Exception as error:  # both libraries raise errors of their own
                raise SourceError(f"{path}: damaged near byte {count:,} ({error}); fetch it again") from error
            if out:
                yield out
            block = decompressor.unused_data if decompressor.eof else b""
            if decompressor.eof:
                decompressor, begun = new(), False
                # Files may be padded with zeros after the last member.
                block = block.lstrip(b"\0")
    if begun or not count:
        raise SourceError(f"{path}: cut short: the compressed data ends inside a frame; fetch it again")


def open_file(path: str) -> AbstractContextManager[IO[bytes]]:
    """Open a local path, or any fsspec address (``hf://``, ``s3://``, ``memory://``)."""
    if "://" not in path:
        try:
            return Path(path).open("rb")
        except FileNotFoundError as error:
            raise SourceError(f"{path}: no such file") from error
        except IsADirectoryError as error:
            raise SourceError(f"{path} is a folder; name its files") from error
    import fsspec

    opened: AbstractContextManager[IO[bytes]] = fsspec.open(path, "rb")
    return opened


def _parquet_rows(
    path: str, needed: Sequence[str], wide: Sequence[str] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    with open_file(path) as handle:
        try:
            file = pq.ParquetFile(handle)
            names = file.schema_arrow.names
            missing = [name for name in needed if name not in names]
            if missing:
                raise SourceError(_missing_columns(path, missing, names))
            chosen = [name for name in wide if name in names] if wide is not None else None
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=chosen):
                for row in _as_rows(batch):
                    yield number, row
                    number += 1
        except pa.ArrowException as error:
            raise SourceError(f"{path}: damaged Parquet at row {number:,} or after ({error}); fetch it again") from error


def _as_rows(batch: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - Arrow ships no types
    """Yield rows; bytes in a text column that are not UTF-8 become ``bytes`` values, so that one row is dropped."""
    import pyarrow as pa

    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            one = batch.slice(index, 1)
            columns = []
            for column in one.columns:
                is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
                columns.append(column.cast(pa.large_binary()) if is_text else column)
            raw = dict(zip(batch.schema.names, (column.to_pylist()[0] for column in columns), strict=True))
            yield {name: _maybe_text(value) for name, value in raw.items()}


def _maybe_text(value: object) -> object:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value
