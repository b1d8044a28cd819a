"""What a planner can draw from: the training shards of each source, or a published size, or nothing known.

Small records, so that the planner stays pure; :mod:`smolmix.sources` fills them from manifests or the
registry. A size published in tokens becomes equal virtual shards of :data:`VIRTUAL_SHARD_TOKENS`, the last
one shorter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

import numpy as np

from smolmix.findings import Finding
from smolmix.permutation import I64

VIRTUAL_SHARD_TOKENS: Final = 10**9
"""Tokens of a virtual shard: 4 GB on disk, about what a real tokenized shard has."""


@dataclass(frozen=True, slots=True)
class SourceSupply:
    """The training shards of one source, in canonical order (that of its manifest)."""

    name: str
    tokens: I64 | None
    """Tokens of each shard; None: the size is unknown, one endless virtual shard."""
    virtual: bool = False
    files: Mapping[str, Any] = field(default_factory=dict)
    """Columns of real shards as Arrow arrays: path, documents, bytes, xxh3_128, sha256."""
    findings: tuple[Finding, ...] = ()

    def sizes(self, sequence_length: int) -> I64 | None:
        """Return the windows of each shard: ``tokens // (sequence_length + 1)``."""
        return None if self.tokens is None else self.tokens // (sequence_length + 1)


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """The vocabulary the shards were made with; None where it is not known without data."""

    name: str
    sha256: str | None = None
    eos_id: int | None = None
    token_width: int | None = None
    vocab_size: int | None = None


@dataclass(frozen=True, slots=True)
class Supply:
    """Everything a plan draws from. Sources that are not in it are absent."""

    sources: Mapping[str, SourceSupply]
    tokenizer: TokenizerFacts
    validation_share: Fraction | None = None
    """The share that the shards were split by; None without data."""
    registry: Mapping[str, Any] = field(default_factory=dict)
    """Registry facts that were used, by source; JSON-able."""


def virtual_shards(tokens: int) -> I64:
    """Return the tokens of the virtual shards of a source of that size; they sum to ``tokens``."""
    whole, rest = divmod(tokens, VIRTUAL_SHARD_TOKENS)
    sizes = np.full(whole + (rest > 0), VIRTUAL_SHARD_TOKENS, np.int64)
    if rest:
        sizes[-1] = rest
    return sizes
