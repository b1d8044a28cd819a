"""Hidden states and labels into the summed loss, without holding all logits: a library's fused function.

On CUDA Liger's (Triton) if it is installed, elsewhere torch's own ``linear_cross_entropy`` (torch 2.13); an
older torch without Liger is refused with what to install. Both work chunk by chunk and make the gradients
in the forward pass. At 128,256 entries a chunk of 256 tokens holds 131 MB of float32 logits, one of 4,096
tokens 1.05 GB of bf16: on a GPU large chunks are fast, on a CPU small ones.
"""

from importlib.util import find_spec
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from smoldata.errors import InputError

IGNORED = -100
CPU_CHUNK_TOKENS = 256
CUDA_CHUNK_TOKENS = 4096


def summed_cross_entropy(states: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the sum of -ln p(label), in nats, of ``labels`` [T] but those that are -100.

    ``states`` [T, hidden], ``weight`` [vocabulary, hidden]. Raises :class:`InputError` if neither is there.
    """
    if states.is_cuda and find_spec("liger_kernel") is not None:
        return _liger(states, weight, labels)
    if not hasattr(nn, "LinearCrossEntropyOptions"):
        raise InputError(
            f"torch {torch.__version__} has no fused cross-entropy: install torch 2.13 or newer, or on a GPU "
            "liger-kernel (`pip install smollm3-data-engine[gpu]`)"
        )
    chunk = CUDA_CHUNK_TOKENS if states.is_cuda else CPU_CHUNK_TOKENS
    options = nn.LinearCrossEntropyOptions(chunking_method=None, batch_chunk_size=chunk)
    return functional.linear_cross_entropy(
        states, weight, labels, reduction="sum", ignore_index=IGNORED, options=options
    )


def _liger(states: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    tokens, hidden = states.shape
    # Liger bounds its logits by a multiple of tokens x hidden; its default makes chunks of 256 tokens, which
    # read the output layer anew for little arithmetic each.
    chunk = min(tokens, CUDA_CHUNK_TOKENS)
    memory = max(1, -(-len(weight) * chunk // (hidden * tokens)))
    loss = liger_fused_linear_cross_entropy(
        states,
        weight,
        labels,
        ignore_index=IGNORED,
        reduction="sum",
        accum_dtype=torch.float32,
        chunk_mem_const=memory,
    )
    return cast("torch.Tensor", loss)
