"""Reasoning traces -> token shards in ChatML, for mid-training through the same planner and loader.

A conversation (``messages`` or ``conversations``, as in smoltalk2 and OpenThoughts; JSON lines or Parquet)
becomes ``<|im_start|>role``, a line end, what was said, ``<|im_end|>`` and a line end, turn after turn,
then the tokenizer's EOS as after every document. The turn markers are control tokens; so are ``<think>``
and ``</think>`` in what the assistant says. Anything else that spells a control token stays text: nobody's
words can end a turn. Equal, id for id, to the project's ChatML template through the exported Hugging Face
tokenizer.

Shards are cut into windows wherever they end (wrapped packing), as all documents are; loss on every token
but where a conversation begins. Same inputs, same bytes. Cost: that of tokenizing; memory: the
conversations of one file.
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
from smoldata.files import single_writer, xxh3_128
from smoldata.kinds import Unrenderable
from smoldata.kinds.chat import turns
from smoltok.control import smollm3_names
from smoltok.encoding import encode_flat, repair_surrogates
from smoltok.manifest import ShardRow, write_manifest
from smoltok.ordering import FILE_ORDER
from smoltok.split import SPLITS, TRAIN, VALIDATION, threshold
from smoltok.tokenizer import Tokenizer
from smoltok.writer import Batch, Origin, shard_writer

BATCH_ROWS = 256
START, END, THINK, THOUGHT = "<|im_start|>", "<|im_end|>", "<think>", "</think>"
_THOUGHTS = re.compile(f"({re.escape(THINK)}|{re.escape(THOUGHT)})")
_VOCABULARY = 128_256
"""Size of Llama-3.2's vocabulary, of which SmolLM3 renamed ten reserved tokens."""

Row = Mapping[str, Any]
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
    files: Sequence[Path],
    *,
    source: str,
    tokens: Path,
    tokenizer: Tokenizer,
    validation_share: Fraction = Fraction(0),
) -> Report:
    """Write ``tokens/<source>/``: a shard a file, and a validation shard where the split rule takes some.

    Raises :class:`SourceError` naming file and line where a row cannot be read; rows without an answer are
    dropped and counted.
    """
    if not files:
        raise InputError("no file of conversations is given")
    folder = tokens / source
    with single_writer(folder):
        work = _Work(source, folder, tokenizer, validation_share)
        for number, path in enumerate(files):
            work.file(number, path)
        write_manifest(folder, work.rows)
    kept = work.read - sum(work.dropped.values())
    total = sum(row.tokens for row in work.rows)
    return Report(source, len(work.rows), work.read, kept, work.dropped, total)


class _Work:
    """The shards of a source while they are written."""

    def __init__(self, source: str, folder: Path, tokenizer: Tokenizer, share: Fraction) -> None:
        self._source, self._folder, self._tokenizer, self._share = source, folder, tokenizer, share
        self._control = control_ids(tokenizer)
        self._limit = threshold(share)
        self.rows: list[ShardRow] = []
        self.read = 0
        self.dropped: dict[str, int] = {}

    def file(self, number: int, path: Path) -> None:
        """Write the shards of one file: one pass a split, so that an empty one is never begun."""
        kept = list(self._conversations(path))
        digest = xxh3_128(path)
        for split in SPLITS:
            chosen = [one for one in kept if (one[2] < self._limit) is (split == VALIDATION)]
            if chosen:
                self.rows.append(self._shard(number, path, digest, split, chosen))

    def _conversations(self, path: Path) -> Iterator[tuple[int, list[tuple[str, str]], int]]:
        """Yield (row, turns, hash of the text) of each row that can be rendered."""
        for number, row in enumerate(read_rows(path)):
            self.read += 1
            try:
                roles, said = zip(*turns(row), strict=True)
            except Unrenderable as problem:
                reason = str(problem)
                self.dropped[reason] = self.dropped.get(reason, 0) + 1
                continue
            # Lone surrogates, which JSON can hold and UTF-8 cannot, become U+FFFD.
            conversation = list(zip(*(repair_surrogates(part)[0] for part in (roles, said)), strict=True))
            yield number, conversation, xxhash.xxh3_64_intdigest(render(conversation).encode())

    def _shard(
        self,
        number: int,
        file: Path,
        digest: str,
        split: str,
        chosen: list[tuple[int, list[tuple[str, str]], int]],
    ) -> ShardRow:
        name = f"{number:05d}.ds"
        path = self._folder / (name if split == TRAIN else f"{VALIDATION}/{name}")
        origin = Origin(self._source, split, file.name, self._tokenizer, FILE_ORDER)
        texts = [render(conversation) for _, conversation, _ in chosen]
        with shard_writer(path, origin) as writer:
            for first in range(0, len(chosen), BATCH_ROWS):
                some = chosen[first : first + BATCH_ROWS]
                numbers = np.array([row for row, _, _ in some], np.int64)
                names = pa.array([f"{file.name}/{row}" for row in numbers.tolist()], pa.string())
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
            validation_share=f"{self._share.numerator}/{self._share.denominator}",
            input_path=file.name,
            input_xxh3_128=digest,
            document_order=FILE_ORDER.describe(),
            code_version="chatml 1",
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


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON-lines or Parquet file; raises :class:`SourceError` naming file and line."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        try:
            for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH_ROWS):
                yield from batch.to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{path} cannot be read as Parquet: {error}") from error
        return
    number = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                number += 1
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise SourceError(f"{path}, line {number}: no object with messages")
                yield row
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{path}, line {number}: cannot be read as JSON lines: {error}") from error
