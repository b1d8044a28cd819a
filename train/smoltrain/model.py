"""A size and a tokenizer's numbers into transformers' SmolLM3, and its loss with documents kept apart.

Attention: transformers derives an exact block-diagonal causal mask from positions that restart, for sdpa and
eager, but only when nothing is cached; with its default ``use_cache=True`` documents see each other without a
word. So :func:`hidden_states` is the only place that calls the model, and it never caches. Loss: torch's
chunked ``linear_cross_entropy``, so that logits [tokens, vocabulary] never exist as a whole: at 128,256
entries a chunk of 256 tokens is 131 MB where 4,096 tokens would be 2.1 GB, several times over.
"""

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from smoltrain.hyperparameters import INITIALIZER_STD, NO_ROPE_LAYER_INTERVAL, RMS_NORM_EPS, ModelSize

IGNORED = -100
LOSS_CHUNK_TOKENS = 256


def build_config(
    size: ModelSize, *, vocab_size: int, eos_id: int, sequence_length: int, rope_theta: float
) -> Any:
    """Return the ``SmolLM3Config`` of a size for a tokenizer and a sequence length."""
    from transformers import SmolLM3Config

    return SmolLM3Config(
        vocab_size=vocab_size,
        hidden_size=size.hidden_size,
        intermediate_size=size.intermediate_size,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.num_heads,
        num_key_value_heads=size.num_kv_heads,
        max_position_embeddings=sequence_length,
        initializer_range=INITIALIZER_STD,
        rms_norm_eps=RMS_NORM_EPS,
        rope_parameters={"rope_type": "default", "rope_theta": rope_theta},
        no_rope_layer_interval=NO_ROPE_LAYER_INTERVAL,
        tie_word_embeddings=True,
        # No padding id: the embedding of one would get no gradient, and a small vocabulary may not have it.
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=eos_id,
        use_cache=False,
        attn_implementation="sdpa",
    )


def build_model(config: Any, seed: int) -> nn.Module:
    """Return a new ``SmolLM3ForCausalLM`` in float32; the same seed gives the same weights."""
    from transformers import SmolLM3ForCausalLM

    torch.manual_seed(seed)
    return cast("nn.Module", SmolLM3ForCausalLM(config))


def load_model(folder: Path) -> nn.Module:
    """Load a checkpoint folder in Hugging Face form (safetensors only, no remote code)."""
    from transformers import SmolLM3ForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = SmolLM3ForCausalLM.from_pretrained(
        str(folder), attn_implementation="sdpa", use_safetensors=True, trust_remote_code=False
    )
    return cast("nn.Module", model)


def hidden_states(model: nn.Module, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return the last hidden states [B, seq, hidden] with exact document masks from ``positions``."""
    body: Any = model.model
    states = body(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
    return cast("torch.Tensor", states)


def summed_loss(
    model: nn.Module, ids: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Return the sum over unmasked labels of -ln p(label), in nats; all arguments are [B, seq]."""
    states = hidden_states(model, ids, positions)[mask]
    if not len(states):
        return states.sum()
    head = cast("nn.Linear", model.lm_head).weight
    options = nn.LinearCrossEntropyOptions(chunking_method=None, batch_chunk_size=LOSS_CHUNK_TOKENS)
    return functional.linear_cross_entropy(states, head, labels[mask], reduction="sum", options=options)


def token_losses(
    model: nn.Module, ids: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Return -ln p(label) of every unmasked label, in nats, in reading order; without gradients."""
    with torch.no_grad():
        states = hidden_states(model, ids, positions)[mask]
        head = cast("nn.Linear", model.lm_head).weight
        wanted = labels[mask]
        pieces = [
            functional.cross_entropy(functional.linear(part, head), label, reduction="none")
            for part, label in zip(
                torch.split(states, LOSS_CHUNK_TOKENS), torch.split(wanted, LOSS_CHUNK_TOKENS), strict=True
            )
        ]
        return torch.cat(pieces) if pieces else torch.zeros(0)
