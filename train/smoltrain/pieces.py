"""A bundle's tokenizer into the bytes of each token: ids back into text, and tokens into byte counts.

Works for byte-level vocabularies (tiktoken ranks, or a byte-level ``tokenizer.json``), where a text is the
concatenation of its tokens' bytes. Cost: reading the vocabulary once, a second for 128,256 entries.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smoldata.errors import TokenizerError
from smoltok.tokenizer import SHIPPED, Tokenizer, resolve
from smoltok.vocabulary import load_ranks, read_ranks
from smoltrain.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Pieces:
    """The bytes of each token; empty for control tokens."""

    bytes_of: list[bytes]

    def text(self, ids: npt.NDArray[np.integer]) -> str:
        """Return the text of ``ids``; a cut character at either end shows as U+FFFD."""
        return b"".join(self.bytes_of[token] for token in ids.tolist()).decode("utf-8", "replace")

    def lengths(self) -> npt.NDArray[np.int64]:
        """Return the number of bytes of each token."""
        return np.array([len(piece) for piece in self.bytes_of], np.int64)


def tokenizer_of(bundle: Bundle, path: Path | None = None) -> Tokenizer:
    """Return the tokenizer that a bundle was planned with; one of the user's own is found at ``path``.

    Raises :class:`TokenizerError` if it is not found, or not the one whose hash the plan records.
    """
    facts = bundle.plan.tokenizer
    if path is None and facts.name not in SHIPPED:
        raise TokenizerError(
            f"{bundle.folder} was planned with the tokenizer {facts.name!r}, which is not a shipped one; "
            "give its file with --tokenizer"
        )
    found = resolve(facts.name if path is None else path, eos=bundle.eos_id)
    if found.sha256 != facts.sha256:
        raise TokenizerError(
            f"tokenizer {path or facts.name} has sha256 {found.sha256}, the plan records {facts.sha256}; "
            "give the file that the shards were made with"
        )
    return found


def load_pieces(tokenizer: Tokenizer) -> Pieces:
    """Return the bytes of each token; raises :class:`TokenizerError` if the vocabulary is not byte-level."""
    if tokenizer.kind == "json" and tokenizer.path is not None:
        ranks = read_ranks(tokenizer.path)
    else:
        ranks = load_ranks(tokenizer)
    pieces = [b""] * tokenizer.vocab_size
    for piece, token in ranks.items():
        pieces[token] = piece
    pieces[tokenizer.eos_id] = b""
    return Pieces(pieces)
