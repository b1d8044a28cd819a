"""The order of documents in a shard: as in the file, or shuffled exactly as datatrove shuffles.

datatrove's ``DocumentTokenizer`` draws from one ``numpy.random.default_rng(seed)`` a shard: first a
permutation of the documents, then, if asked, it cuts the result into chunks of so many tokens, wherever
documents end, and permutes the chunks. The last, shorter chunk is lost there; here it is kept at the end,
unless ``drop_tail`` asks for the compatible loss. A document that a cut divides becomes several entries of
the index.

Pure index arithmetic: 40 bytes a document, no token is touched.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoldata.errors import InputError


@dataclass(frozen=True, slots=True)
class DocumentOrder:
    """How a training shard orders its documents; the validation split is never shuffled."""

    seed: int | None = None
    """None: the order of the file."""
    documents: bool = True
    """Whether documents are shuffled, given a seed."""
    chunk: int | None = None
    """Tokens a chunk, if chunks are shuffled (nanotron's window is sequence length + 1)."""
    drop_tail: bool = False
    """Lose the last, shorter chunk as datatrove does."""

    def __post_init__(self) -> None:
        """Refuse settings that would silently do nothing."""
        if self.chunk is not None and self.chunk < 1:
            raise InputError(f"a shuffled chunk has {self.chunk} tokens; give at least 1, such as 4097")
        if self.seed is None and (self.chunk is not None or self.drop_tail):
            raise InputError("shuffling needs a seed; give one, such as --seed 6")
        if self.drop_tail and self.chunk is None:
            raise InputError("only chunk shuffling has a tail to drop; give --chunk or leave --drop-tail out")
        if self.seed is not None and not self.documents and self.chunk is None:
            raise InputError("a seed that shuffles neither documents nor chunks does nothing; leave it out")

    def describe(self) -> str:
        """Return the text that the manifest records."""
        if self.seed is None:
            return "file"
        parts = ["documents"] if self.documents else []
        parts += [f"chunks of {self.chunk}"] if self.chunk is not None else []
        parts += ["tail dropped"] if self.drop_tail else []
        return ", ".join([*parts, f"seed {self.seed}"])


FILE_ORDER = DocumentOrder()


@dataclass(frozen=True, slots=True)
class Entries:
    """Pieces of an unshuffled shard in their new order; each array is int64 [entries]."""

    begin: NDArray[np.int64]
    """First token in the unshuffled shard."""
    length: NDArray[np.int64]
    document: NDArray[np.int64]
    """Which document of the unshuffled shard it is from."""
    offset: NDArray[np.int64]
    """Tokens of the document before it."""

    def take(self, rows: NDArray[np.intp]) -> "Entries":
        """Return the entries at ``rows``."""
        return Entries(self.begin[rows], self.length[rows], self.document[rows], self.offset[rows])


def arrange(ends: NDArray[np.int64], order: DocumentOrder) -> Entries:
    """Return the entries of a shard whose documents end at ``ends``, in their order. Raises InputError."""
    entries = _whole(ends)
    if order.seed is None:
        return entries
    source = np.random.default_rng(order.seed)
    if order.documents:
        entries = entries.take(source.permutation(len(ends)))
    if order.chunk is None:
        return entries
    return _shuffle_chunks(entries, order.chunk, order.drop_tail, source)


def _whole(ends: NDArray[np.int64]) -> Entries:
    begin = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else np.zeros(0, np.int64)
    return Entries(begin, ends - begin, np.arange(len(ends), dtype=np.int64), np.zeros(len(ends), np.int64))


def _shuffle_chunks(entries: Entries, chunk: int, drop_tail: bool, source: np.random.Generator) -> Entries:
    pieces, chunk_of = _cut(entries, chunk)
    chunks = int(entries.length.sum()) // chunk
    if chunks == 0 and drop_tail:
        raise InputError(
            f"a shard of {int(entries.length.sum()):,} tokens is shorter than one chunk of {chunk:,}: "
            "dropping its tail would lose all of it; leave --drop-tail out or give larger document files"
        )
    place = np.empty(chunks + 1, np.int64)
    place[source.permutation(chunks)] = np.arange(chunks)
    place[chunks] = chunks
    rows = np.argsort(place[chunk_of], kind="stable")
    return pieces.take(rows[place[chunk_of[rows]] < chunks] if drop_tail else rows)


def _cut(entries: Entries, chunk: int) -> tuple[Entries, NDArray[np.int64]]:
    """Cut entries at every multiple of ``chunk`` tokens; return the pieces and the chunk that each is in."""
    ends = np.cumsum(entries.length)
    total = int(ends[-1])
    cuts = np.union1d(ends, np.arange(chunk, total + 1, chunk, dtype=np.int64))
    starts = np.concatenate([np.zeros(1, np.int64), cuts[:-1]])
    owner = np.searchsorted(ends, starts, side="right")
    inside = starts - (ends - entries.length)[owner]
    pieces = Entries(
        entries.begin[owner] + inside, cuts - starts, entries.document[owner], entries.offset[owner] + inside
    )
    return pieces, starts // chunk
