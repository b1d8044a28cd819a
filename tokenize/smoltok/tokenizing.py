"""One documents file → its training shard and its validation shard. This is what a worker does.

Each batch of texts is divided by the split rule, encoded flat, ended with EOS and appended; the file is
hashed against the manifest, so that documents that changed under us are found. A pure function of the task:
any number of workers, and any rerun, give the same bytes. Cost: the engine's time and about a tenth more.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from smoldata.errors import IntegrityError
from smoldata.files import xxh3_128
from smoltok.columns import taken
from smoltok.encoding import encode_flat, end_documents, has_seams
from smoltok.manifest import ShardRow
from smoltok.ordering import FILE_ORDER, DocumentOrder
from smoltok.sources import Texts, read_texts
from smoltok.split import SPLITS, TRAIN, VALIDATION, divide
from smoltok.tokenizer import Tokenizer
from smoltok.writer import Batch, Origin, ShardWriter, shard_writer


@dataclass(frozen=True, slots=True)
class Task:
    """Everything that decides the bytes of a file's shards."""

    source: str
    input_folder: Path
    input_path: str
    """Name of the documents file in its folder."""
    input_xxh3_128: str
    """What the documents manifest says; the file must have it."""
    output_folder: Path
    tokenizer: Tokenizer
    validation_share: str
    validation_limit: int
    """:func:`smoltok.split.threshold` of the share."""
    order: DocumentOrder
    code_version: str
    text_bytes: int = 0
    """For the order of work only."""


@dataclass(slots=True)
class _Side:
    """The shard of one split while it is written."""

    writer: ShardWriter
    text_bytes: int = 0
    text_characters: int = 0


@dataclass(slots=True)
class _Sides:
    """The shards of a file; one that gets no document is never created."""

    task: Task
    stack: ExitStack
    sides: dict[str, _Side] = field(default_factory=dict)

    def side(self, split: str) -> _Side:
        if split not in self.sides:
            writer = self.stack.enter_context(
                shard_writer(self.task_path(split), origin_of(self.task, split))
            )
            self.sides[split] = _Side(writer)
        return self.sides[split]

    def task_path(self, split: str) -> Path:
        return self.task.output_folder / shard_path(self.task.input_path, split)


def shard_path(input_path: str, split: str) -> str:
    """Return where the shard of a documents file stands, relative to the source's folder."""
    name = f"{Path(input_path).stem}.ds"
    return name if split == TRAIN else f"{VALIDATION}/{name}"


def order_of(order: DocumentOrder, split: str) -> DocumentOrder:
    """Return the order of a split: validation is read whole, so it keeps the order of the file."""
    return order if split == TRAIN else FILE_ORDER


def origin_of(task: Task, split: str) -> Origin:
    """Return what a shard's ``.docs.parquet`` records."""
    return Origin(task.source, split, task.input_path, task.tokenizer, order_of(task.order, split))


def tokenize_file(task: Task) -> list[ShardRow]:
    """Write one documents file's shards and return their rows. Raises SourceError, IntegrityError."""
    path = task.input_folder / task.input_path
    seen = xxh3_128(path)
    if seen != task.input_xxh3_128:
        raise IntegrityError(
            f"{path} is not the file that its manifest lists (xxh3-128 {seen}, wanted "
            f"{task.input_xxh3_128}); it changed after it was written: run the data step again"
        )
    with ExitStack() as stack:
        sides = _Sides(task, stack)
        for texts in read_texts(path):
            _add(texts, sides)
    return [_row(task, split, sides.sides[split]) for split in SPLITS if split in sides.sides]


def _add(texts: Texts, sides: _Sides) -> None:
    limit, tokenizer = sides.task.validation_limit, sides.task.tokenizer
    parts = divide(texts.digests(), limit) if limit else (list(range(len(texts))), [])
    if texts.is_long and has_seams(tokenizer):
        _add_long(texts, sides.side(SPLITS[not parts[0]]), tokenizer)
        return
    every = texts.texts()
    text_bytes = texts.text_bytes()
    for split, rows in zip(SPLITS, parts, strict=True):
        if not rows:
            continue
        side = sides.side(split)
        whole = len(rows) == len(every)
        chosen = every if whole else [every[row] for row in rows]
        ids, ends = end_documents(encode_flat(chosen, tokenizer=tokenizer), tokenizer)
        places = np.array(rows, np.int64)
        names = texts.names if whole else taken(texts.names, places)
        side.writer.append(Batch(ids, ends, names, places + texts.first_row))
        side.text_bytes += int(text_bytes[places].sum())
        side.text_characters += sum(map(len, chosen))


def _add_long(texts: Texts, side: _Side, tokenizer: Tokenizer) -> None:
    """Encode and write one document piece by piece: its ids are never held whole."""
    tokens = 0
    for piece in texts.pieces():
        ids, _ = encode_flat([piece], tokenizer=tokenizer)
        side.writer.extend(ids.astype(tokenizer.dtype, copy=False))
        tokens += len(ids)
        side.text_characters += len(piece)
    end, row = np.array([tokenizer.eos_id], tokenizer.dtype), np.array([texts.first_row], np.int64)
    side.writer.append(Batch(end, np.array([tokens + 1], np.int64), texts.names, row))
    side.text_bytes += int(texts.text_bytes()[0])


def _row(task: Task, split: str, side: _Side) -> ShardRow:
    written, tokenizer = side.writer.written, task.tokenizer
    return ShardRow(
        source=task.source,
        split=split,
        path=shard_path(task.input_path, split),
        bytes=written.bytes,
        tokens=written.tokens,
        documents=written.documents,
        text_bytes=side.text_bytes,
        text_characters=side.text_characters,
        xxh3_128=written.xxh3_128,
        index_xxh3_128=written.index_xxh3_128,
        metadata_xxh3_128=written.metadata_xxh3_128,
        docs_xxh3_128=written.docs_xxh3_128,
        tokenizer=tokenizer.name,
        tokenizer_sha256=tokenizer.sha256,
        eos_id=tokenizer.eos_id,
        token_width=tokenizer.token_width,
        vocab_size=tokenizer.vocab_size,
        validation_share=task.validation_share,
        input_path=task.input_path,
        input_xxh3_128=task.input_xxh3_128,
        document_order=order_of(task.order, split).describe(),
        code_version=task.code_version,
    )
