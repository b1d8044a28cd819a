"""The arithmetic of a training token, and how much of a GPU's peak a speed is.

A matrix of n parameters costs 6n operations a token, forward and backward; attention costs 12 x hidden x
layers for each key that a query looks at. Three counts, for they are all quoted: ``full`` (every query
against the whole window, as papers' MFU has it), ``causal`` (half of it) and ``documents`` (only what
document masks leave: what is really computed). SmolLM3-3B at 4,096 tokens: 22.07, 20.26 and less, in GFLOP a
token.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smoltrain.hyperparameters import ModelSize

H100_BF16_FLOPS = 989e12
"""Dense bf16 peak of an H100 SXM (NVIDIA's data sheet); the H200 has the same."""


@dataclass(frozen=True, slots=True)
class TokenFlops:
    """Operations of one training token under three counts of attention."""

    full: float
    causal: float
    documents: float


def parameters(size: ModelSize, vocab_size: int) -> int:
    """Return the number of parameters of a size: SmolLM3-3B with 128,256 entries has 3,075,098,624."""
    head = size.hidden_size // size.num_heads
    attention = size.hidden_size * head * (2 * size.num_heads + 2 * size.num_kv_heads)
    layer = attention + 3 * size.hidden_size * size.intermediate_size + 2 * size.hidden_size
    return size.num_layers * layer + size.hidden_size + vocab_size * size.hidden_size


def token_flops(size: ModelSize, vocab_size: int, sequence_length: int, keys: float) -> TokenFlops:
    """Return the operations of a token; ``keys``: what a query sees on average with masks."""
    dense = 6.0 * parameters(size, vocab_size)
    a_key = 12.0 * size.num_layers * size.hidden_size
    return TokenFlops(
        full=dense + a_key * sequence_length,
        causal=dense + a_key * (sequence_length + 1) / 2,
        documents=dense + a_key * keys,
    )


def mean_keys(positions: npt.NDArray[np.int32]) -> float:
    """Return how many keys a query looks at on average: its position in its document, itself counted."""
    return float(positions.mean()) + 1.0
