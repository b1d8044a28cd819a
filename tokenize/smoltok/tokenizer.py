"""A tokenizer as a value: which vocabulary, which end-of-document id, how wide a token is on disk.

Turns a name or a path into a :class:`Tokenizer`. The shipped ``llama-3.2`` is Llama-3.2's vocabulary without
BOS, as SmolLM3 was pretrained; its numbers stand here and nowhere else. Resolving it opens no file; a user's
own file is read once, to hash it and to infer its end-of-document id and its width.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from smoldata.errors import TokenizerError

Kind = Literal["ranks", "json"]

LLAMA_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Llama-3's split pattern, from its published tokenizer code."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LARGEST_NARROW = 1 << 16


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """What decides every byte of a token shard, apart from the text."""

    name: str
    """Line 1 of each shard's metadata and the folder under ``tokens/``."""
    kind: Kind
    """``ranks``: tiktoken ranks with ``pattern``; ``json``: a Hugging Face ``tokenizer.json``."""
    sha256: str
    """Of the vocabulary file; for ``llama-3.2`` of its canonical ranks, wherever they were found."""
    eos_id: int
    """Written after each document."""
    vocab_size: int
    """Ids are below this number; control tokens count."""
    path: Path | None = None
    """The user's file; None: found by :mod:`smoltok.vocabulary`."""
    bos_id: int | None = None
    """An id that must never occur in a shard; None: the tokenizer has none."""
    pattern: str | None = None
    """Split pattern of ``ranks``."""

    def __post_init__(self) -> None:
        """Refuse a name that could not stand in a path or in the first line of a shard's metadata."""
        if not _NAME.fullmatch(self.name):
            raise TokenizerError(
                f"tokenizer name {self.name!r} must be letters, digits, '.', '_' or '-'; rename its file"
            )
        if not 0 <= self.eos_id < self.vocab_size:
            raise TokenizerError(
                f"end-of-document id {self.eos_id} of tokenizer {self.name} is outside its vocabulary "
                f"of {self.vocab_size}; give the right id as eos"
            )

    @property
    def token_width(self) -> int:
        """Bytes a token on disk: 2 while every id fits in uint16, else 4 (datatrove's rule)."""
        return 2 if self.vocab_size <= _LARGEST_NARROW else 4

    @property
    def dtype(self) -> str:
        """NumPy type of the ids on disk."""
        return f"<u{self.token_width}"

    def as_json(self) -> dict[str, object]:
        """Return the record for plans and manifests (docs/formats.md)."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "eos_id": self.eos_id,
            "token_width": self.token_width,
            "vocab_size": self.vocab_size,
        }


LLAMA_3_2 = Tokenizer(
    name="llama-3.2",
    kind="ranks",
    sha256="82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55",
    eos_id=128001,
    vocab_size=128256,
    bos_id=128000,
    pattern=LLAMA_PATTERN,
)
"""128,000 ranks, 256 control tokens above them; SmolLM3's pretraining tokenizer."""

SHIPPED = {LLAMA_3_2.name: LLAMA_3_2}


def resolve(
    name_or_path: str | Path = LLAMA_3_2.name,
    *,
    eos: int | str | None = None,
    pattern: str | None = None,
    name: str | None = None,
) -> Tokenizer:
    """Return the shipped tokenizer of that name, or one described by the file at that path.

    ``eos`` (an id or a token's text) is needed for a user's file only if the file does not tell it.
    ``pattern`` is the split pattern of tiktoken ranks, Llama-3's if it is left out; ``name`` replaces the
    name that a user's file gets from its path.
    A path to a ``tokenizer.json``, to tiktoken ranks, or to a folder that holds one of them.
    Raises TokenizerError.
    """
    shipped = SHIPPED.get(str(name_or_path))
    if shipped is None:
        from smoltok.custom import describe

        described = describe(Path(name_or_path), eos=eos, pattern=pattern)
        return replace(described, name=name) if name else described
    if eos is not None and eos != shipped.eos_id:
        raise TokenizerError(
            f"tokenizer {shipped.name} ends documents with {shipped.eos_id}, not with {eos!r}; "
            "for another one give the path of a tokenizer file"
        )
    return shipped
