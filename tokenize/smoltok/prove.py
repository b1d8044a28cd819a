"""Are the ids exact? Independent encoders on millions of strings; shards back to the text they came from.

Every engine encodes every string; any two that differ are counted and the first case is kept. Strings are
made in numbered blocks (:mod:`smoltok.fuzz`), so the proof is the same for any number of processes. The
round trip decodes finished shards with a plain table (:mod:`smoltok.decode`) and compares bytes with the
documents. Cost: the reference's time, about 20 µs a string; 10⁷ strings take about 4 minutes on 2 quiet
cores.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial, reduce
from pathlib import Path

import numpy as np

from smoldata.errors import InputError, IntegrityError, TokenizerError
from smoldata.files import xxh3_128
from smoltok.crew import Crew, crew
from smoltok.decode import Decoder
from smoltok.engines import ENGINES, Engine
from smoltok.fuzz import BLOCK, SCALARS, blocks, scalar_strings, strings
from smoltok.manifest import MANIFEST, read_manifest
from smoltok.selftest import differing
from smoltok.shards import Shard, open_shard, shard_eos
from smoltok.sources import document_files, read_texts
from smoltok.tokenizer import Tokenizer

SCALAR_FAMILY = "every scalar value"
_TAIL_DROPPED = "tail dropped"
"""In the manifest's ``document_order`` (:meth:`smoltok.ordering.DocumentOrder.describe`)."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What was compared in one family, and what differed."""

    family: str
    engines: tuple[str, ...]
    texts: int = 0
    bytes: int = 0
    tokens: int = 0
    differences: int = 0
    example: str = ""
    """The first text that differs, escaped."""

    def __add__(self, other: "Compared") -> "Compared":
        """Add two results of a family."""
        return Compared(
            self.family,
            self.engines,
            self.texts + other.texts,
            self.bytes + other.bytes,
            self.tokens + other.tokens,
            self.differences + other.differences,
            self.example or other.example,
        )


@dataclass(frozen=True, slots=True)
class _Work:
    tokenizer: Tokenizer
    family: str
    block: int
    seed: int
    step: int

    def texts(self) -> list[str]:
        if self.family == SCALAR_FAMILY:
            return scalar_strings(self.block * BLOCK * self.step, BLOCK, self.step)
        return strings(self.family, self.block, self.seed)


@dataclass(frozen=True, slots=True)
class Proof:
    """Everything that was compared."""

    compared: tuple[Compared, ...]
    decoded_bytes: int
    """Text bytes decoded back from shards."""

    @property
    def total(self) -> Compared:
        """All families together."""
        return replace(reduce(lambda a, b: a + b, self.compared), family="all")

    def as_json(self) -> dict[str, object]:
        """Return the proof for programs."""
        families = [asdict(compared) for compared in self.compared]
        return {"families": families, "total": asdict(self.total), "decoded_bytes": self.decoded_bytes}


def proof(
    tokenizer: Tokenizer,
    *,
    total: int,
    seed: int = 0,
    scalar_step: int = 1,
    documents: Path | None = None,
    tokens: Path | None = None,
    workers: int = 1,
) -> Proof:
    """Compare everything that is asked for; ``documents`` and ``tokens`` hold a folder a source.

    Raises InputError if shards are to be decoded without their documents, and what the parts raise.
    """
    if tokens is not None and documents is None:
        raise InputError("decoding shards back needs the documents they came from: give --documents too")
    results = list(prove_strings(tokenizer, total=total, seed=seed, scalar_step=scalar_step, workers=workers))
    decoded = 0
    for folder in sorted(path.parent for path in documents.glob(f"*/{MANIFEST}")) if documents else []:
        results += prove_documents(tokenizer, folder)
        if tokens is not None and (tokens / folder.name).is_dir():
            decoded += prove_round_trip(tokenizer, documents=folder, tokens=tokens / folder.name)
    return Proof(tuple(summed(results)), decoded)


def prove_strings(
    tokenizer: Tokenizer, *, total: int, seed: int = 0, scalar_step: int = 1, workers: int = 1
) -> Iterator[Compared]:
    """Compare all engines on ``total`` strings and every ``scalar_step``-th scalar value, block by block."""
    last = -(-SCALARS // (BLOCK * scalar_step))
    work = [_Work(tokenizer, SCALAR_FAMILY, block, seed, scalar_step) for block in range(last)]
    work += [_Work(tokenizer, family, block, seed, 1) for family, block in blocks(total)]
    if workers <= 1:
        yield from map(_compare_block, work)
        return
    started: Crew[_Work, Compared]
    with crew(workers, _compare_block, before=partial(engines, tokenizer)) as started:
        compared = dict(started.run(work))
    yield from (compared[item] for item in work)


def prove_documents(tokenizer: Tokenizer, folder: Path) -> Iterator[Compared]:
    """Compare all engines on every document of a source's folder. Raises SourceError."""
    for file in document_files(folder):
        if file.documents:
            for batch in read_texts(folder / file.path):
                yield compare(tokenizer, folder.name, batch.texts())


def summed(results: Iterable[Compared]) -> list[Compared]:
    """Add results up by family, in the order of first appearance."""
    families: dict[str, list[Compared]] = {}
    for result in results:
        families.setdefault(result.family, []).append(result)
    return [reduce(lambda a, b: a + b, rows) for rows in families.values()]


def compare(tokenizer: Tokenizer, family: str, texts: Sequence[str]) -> Compared:
    """Encode texts with every engine and count the texts to which two give different ids."""
    loaded = engines(tokenizer)
    listed = list(texts)
    wrong = sorted({i for other in loaded[1:] for i in differing(loaded[0], other, listed)})
    return Compared(
        family,
        tuple(engine.name for engine in loaded),
        len(listed),
        sum(len(text.encode()) for text in listed),
        len(loaded[0].encode_flat(listed)[0]),
        len(wrong),
        ascii(listed[wrong[0]])[:200] if wrong else "",
    )


@lru_cache(maxsize=2)
def engines(tokenizer: Tokenizer) -> tuple[Engine, ...]:
    """Load every engine that can load this tokenizer. Raises TokenizerError if it is only one."""
    loaded = []
    for make in ENGINES.values():
        try:
            loaded.append(make(tokenizer))
        except (TokenizerError, ValueError):
            continue
    if len(loaded) < 2:  # noqa: PLR2004 - nothing to compare
        raise TokenizerError(
            f"only {len(loaded)} engine can load {tokenizer.name}: there is nothing to compare"
        )
    return tuple(loaded)


def prove_round_trip(tokenizer: Tokenizer, *, documents: Path, tokens: Path) -> int:
    """Decode every shard of a source and compare it with its documents; return the bytes compared.

    Raises IntegrityError naming the first shard and document that does not give its text back.
    """
    decoder, compared = Decoder(tokenizer), 0
    for row in read_manifest(tokens):
        if xxh3_128(documents / row.input_path) != row.input_xxh3_128:
            raise IntegrityError(f"{documents / row.input_path} changed since: run `smoltok build` again")
        shard = open_shard(tokens / row.path)
        pieces = _pieces(shard, tail_dropped=_TAIL_DROPPED in row.document_order)
        for batch in read_texts(documents / row.input_path):
            for number, text in enumerate(batch.texts(), batch.first_row):
                if number not in pieces:
                    continue
                data = text.encode()
                ids = np.concatenate([shard.entry(entry) for _, entry in pieces[number]])
                if decoder.decode(ids[:-1]) != data:
                    raise IntegrityError(
                        f"{row.path}, entry {pieces[number][0][1]}: is not row {number} of {row.input_path}"
                    )
                compared += len(data)
    return compared


def _pieces(shard: Shard, *, tail_dropped: bool) -> dict[int, list[tuple[int, int]]]:
    """Return the (offset, entry) pairs of each document row, in order: chunk shuffling cuts documents.

    A document of which a piece went with the dropped tail is left out; any other must be whole.
    """
    table = shard.docs(["row", "offset"])
    pieces: dict[int, list[tuple[int, int]]] = {}
    for entry, (row, offset) in enumerate(
        zip(table["row"].to_pylist(), table["offset"].to_pylist(), strict=True)
    ):
        pieces.setdefault(row, []).append((offset, entry))
    ordered = {row: sorted(parts) for row, parts in pieces.items()}
    if not tail_dropped:
        return ordered
    eos = shard_eos(shard.path)
    return {row: parts for row, parts in ordered.items() if _is_whole(shard, parts, eos)}


def _is_whole(shard: Shard, parts: list[tuple[int, int]], eos: int) -> bool:
    """Return whether the pieces follow one another from 0 on to an EOS."""
    wanted = 0
    for offset, entry in parts:
        if offset != wanted:
            return False
        wanted += len(shard.entry(entry))
    return int(shard.entry(parts[-1][1])[-1]) == eos


def _compare_block(work: _Work) -> Compared:
    return compare(work.tokenizer, work.family, work.texts())
