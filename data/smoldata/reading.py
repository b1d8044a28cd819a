"""Files of rows -> rows, strictly: damage raises naming file and row, a bad row is a counted drop.

JSON Lines (plain, ``.gz``, ``.zst``) and Parquet, local or at any fsspec address. Damage is what no row can
be blamed for: a cut or empty file, a wrong format, a missing column. Bad rows are bad JSON, bytes that are
not UTF-8, text that is null, empty, not text, or not encodable; more than 1 % (and more than 100) of them
are refused. An identifier that occurs again is an error or a drop. In memory: one row group, or one line, and
a hash of each identifier that was read.
"""

import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from xxhash import xxh3_128_digest

from smoldata.errors import InputError, SourceError
from smoldata.streams import open_file, read_lines

RepeatedIds = Literal["error", "drop", "keep"]
_BATCH_ROWS: Final = 1000
_TOLERATED_ROWS = 100
_TOLERATED_SHARE = 0.01
_BAD_ROWS = ("bad_json", "bad_utf8", "not_an_object", "not_text", "bad_unicode")


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
    finished: bool = False
    """The reader came to the end of its input."""
    on_drop: Callable[[str, Any], None] | None = None
    """Called with (reason, document or None) at each drop: who keeps examples hooks in here."""

    def drop(self, reason: str, document: Any = None) -> None:
        """Count a row that was read and dropped; ``document`` is what it had become by then."""
        self.read += 1
        self.dropped[reason] += 1
        if self.on_drop is not None:
            self.on_drop(reason, document)

    def bad_rows(self) -> int:
        """Return how many rows were dropped because they are malformed."""
        return sum(self.dropped[reason] for reason in _BAD_ROWS)


class DocumentReader(Iterator[Document]):
    """Iterates over the documents of files; ``report`` counts rows read, kept and dropped by reason."""

    def __init__(self, paths: Sequence[str | Path], text_column: str, duplicate_ids: RepeatedIds) -> None:
        """Read ``paths`` in order, text from ``text_column``."""
        self.report = Report()
        self._paths = [str(path) for path in paths]
        self._seen = None if duplicate_ids == "keep" else _Seen(self._paths, duplicate_ids)
        self._documents = self._read(text_column)

    def __next__(self) -> Document:
        """Return the next document."""
        return next(self._documents)

    def _read(self, text_column: str) -> Iterator[Document]:
        bases = Counter(Path(path).name for path in self._paths)
        for at, path in enumerate(self._paths):
            base = Path(path).name if bases[Path(path).name] == 1 else path
            for number, row in read_rows(path, (text_column,), self.report):
                text = usable_text(row.get(text_column), self.report)
                if text is None:
                    continue
                rest = {name: value for name, value in row.items() if name != text_column}
                given = rest.get("id")
                name = str(given) if isinstance(given, str | int) and given != "" else f"{base}:{number}"
                if self._seen is not None and self._seen.again(name, at, number):
                    self.report.drop("duplicate_id")
                    continue
                self.report.read += 1
                self.report.kept += 1
                yield Document(name, text, path, number, rest)
        if self.report.kept == 0:
            raise SourceError(no_documents(self.report, self._paths))


class _Seen:
    """The identifiers read so far, as hashes, each with the place where it was first."""

    def __init__(self, paths: Sequence[str], rule: RepeatedIds) -> None:
        self.paths, self.rule = paths, rule
        self.places: dict[bytes, int] = {}

    def again(self, name: str, file: int, row: int) -> bool:
        """Tell whether an identifier was seen before; raise if that is an error."""
        place = file + row * len(self.paths)
        first = self.places.setdefault(xxh3_128_digest(name.encode("utf-8", "surrogatepass")), place)
        if first != place and self.rule == "error":
            before_row, before_file = divmod(first, len(self.paths))
            raise SourceError(
                f"{self.paths[file]}: row {row}: the id {name!r} was given before, at "
                f"{self.paths[before_file]}: row {before_row}; "
                'duplicate_ids="drop" keeps the first and counts the rest, "keep" gives all'
            )
        return first != place


def read_documents(
    paths: str | Path | Iterable[str | Path],
    *,
    text_column: str = "text",
    duplicate_ids: RepeatedIds = "error",
) -> DocumentReader:
    """Read documents from JSON Lines or Parquet files, strictly.

    The iterator's ``report`` has ``read``, ``kept`` and ``dropped`` (by reason). A document's ``id`` is the
    row's (text or a whole number), else ``<file>:<row>``; ``duplicate_ids`` says what a second row under one
    is: ``error``, ``drop`` (counted as ``duplicate_id``), or ``keep``, the only one that holds nothing in
    memory (the others about 120 bytes a document). Raises :class:`SourceError` naming file and row for a cut
    or damaged file, a missing column, an id that occurs again, too many bad rows, or no document at all.
    """
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    if not listed:
        raise SourceError("no files to read: the list of paths is empty")
    if duplicate_ids not in get_args(RepeatedIds):
        raise InputError(f"duplicate_ids is {duplicate_ids!r}; valid: {', '.join(get_args(RepeatedIds))}")
    return DocumentReader(listed, text_column, duplicate_ids)


def no_documents(report: Report, paths: Sequence[str]) -> str:
    """Say that nothing was kept, and why."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(report.dropped.items()))
    shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")  # noqa: PLR2004
    return f"no document in {shown}: {report.read:,} rows read, dropped: {reasons or 'none'}"


def usable_text(value: object, report: Report) -> str | None:
    """Return ``value`` if it is text that can be written as UTF-8; else count a drop and return ``None``."""
    fault = _text_fault(value)
    if fault:
        report.drop(fault)
        return None
    assert isinstance(value, str)
    return value


def _text_fault(value: object) -> str:
    if value is None:
        return "null_text"
    if not isinstance(value, str):
        return "not_text"
    if not value.strip():
        return "empty_text"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "bad_unicode"
    return ""


def read_rows(
    path: str,
    needed: Sequence[str],
    report: Report,
    *,
    columns: Sequence[str] | None = None,
    damage: str = "error",
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number, row) of a file; rows that cannot be parsed are counted in ``report`` as drops.

    ``needed`` columns must exist; ``columns`` limits what Parquet reads (default: all). ``damage`` is what a
    damaged WARC record is: ``error``, or ``drop``.
    """
    before = report.read, report.bad_rows()
    wide = sorted({*needed, *columns}) if columns is not None else None
    rows = _rows(path, needed, wide, report, damage)
    try:
        for number, row in rows:
            yield number, row
            _refuse_bad_rows(path, report, before, at_end=False)
    except SourceError:
        raise
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise SourceError(f"{path}: damaged or unreadable ({type(error).__name__}: {error})") from error
    except Exception as error:
        # A remote file system raises errors of its own (HTTP, access rights).
        if "://" not in path:
            raise
        raise SourceError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    _refuse_bad_rows(path, report, before, at_end=True)


def _rows(
    path: str, needed: Sequence[str], wide: Sequence[str] | None, report: Report, damage: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Return the rows of a file, read as its suffix says."""
    plain = path.removesuffix(".gz").removesuffix(".zst").removesuffix(".bz2")
    if path.endswith(".parquet"):
        return _parquet_rows(path, needed, wide)
    if plain.endswith(".warc"):
        from smoldata.warc import warc_rows

        return warc_rows(path, report, damage)
    if plain.endswith((".ipynb", ".xml")):
        from smoldata.rawfiles import notebook_rows, question_rows, xml_rows

        if plain.endswith("Posts.xml"):
            return question_rows(path)
        return notebook_rows(path, report) if plain.endswith(".ipynb") else xml_rows(path)
    return _json_rows(path, needed, report)


def _refuse_bad_rows(path: str, report: Report, before: tuple[int, int], *, at_end: bool) -> None:
    read, bad = report.read - before[0], report.bad_rows() - before[1]
    if bad > _TOLERATED_ROWS and bad > read * _TOLERATED_SHARE and (at_end or read > _BATCH_ROWS):
        reasons = ", ".join(
            f"{report.dropped[reason]:,} {reason}" for reason in _BAD_ROWS if report.dropped[reason]
        )
        raise SourceError(
            f"{path}: {bad:,} of {read:,} rows are malformed ({reasons}), over 1 %; is it the right file?"
        )


def _json_rows(path: str, needed: Sequence[str], report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    seen_object = False
    for number, line in enumerate(read_lines(path)):
        if not line.strip():
            continue
        row = _parsed(line, f"{path}: row {number}")
        missing = [] if isinstance(row, str) else [name for name in needed if name not in row]
        if missing and not seen_object:
            raise SourceError(_missing_columns(f"{path}: row {number}", missing, row))
        seen_object = seen_object or not isinstance(row, str)
        if isinstance(row, str):
            report.drop(row)
        elif missing:
            report.drop("missing_column")
        else:
            yield number, row


def _parsed(line: bytes, place: str) -> dict[str, Any] | str:
    """Return a row, or the reason for which it is dropped."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return "bad_utf8"
    except (ValueError, RecursionError) as error:
        if not line.endswith(b"\n"):
            raise SourceError(f"{place}: the file ends inside a row; fetch it again") from error
        return "bad_json"
    return row if isinstance(row, dict) else "not_an_object"


def _missing_columns(place: str, missing: Sequence[str], available: Iterable[str]) -> str:
    return (
        f"{place}: no column {', '.join(missing)}; available: {', '.join(sorted(available))}. "
        "Name the right one (run: --column text=NAME; the registry: `columns`; Python: text_column)"
    )


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
            if number != file.metadata.num_rows:
                raise SourceError(
                    f"{path}: {number:,} rows could be read, its footer says {file.metadata.num_rows:,}; "
                    "fetch it again"
                )
        except pa.ArrowException as error:
            raise SourceError(
                f"{path}: damaged Parquet at row {number:,} or after ({error}); fetch it again"
            ) from error


def _as_rows(batch: Any) -> Iterator[dict[str, Any]]:
    """Yield rows; text that is not UTF-8 becomes a ``bytes`` value, so that only its row is dropped."""
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
