"""Encoders: batches of texts → flat ids in NumPy, no Python object a token.

Three independent implementations of the same function. ``fastokens`` (Rust, some 70 MB a CPU-second) is the
default; ``tiktoken`` (Rust, some 6) stands in for it; ``tokenizers`` (Rust, some 1.3) is the reference that
the others are tested against (:mod:`smoltok.selftest`). None of them knows a control token, so text that
spells one stays text in all of them; the end-of-document id is appended by number
(:mod:`smoltok.encoding`).

Loading costs 1 to 2 s and 250 MB, once a process: :func:`load`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from smoldata.errors import TokenizerError
from smoltok import preload
from smoltok.tokenizer import Tokenizer
from smoltok.vocabulary import load_ranks, model_json

Flat = tuple[NDArray[np.uint32], NDArray[np.int64]]
"""Ids of all texts, and len(texts) + 1 offsets: text ``i`` is ``ids[offsets[i]:offsets[i + 1]]``."""


class Engine(Protocol):
    """Encodes texts that hold no lone surrogate; never adds BOS, EOS or any control token."""

    name: str

    def encode_flat(self, texts: Sequence[str]) -> Flat:
        """Return the flat ids and offsets of ``texts``."""
        ...


class Fastokens:
    """crusoecloud/fastokens: the fast one. Its results are two byte buffers, read in place by NumPy."""

    name = "fastokens"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._native = preload.native(tokenizer)

    def encode_flat(self, texts: Sequence[str]) -> Flat:
        """Return the flat ids and offsets of ``texts``."""
        ids, offsets = self._native.encode_batch_flat(texts, split_special_tokens=True)
        return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.int64)


class Tiktoken:
    """openai/tiktoken: knows ranks only, so it can stand in for ``ranks`` tokenizers alone."""

    name = "tiktoken"

    def __init__(self, tokenizer: Tokenizer) -> None:
        if tokenizer.kind != "ranks" or tokenizer.pattern is None:
            raise TokenizerError(f"tiktoken cannot load {tokenizer.name}: it has no ranks")
        from tiktoken import Encoding

        ranks = load_ranks(tokenizer)
        self._native: Any = Encoding(
            tokenizer.name, pat_str=tokenizer.pattern, mergeable_ranks=ranks, special_tokens={}
        )

    def encode_flat(self, texts: Sequence[str]) -> Flat:
        """Return the flat ids and offsets of ``texts``."""
        return _flatten([self._native.encode_ordinary(text) for text in texts])


class Reference:
    """huggingface/tokenizers: the reference, with every split as a merge."""

    name = "tokenizers"

    def __init__(self, tokenizer: Tokenizer) -> None:
        from tokenizers import Tokenizer as Native

        self._native: Any = Native.from_str(model_json(tokenizer, reachable_only=False))

    def encode_flat(self, texts: Sequence[str]) -> Flat:
        """Return the flat ids and offsets of ``texts``."""
        encodings = self._native.encode_batch_fast(list(texts), add_special_tokens=False)
        return _flatten([encoding.ids for encoding in encodings])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids``; control tokens are unknown to it."""
        text: str = self._native.decode(list(ids), skip_special_tokens=False)
        return text


ENGINES: dict[str, Callable[[Tokenizer], Engine]] = {
    Fastokens.name: Fastokens,
    Tiktoken.name: Tiktoken,
    Reference.name: Reference,
}
"""In the order of preference."""


@lru_cache(maxsize=8)
def load(tokenizer: Tokenizer, name: str | None = None) -> Engine:
    """Return the engine of that name, or the fastest one that passed the self-test; loaded once a process.

    Raises TokenizerError.
    """
    if name is None:
        from smoltok.selftest import choose

        name = choose(tokenizer)
        return load(tokenizer, name)
    if name not in ENGINES:
        raise TokenizerError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")
    engine = ENGINES[name](tokenizer)
    if tokenizer.kind == "json":
        from smoltok.custom import refuse_forgery

        refuse_forgery(engine, tokenizer)
    return engine


def _flatten(rows: Sequence[Sequence[int]]) -> Flat:
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return np.fromiter(chain.from_iterable(rows), np.uint32, int(offsets[-1])), offsets
