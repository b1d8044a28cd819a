"""A WARC file (plain or ``.gz``) -> one row a page: ``id``, ``url``, ``date``, ``text`` (the HTML).

Pages are ``response`` records that hold HTML and ``conversion`` records (WET files); other records are no
rows. Decoding is datatrove's rule: UTF-8, else what cchardet finds. warcio reads a cut record as if it were
whole; here a record that is shorter than it says, a cut file and damaged compression are errors that name
file and record, or, with ``damage="drop"``, one counted drop that ends the file. Payload digests are not
checked: ClueWeb's are of another kind. One record is in memory at a time.
"""

import io
from collections.abc import Iterator
from typing import Any

from smoldata.errors import SourceError
from smoldata.reading import Report
from smoldata.streams import open_blocks

_HTML = ("text/html", "application/xhtml+xml")
_ROWS = ("response", "conversion")


def warc_rows(path: str, report: Report, damage: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (record number, row) of a WARC file; pages that are not HTML or not decodable are counted drops.

    Raises :class:`SourceError` naming file and record for damage, unless ``damage`` is ``drop``.
    """
    number, url = -1, ""
    try:
        for number, record in enumerate(_records(path)):
            url = record.rec_headers.get_header("WARC-Target-URI") or ""
            content = record.content_stream().read()
            _refuse_cut(record)
            if record.rec_type not in _ROWS:
                continue
            row = _row(record, content)
            if isinstance(row, str):
                report.drop(row)
            else:
                yield number, row
    except (SourceError, OSError, ValueError) as error:
        place = f"{path}: record {max(number, 0)}" + (f" ({url})" if url else "")
        if damage != "drop":
            message = str(error).removeprefix(f"{path}: ")
            raise SourceError(f"{place}: {message}; `damage: drop` counts it and goes on") from error
        report.drop("damaged_record")


def _refuse_cut(record: Any) -> None:
    if left := getattr(record.raw_stream, "limit", 0):
        raise SourceError(f"cut short: {left:,} of {record.length:,} bytes of the record are missing")


def _records(path: str) -> Iterator[Any]:
    from warcio.archiveiterator import ArchiveIterator
    from warcio.exceptions import ArchiveLoadFailed

    try:
        # Compression is undone here, strictly; warcio would take a cut file for a whole one.
        # Unbuffered: a buffer would read on to the damage before it gives what stands before it.
        yield from ArchiveIterator(_Stream(open_blocks(path)))
    except ArchiveLoadFailed as error:
        raise SourceError(f"not a WARC record: {error}") from error


class _Stream(io.RawIOBase):
    """Blocks of bytes as a file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.blocks, self.left = blocks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self.left:
            block = next(self.blocks, None)
            if block is None:
                return 0
            self.left = block
        view = memoryview(buffer)
        count = min(len(view), len(self.left))
        view[:count], self.left = self.left[:count], self.left[count:]
        return count


def _row(record: Any, content: bytes) -> dict[str, Any] | str:
    """Return a page, or the reason for which it is dropped."""
    headers = record.rec_headers
    is_text = record.rec_type == "conversion"
    mime = headers.get_header("WARC-Identified-Payload-Type") or _http_type(record)
    if mime not in _HTML and not (is_text and mime in {"text/plain", ""}):
        return "not_html"
    text = _decoded(content)
    if text is None:
        return "bad_encoding"
    return {
        "id": headers.get_header("WARC-Record-ID"),
        "url": headers.get_header("WARC-Target-URI"),
        "date": headers.get_header("WARC-Date"),
        "text": text,
    }


def _http_type(record: Any) -> str:
    http = record.http_headers
    value = (http.get_header("Content-Type") or "") if http is not None else ""
    return str(value).partition(";")[0].strip().lower()


def _decoded(content: bytes) -> str | None:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        import cchardet

        found = cchardet.detect(content)["encoding"]
        try:
            return content.decode(found) if found else None
        except (UnicodeDecodeError, LookupError):
            return None
