"""The blocks at both ends of a documents pipeline: strict reader; duplicates and writer.

Each is a datatrove ``PipelineStep``; what stands between is the recipe's. All blocks of a task share one
``Report``, so that rows read = documents kept + drops by reason. A task reads its share of the source's files
and writes one Parquet file and one record of counts, both whole or absent.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from smoldata.documents import DICTIONARY_COLUMNS, DOCUMENT_SCHEMA
from smoldata.dropped import Examples
from smoldata.errors import SourceError
from smoldata.files import atomic_path, write_json
from smoldata.heritage import contents_url, with_contents
from smoldata.kinds import Unrenderable, render_function, renderer
from smoldata.pipeline_types import Limit, RawInput
from smoldata.reading import Report, read_rows, usable_text
from smoldata.registry import Source
from smoldata.steps import KEY_PREFIX

_GROUP_BYTES = 64 << 20


class StrictReader(PipelineStep):  # type: ignore[misc] # datatrove ships no types
    """Reads a task's share of raw files as documents; every row that gives none is counted."""

    type = "📖 - READER"
    name = "strict"

    def __init__(
        self,
        source: Source,
        inputs: Sequence[RawInput],
        report: Report,
        *,
        fetch: bool = False,
        render: str | None = None,
        extra: Sequence[str] = (),
        damage: str = "error",
    ) -> None:
        """Read ``inputs``.

        With ``fetch``, contents come from Software Heritage; ``render`` names a renderer of smoldata.kinds
        that makes the text; ``extra`` columns are read for later steps; ``damage`` says whether a damaged
        WARC record is an error or a drop.
        """
        super().__init__()
        self.source, self.inputs, self.report = source, tuple(inputs), report
        self.contents = contents_url() if fetch else None
        self.render, self.extra, self.damage = render, tuple(extra), damage

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the documents of files ``rank``, ``rank + world_size``, …."""
        if data:
            yield from data
        for number in range(rank, len(self.inputs), world_size):
            raw = self.inputs[number]
            for row_number, row, text in self._rows(raw.address):
                if text is not None:
                    yield self._document(text, row, raw, (number, row_number))
        self.report.finished = True

    def _rows(self, address: str) -> Iterator[tuple[int, dict[str, Any], str | None]]:
        columns = self.source.columns
        names = (*columns.names(), *self.extra)
        if self.contents is not None:
            yield from self._fetched(address, names)
        elif self.render is not None:
            yield from self._rendered(address, names)
        else:
            rows = read_rows(address, columns.text, self.report, columns=names, damage=self.damage)
            for number, row in rows:
                yield number, row, self._text(row)

    def _fetched(
        self, address: str, names: Sequence[str]
    ) -> Iterator[tuple[int, dict[str, Any], str | None]]:
        assert self.contents is not None
        blob = self.source.columns.id or "blob_id"
        listed = read_rows(address, (blob,), self.report, columns=(*names, "src_encoding"))
        for number, row, text, fault in with_contents(listed, blob, self.contents):
            if fault:
                self.report.drop(fault)
            yield number, row, None if fault else usable_text(text, self.report)

    def _rendered(
        self, address: str, names: Sequence[str]
    ) -> Iterator[tuple[int, dict[str, Any], str | None]]:
        assert self.render is not None
        chosen, function = renderer(self.render), render_function(self.render)
        names = (*names, *chosen.needs, *chosen.reads)
        rows = read_rows(address, chosen.needs, self.report, columns=names, damage=self.damage)
        for number, row in rows:
            try:
                text = usable_text(function(row), self.report)
            except Unrenderable as reason:
                self.report.drop(str(reason))
                text = None
            yield number, row, text

    def _text(self, row: dict[str, Any]) -> str | None:
        parts = []
        for name in self.source.columns.text:
            part = usable_text(_flattened(row.get(name)), self.report)
            if part is None:
                return None
            parts.append(part)
        return "\n\n".join(parts)

    def _document(self, text: str, row: dict[str, Any], raw: RawInput, order: tuple[int, int]) -> Document:
        columns = self.source.columns
        place = f"{raw.relative}:{order[1]}"
        scores = _scores(row, columns.scores)
        extra = {name: row[name] for name in columns.metadata if row.get(name) is not None}
        fields = {
            "url": _plain(row.get(columns.url or "")),
            "path": _plain(row.get(columns.path or "")) or raw.relative,
            "language": _plain(row.get(columns.language or "")) or self.source.language,
            "license": _plain(row.get(columns.license or "")) or raw.licence,
            "scores": sorted(scores.items()),
            "extra": extra,
            "row": row,
            "order": order,
            "place": place,
        }
        return Document(text=text, id=_plain(row.get(columns.id or "")) or place, metadata=fields)


def _flattened(value: object) -> object:
    """Return a list of messages, or of a model's responses, as its texts in order; else the value itself."""
    if not isinstance(value, list):
        return value
    contents = [
        message.get("content", message.get("response")) for message in value if isinstance(message, dict)
    ]
    texts = [content for content in contents if isinstance(content, str)]
    return "\n\n".join(texts) if len(texts) == len(value) else value


def _scores(row: dict[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Return the numbers in some columns; ``scores`` of our own documents holds several by name."""
    held = row.get("scores") if "scores" in names else None
    pairs = list(held.items() if isinstance(held, dict) else held) if isinstance(held, dict | list) else []
    found: dict[Any, Any] = dict(pair for pair in pairs if isinstance(pair, tuple))
    found |= {name: row.get(name) for name in names if name != "scores" and row.get(name) is not None}
    return {str(name): number for name, value in found.items() if (number := _number(value)) is not None}


def _number(value: object) -> float | None:
    """Return a score: a number, or the one number of a mapping (DCLM: ``{"en": 0.98}``)."""
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    return float(value) if isinstance(value, int | float) else None


def _plain(value: object) -> str | None:
    """Return a string column's value; numbers become text, lists are joined, emptiness is null."""
    if isinstance(value, list):
        value = " AND ".join(str(entry) for entry in value if entry)
    text = "" if value is None else str(value)
    return text.encode("utf-8", "replace").decode() or None


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
                self.report.drop("duplicate", document)
            else:
                seen.add(digest)
                document.metadata["digest"] = digest
                yield document


class WriteDocuments(PipelineStep):  # type: ignore[misc]
    """Writes a task's documents as ``<rank>.parquet`` and its counts as ``<rank>.json``."""

    type = "💽 - WRITER"
    name = "documents"

    def __init__(
        self, source: str, folder: Path, report: Report, limit: Limit, gathers: Sequence[str] = ()
    ) -> None:
        """Write into ``folder``; steps named in ``gathers`` left a key in each document."""
        super().__init__()
        self.source, self.folder, self.report, self.limit = source, folder, report, limit
        self.gathers = tuple(gathers)

    def run(self, data: Any, rank: int = 0, _world_size: int = 1) -> Iterator[Document]:
        """Write everything; yield nothing."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / f"{rank:05d}.parquet"
        keys = Keys({name: [] for name in self.gathers})
        staged = _Staged()
        with (
            atomic_path(path) as temporary,
            pq.ParquetWriter(
                temporary, DOCUMENT_SCHEMA, compression="zstd", use_dictionary=DICTIONARY_COLUMNS
            ) as writer,
        ):
            for document in data:
                staged.add(self._row(document, keys), document.text)
                if staged.group_bytes >= _GROUP_BYTES:
                    writer.write_table(pa.Table.from_pylist(staged.take(), schema=DOCUMENT_SCHEMA))
                if self.limit.reached(staged.documents, staged.text_bytes):
                    break
            else:
                self._refuse_unread()
            rows = staged.take()
            if rows or not staged.documents:
                writer.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA))
        self.report.read += staged.documents
        self.report.kept += staged.documents
        keys.write(keys_path(path))
        if isinstance(self.report.on_drop, Examples):
            self.report.on_drop.write(path)
        write_json(counts_path(path), self._counts(staged))
        yield from ()

    def _refuse_unread(self) -> None:
        """Raise when a step ended although there was more to read: the task is not done."""
        if not self.report.finished:
            raise SourceError(
                f"{self.source}: a step of the pipeline stopped before the end of its input; a step must "
                "take every document that it is given"
            )

    def _counts(self, staged: "_Staged") -> dict[str, Any]:
        return {
            "read": self.report.read,
            "kept": self.report.kept,
            "dropped": dict(sorted(self.report.dropped.items())),
            "text_bytes": staged.text_bytes,
            "text_characters": staged.text_characters,
        }

    def _row(self, document: Document, keys: "Keys") -> dict[str, Any]:
        fields = document.metadata
        keys.add(document)
        extra = fields["extra"]
        return {
            "id": document.id,
            "text": document.text,
            "source": self.source,
            "url": fields["url"],
            "path": fields["path"],
            "language": fields["language"],
            "license": fields["license"],
            "scores": sorted(fields["scores"]),
            "metadata": json.dumps(extra, sort_keys=True, ensure_ascii=False, default=str) if extra else None,
        }


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
    """What merging compares, in the order of the file.

    The text's digest, the identifier, the place, and the place as numbers: which raw file, which row.
    """

    gathered: dict[str, list[bytes]]
    """For each step that decides across tasks, the key that it left."""
    digest: list[bytes] = field(default_factory=list)
    id: list[str] = field(default_factory=list)
    place: list[str] = field(default_factory=list)
    order: list[tuple[int, int]] = field(default_factory=list)

    def add(self, document: Document) -> None:
        """Take a document's keys."""
        self.digest.append(document.metadata["digest"])
        self.place.append(document.metadata["place"])
        self.order.append(document.metadata["order"])
        self.id.append(document.id)
        for name, column in self.gathered.items():
            column.append(document.metadata[KEY_PREFIX + name])

    def write(self, path: Path) -> None:
        """Write the keys beside their documents."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {
            "digest": pa.array(self.digest, pa.binary(16)),
            "id": pa.array(self.id, pa.string()),
            "place": pa.array(self.place, pa.string()),
            "file": pa.array([file for file, _ in self.order], pa.int64()),
            "row": pa.array([row for _, row in self.order], pa.int64()),
        }
        for name, column in self.gathered.items():
            columns[KEY_PREFIX + name] = pa.array(column, pa.binary())
        with atomic_path(path) as temporary:
            pq.write_table(pa.table(columns), temporary)


def keys_path(documents: Path) -> Path:
    """Return where the keys of a staged documents file lie."""
    return documents.with_suffix(".keys.parquet")


def counts_path(documents: Path) -> Path:
    """Return where the counts of a staged documents file lie; written last."""
    return documents.with_suffix(".json")
