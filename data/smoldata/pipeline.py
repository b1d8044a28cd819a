"""The blocks of a documents pipeline: strict reader -> filters -> duplicates -> writer.

Each block is a datatrove ``PipelineStep``; the filters are datatrove's own or follow its interface. All
blocks of a task share one ``Report``, so that rows read = documents kept + drops by reason. A task reads
its share of the source's files and writes one Parquet file and one record of counts, both whole or absent.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter, get_filter_result

from smoldata.documents import DOCUMENT_SCHEMA
from smoldata.files import atomic_path, write_json
from smoldata.heritage import contents_url, with_contents
from smoldata.pipeline_types import Limit, RawInput
from smoldata.reading import Report, read_rows, usable_text
from smoldata.registry import Source

_GROUP_BYTES = 64 << 20


class StrictReader(PipelineStep):  # type: ignore[misc] # datatrove ships no types
    """Reads a task's share of raw files as documents; every row that gives none is counted."""

    type = "📖 - READER"
    name = "strict"

    def __init__(self, source: Source, inputs: Sequence[RawInput], report: Report, *, fetch: bool) -> None:
        """Read ``inputs``; with ``fetch``, contents come from Software Heritage."""
        super().__init__()
        self.source, self.inputs, self.report = source, tuple(inputs), report
        self.contents = contents_url() if fetch else None

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the documents of files ``rank``, ``rank + world_size``, …."""
        if data:
            yield from data
        for raw in self.inputs[rank::world_size]:
            for number, row, text in self._rows(raw.address):
                if text is not None:
                    yield self._document(text, row, raw, number)

    def _rows(self, address: str) -> Iterator[tuple[int, dict[str, Any], str | None]]:
        columns = self.source.columns
        if self.contents is None:
            for number, row in read_rows(address, columns.text, self.report, columns=columns.names()):
                yield number, row, self._text(row)
            return
        blob = columns.id or "blob_id"
        listed = read_rows(address, (blob,), self.report, columns=(*columns.names(), "src_encoding"))
        for number, row, text, fault in with_contents(listed, blob, self.contents):
            if fault:
                self.report.drop(fault)
            yield number, row, None if fault else usable_text(text, self.report)

    def _text(self, row: dict[str, Any]) -> str | None:
        parts = []
        for name in self.source.columns.text:
            part = usable_text(_flattened(row.get(name)), self.report)
            if part is None:
                return None
            parts.append(part)
        return "\n\n".join(parts)

    def _document(self, text: str, row: dict[str, Any], raw: RawInput, number: int) -> Document:
        columns = self.source.columns
        place = f"{raw.relative}:{number}"
        scores = {name: float(row[name]) for name in columns.scores if isinstance(row.get(name), int | float)}
        extra = {name: row[name] for name in columns.metadata if row.get(name) is not None}
        fields = {
            "url": _plain(row.get(columns.url or "")),
            "path": _plain(row.get(columns.path or "")) or raw.relative,
            "language": _plain(row.get(columns.language or "")) or self.source.language,
            "license": _plain(row.get(columns.license or "")) or raw.licence,
            "scores": sorted(scores.items()),
            "metadata": json.dumps(extra, sort_keys=True, ensure_ascii=False, default=str) if extra else None,
            "place": place,
        }
        return Document(text=text, id=_plain(row.get(columns.id or "")) or place, metadata=fields)


def _flattened(value: object) -> object:
    """Return a conversation (a list of messages) as its contents in order; else the value itself."""
    if not isinstance(value, list):
        return value
    contents = [message.get("content") for message in value if isinstance(message, dict)]
    texts = [content for content in contents if isinstance(content, str)]
    return "\n\n".join(texts) if len(texts) == len(value) else value


def _plain(value: object) -> str | None:
    """Return a string column's value; numbers become text, lists are joined, emptiness is null."""
    if isinstance(value, list):
        value = " AND ".join(str(entry) for entry in value if entry)
    text = "" if value is None else str(value)
    return text.encode("utf-8", "replace").decode() or None


class CountedFilter(PipelineStep):  # type: ignore[misc]
    """Runs a datatrove filter and counts each document that it drops, by the filter's reason."""

    type = "🔻 - FILTER"
    name = "counted"

    def __init__(self, inner: BaseFilter, report: Report) -> None:
        """Wrap ``inner``."""
        super().__init__()
        self.inner, self.report = inner, report
        self.name = inner.name

    def run(self, data: Any, _rank: int = 0, _world_size: int = 1) -> Iterator[Document]:
        """Yield what the filter keeps."""
        for document in data:
            keep, reason = get_filter_result(self.inner.filter(document))
            self.stat_update("kept" if keep else "dropped")
            if keep:
                yield document
            else:
                self.report.drop(reason or type(self.inner).__name__)


class DropDuplicates(PipelineStep):  # type: ignore[misc]
    """Drops a text that the task has seen before; copies across tasks are dropped in the merge."""

    type = "🫂 - DEDUP"
    name = "exact"

    def __init__(self, report: Report) -> None:
        """Count drops in ``report``."""
        super().__init__()
        self.report = report

    def run(self, data: Any, _rank: int = 0, _world_size: int = 1) -> Iterator[Document]:
        """Yield the first of each text."""
        seen: set[bytes] = set()
        for document in data:
            digest = xxhash.xxh3_128_digest(document.text.encode())
            if digest in seen:
                self.report.drop("duplicate")
            else:
                seen.add(digest)
                document.metadata["digest"] = digest
                yield document


class WriteDocuments(PipelineStep):  # type: ignore[misc]
    """Writes a task's documents as ``<rank>.parquet`` and its counts as ``<rank>.json``."""

    type = "💽 - WRITER"
    name = "documents"

    def __init__(self, source: str, folder: Path, report: Report, limit: Limit) -> None:
        """Write into ``folder``."""
        super().__init__()
        self.source, self.folder, self.report, self.limit = source, folder, report, limit

    def run(self, data: Any, rank: int = 0, _world_size: int = 1) -> Iterator[Document]:
        """Write everything; yield nothing."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / f"{rank:05d}.parquet"
        keys = Keys([], [], [])
        staged = _Staged()
        with (
            atomic_path(path) as temporary,
            pq.ParquetWriter(temporary, DOCUMENT_SCHEMA, compression="zstd") as writer,
        ):
            for document in data:
                staged.add(self._row(document, keys), document.text)
                if staged.group_bytes >= _GROUP_BYTES:
                    writer.write_table(pa.Table.from_pylist(staged.take(), schema=DOCUMENT_SCHEMA))
                if self.limit.reached(staged.documents, staged.text_bytes):
                    break
            rows = staged.take()
            if rows or not staged.documents:
                writer.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA))
        self.report.read += staged.documents
        self.report.kept += staged.documents
        keys.write(keys_path(path))
        write_json(counts_path(path), self._counts(staged))
        yield from ()

    def _counts(self, staged: "_Staged") -> dict[str, Any]:
        return {
            "read": self.report.read,
            "kept": self.report.kept,
            "dropped": dict(sorted(self.report.dropped.items())),
            "text_bytes": staged.text_bytes,
            "text_characters": staged.text_characters,
        }

    def _row(self, document: Document, keys: "Keys") -> dict[str, Any]:
        fields = dict(document.metadata)
        keys.digest.append(fields.pop("digest"))
        keys.place.append(fields.pop("place"))
        keys.id.append(document.id)
        return {"id": document.id, "text": document.text, "source": self.source} | fields


@dataclass(slots=True)
class _Staged:
    """Rows that wait for their row group, and totals."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    group_bytes: int = 0
    documents: int = 0
    text_bytes: int = 0
    text_characters: int = 0

    def add(self, row: dict[str, Any], text: str) -> None:
        size = len(text.encode())
        self.rows.append(row)
        self.group_bytes += size
        self.documents += 1
        self.text_bytes += size
        self.text_characters += len(text)

    def take(self) -> list[dict[str, Any]]:
        rows, self.rows, self.group_bytes = self.rows, [], 0
        return rows


@dataclass(frozen=True, slots=True)
class Keys:
    """What merging compares: each document's text digest, identifier and place, in the order of the file."""

    digest: list[bytes]
    id: list[str]
    place: list[str]

    def write(self, path: Path) -> None:
        """Write the keys beside their documents."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {"digest": pa.array(self.digest, pa.binary(16)), "id": pa.array(self.id, pa.string())}
        with atomic_path(path) as temporary:
            pq.write_table(pa.table(columns | {"place": pa.array(self.place, pa.string())}), temporary)


def keys_path(documents: Path) -> Path:
    """Return where the keys of a staged documents file lie."""
    return documents.with_suffix(".keys.parquet")


def counts_path(documents: Path) -> Path:
    """Return where the counts of a staged documents file lie; written last."""
    return documents.with_suffix(".json")
