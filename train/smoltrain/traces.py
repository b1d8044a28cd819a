"""Reasoning traces -> token shards in ChatML, for mid-training through the same planner and loader.

A conversation (``messages`` or ``conversations``, as in smoltalk2 and OpenThoughts; JSON lines or Parquet)
becomes ``<|im_start|>role``, a line end, what was said, ``<|im_end|>`` and a line end, turn after turn,
then the tokenizer's EOS as after every document. The turn markers are control tokens; so are ``<think>``
and ``</think>`` in what the assistant says. Anything else that spells a control token stays text: nobody's
words can end a turn. Equal, id for id, to the project's ChatML template through the exported Hugging Face
tokenizer.

Shards are cut into windows wherever they end (wrapped packing), as all documents are; loss on every token
but where a conversation begins. Same inputs, same bytes. The manifest grows a file at a time: a run that was
stopped goes on with the next file, and files that were made of the same bytes are left as they are. Cost:
that of tokenizing; memory: the conversations of one file.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from smoldata.errors import InputError, SourceError, TokenizerError
from smoldata.files import remove_leftovers, single_writer, xxh3_128
from smoldata.kinds import Unrenderable
from smoldata.kinds.chat import turns
from smoldata.pipeline_types import Limit, RawInput
from smoldata.streams import open_file, read_lines
from smoltok.control import smollm3_names
from smoltok.encoding import encode_flat, repair_surrogates
from smoltok.manifest import CONVERSATIONS, ShardRow, read_manifest, write_manifest
from smoltok.ordering import FILE_ORDER
from smoltok.shards import SIDECARS
from smoltok.split import SPLITS, TRAIN, VALIDATION, threshold
from smoltok.tokenizer import Tokenizer
from smoltok.writer import Batch, Origin, shard_writer

BATCH_ROWS = 256
START, END, THINK, THOUGHT = "<|im_start|>", "<|im_end|>", "<think>", "</think>"
_THOUGHTS = re.compile(f"({re.escape(THINK)}|{re.escape(THOUGHT)})")
_CODE = f"{CONVERSATIONS} 2"
_NO_LIMIT = Limit()
_COLUMNS = ("messages", "conversations")
_VOCABULARY = 128_256
"""Size of Llama-3.2's vocabulary, of which SmolLM3 renamed ten reserved tokens."""

Row = Mapping[str, Any]
Talk = list[tuple[str, str]]
"""Role and what was said, turn after turn."""
Pieces = list[str | int]
"""Texts to encode and control tokens, in order."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the rows of all files."""

    source: str
    shards: int
    read: int
    kept: int
    dropped: dict[str, int]
    tokens: int
    files: int = 0
    """Files that were rendered; the others were as they should be."""


def control_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Return the ids of ChatML's markers; raises :class:`TokenizerError` for another vocabulary."""
    if tokenizer.vocab_size != _VOCABULARY:
        raise TokenizerError(
            f"tokenizer {tokenizer.name} has {tokenizer.vocab_size:,} entries: ChatML's markers are known in "
            f"Llama-3.2's vocabulary of {_VOCABULARY:,} as SmolLM3 renamed it"
        )
    by_name = {name: number for number, name in smollm3_names().items()}
    return {name: by_name[name] for name in (START, END, THINK, THOUGHT)}


def render(conversation: Sequence[tuple[str, str]]) -> str:
    """Return (role, content) turns as ChatML text."""
    return "".join(f"{START}{role}\n{content}{END}\n" for role, content in conversation)


def pieces(conversation: Sequence[tuple[str, str]], control: Mapping[str, int]) -> Pieces:
    """Return a conversation as texts and control tokens."""
    made: Pieces = []
    for role, content in conversation:
        made.append(control[START])
        said = f"{role}\n{content}"
        parts = _THOUGHTS.split(said) if role == "assistant" else [said]
        made += [
            control[part] if part in control and at % 2 else part for at, part in enumerate(parts) if part
        ]
        made += [control[END], "\n"]
    return made


def write_shards(
    files: Sequence[Path | RawInput],
    *,
    source: str,
    tokens: Path,
    tokenizer: Tokenizer,
    validation_share: Fraction = Fraction(0),
    limit: Limit = _NO_LIMIT,
) -> Report:
    """Write ``tokens/<source>/``: a shard a file, and a validation shard where the split rule takes some.

    ``limit``: a trial, which stops at the first conversation at which it is reached. Raises
    :class:`SourceError` naming file and line where a row cannot be read; rows without an answer are dropped
    and counted.
    """
    if not files:
        raise InputError("no file of conversations is given")
    control_ids(tokenizer)  # refused before any file is read
    inputs = [_raw(file) if isinstance(file, Path) else file for file in files]
    folder = tokens / source
    with single_writer(folder):
        remove_leftovers(folder)
        work = _Work(source, folder, tokenizer, validation_share, limit)
        for number, raw in enumerate(inputs):
            work.file(number, raw)
        work.clear()
    kept = work.read - sum(work.dropped.values())
    total = sum(row.tokens for row in work.rows)
    return Report(source, len(work.rows), work.read, kept, work.dropped, total, work.files)


def _raw(path: Path) -> RawInput:
    return RawInput(str(path), path.name, path.stat().st_size, xxh3_128(path), None)


class _Work:
    """The shards of a source while they are written."""

    def __init__(
        self, source: str, folder: Path, tokenizer: Tokenizer, share: Fraction, limit: Limit
    ) -> None:
        self._source, self._folder, self._tokenizer, self._share = source, folder, tokenizer, share
        self._control = control_ids(tokenizer)
        self._split, self._limit = threshold(share), limit
        self._code = _CODE if limit == _NO_LIMIT else f"{_CODE}, {limit}"
        self._before = self._current()
        self._bytes = self._documents = 0
        self.rows: list[ShardRow] = []
        self.files = 0
        self.read = 0
        self.dropped: dict[str, int] = {}

    def _current(self) -> dict[str, list[ShardRow]]:
        """Return the rows by input file that were made as would be now, and whose shards are there."""
        wanted = (self._code, self._tokenizer.sha256, self._share_text)
        found: dict[str, list[ShardRow]] = {}
        for row in read_manifest(self._folder):
            path = self._folder / row.path
            whole = path.is_file() and path.stat().st_size == row.bytes
            if whole and (row.code_version, row.tokenizer_sha256, row.validation_share) == wanted:
                found.setdefault(row.input_path, []).append(row)
        return found

    @property
    def _share_text(self) -> str:
        return f"{self._share.numerator}/{self._share.denominator}"

    def file(self, number: int, raw: RawInput) -> None:
        """Write the shards of one file: one pass a split, so that an empty one is never begun."""
        if self._limit.reached(self._documents, self._bytes):
            return
        made = [row for row in self._before.get(raw.relative, []) if row.input_xxh3_128 == raw.digest]
        if made and all(Path(row.path).name == f"{number:05d}.ds" for row in made):
            self.rows += made
            self._bytes += sum(row.text_bytes for row in made)
            self._documents += sum(row.documents for row in made)
            return
        kept = list(self._conversations(raw))
        for split in SPLITS:
            chosen = [one for one in kept if (one[2] < self._split) is (split == VALIDATION)]
            if chosen:
                self.rows.append(self._shard(number, raw, split, chosen))
        self.files += 1
        write_manifest(self._folder, self.rows)

    def clear(self) -> None:
        """Record what is there, and remove shards that no row names: of files or of a text that are gone."""
        write_manifest(self._folder, self.rows)
        named = {f"{row.path}{ending}" for row in self.rows for ending in ("", *SIDECARS)}
        for path in (*self._folder.glob("*.ds*"), *self._folder.glob(f"{VALIDATION}/*.ds*")):
            if path.relative_to(self._folder).as_posix() not in named:
                path.unlink()

    def _conversations(self, raw: RawInput) -> Iterator[tuple[int, Talk, int]]:
        """Yield (row, turns, hash of the text) of each row that can be rendered, up to the limit."""
        for number, row in enumerate(read_rows(raw.address)):
            if self._limit.reached(self._documents, self._bytes):
                return
            self.read += 1
            try:
                roles, said = zip(*turns(row), strict=True)
            except Unrenderable as problem:
                reason = str(problem)
                self.dropped[reason] = self.dropped.get(reason, 0) + 1
                continue
            # Lone surrogates, which JSON can hold and UTF-8 cannot, become U+FFFD.
            conversation = list(zip(*(repair_surrogates(part)[0] for part in (roles, said)), strict=True))
            text = render(conversation).encode()
            self._documents += 1
            self._bytes += len(text)
            yield number, conversation, xxhash.xxh3_64_intdigest(text)

    def _shard(self, number: int, raw: RawInput, split: str, chosen: list[tuple[int, Talk, int]]) -> ShardRow:
        name = f"{number:05d}.ds"
        path = self._folder / (name if split == TRAIN else f"{VALIDATION}/{name}")
        origin = Origin(self._source, split, raw.relative, self._tokenizer, FILE_ORDER)
        texts = [render(conversation) for _, conversation, _ in chosen]
        with shard_writer(path, origin) as writer:
            for first in range(0, len(chosen), BATCH_ROWS):
                some = chosen[first : first + BATCH_ROWS]
                numbers = np.array([row for row, _, _ in some], np.int64)
                names = pa.array([f"{raw.relative}/{row}" for row in numbers.tolist()], pa.string())
                ids, ends = self._encode([conversation for _, conversation, _ in some])
                writer.append(Batch(ids, ends, names, numbers))
        written, tokenizer = writer.written, self._tokenizer
        return ShardRow(
            source=self._source,
            split=split,
            path=path.relative_to(self._folder).as_posix(),
            bytes=written.bytes,
            tokens=written.tokens,
            documents=written.documents,
            text_bytes=sum(len(text.encode()) for text in texts),
            text_characters=sum(map(len, texts)),
            xxh3_128=written.xxh3_128,
            index_xxh3_128=written.index_xxh3_128,
            metadata_xxh3_128=written.metadata_xxh3_128,
            docs_xxh3_128=written.docs_xxh3_128,
            tokenizer=tokenizer.name,
            tokenizer_sha256=tokenizer.sha256,
            eos_id=tokenizer.eos_id,
            token_width=tokenizer.token_width,
            vocab_size=tokenizer.vocab_size,
            validation_share=self._share_text,
            input_path=raw.relative,
            input_xxh3_128=raw.digest,
            document_order=FILE_ORDER.describe(),
            code_version=self._code,
        )

    def _encode(
        self, conversations: Sequence[Sequence[tuple[str, str]]]
    ) -> tuple["np.ndarray[Any, np.dtype[Any]]", "np.ndarray[Any, np.dtype[np.int64]]"]:
        """Return all ids, EOS after each conversation, and where each ends; one call of the engine."""
        made = [pieces(one, self._control) for one in conversations]
        flat, offsets = encode_flat(
            [p for one in made for p in one if isinstance(p, str)], tokenizer=self._tokenizer
        )
        encoded = iter(np.split(flat, offsets[1:-1]))
        parts, lengths = [], []
        for one in made:
            ids = [next(encoded) if isinstance(p, str) else np.array([p]) for p in one]
            ids.append(np.array([self._tokenizer.eos_id]))
            parts += ids
            lengths.append(sum(map(len, ids)))
        return np.concatenate(parts).astype(self._tokenizer.dtype), np.cumsum(lengths, dtype=np.int64)


def read_rows(path: str | Path) -> Iterator[Row]:
    """Yield the rows of a JSON-lines or Parquet file, at a path or an address that fsspec can open.

    Raises :class:`SourceError` naming file and line.
    """
    if str(path).endswith(".parquet"):
        import pyarrow.parquet as pq

        try:
            with open_file(str(path)) as opened:
                file = pq.ParquetFile(opened)
                columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                    yield from batch.to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{path} cannot be read as Parquet: {error}") from error
        return
    number = 0
    try:
        for line in read_lines(str(path)):
            number += 1
            row = json.loads(line)
            if not isinstance(row, dict):
                raise SourceError(f"{path}, line {number}: no object with messages")
            yield row
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{path}, line {number}: cannot be read as JSON lines: {error}") from error
