"""A size and a tokenizer's numbers into transformers' SmolLM3, and its loss with documents kept apart.

Attention: transformers derives an exact block-diagonal causal mask from positions that restart, for sdpa and
eager, but only when nothing is cached; with its default ``use_cache=True`` documents see each other without a
word. So :func:`hidden_states` is the only place that calls the model, and it never caches. The other kernels
are in :mod:`smoltrain.attention`, the loss without all logits in :mod:`smoltrain.loss`.
"""

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from smoltrain.attention import Documents
from smoltrain.hyperparameters import INITIALIZER_STD, NO_ROPE_LAYER_INTERVAL, RMS_NORM_EPS, ModelSize
from smoltrain.loss import CPU_CHUNK_TOKENS, IGNORED, summed_cross_entropy

__all__ = [
    "IGNORED",
    "LossModel",
    "build_config",
    "build_model",
    "hidden_states",
    "load_model",
    "summed_loss",
    "token_losses",
]


def build_config(
    size: ModelSize,
    *,
    vocab_size: int,
    eos_id: int,
    sequence_length: int,
    rope_theta: float,
    no_rope_interval: int | None = None,
) -> Any:
    """Return the ``SmolLM3Config`` of a size for a tokenizer and a sequence length.

    ``no_rope_interval``: every which layer has no rotary positions, if not every 4th; 0: all have them.
    """
    from transformers import SmolLM3Config

    interval = NO_ROPE_LAYER_INTERVAL if no_rope_interval is None else no_rope_interval
    uses_rope = [int(not interval or (layer + 1) % interval != 0) for layer in range(size.num_layers)]
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
        no_rope_layers=uses_rope,
        no_rope_layer_interval=interval or NO_ROPE_LAYER_INTERVAL,
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


def hidden_states(
    model: nn.Module, ids: torch.Tensor, positions: torch.Tensor, documents: Documents | None = None
) -> torch.Tensor:
    """Return the last hidden states [B, seq, hidden] with documents kept apart.

    With ``documents`` the rows become one line and attention is told where each begins; without, transformers
    makes exact masks from ``positions``.
    """
    body: Any = model.model
    if documents is None:
        states = body(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
        return cast("torch.Tensor", states)
    line = body(
        input_ids=ids.reshape(1, -1),
        position_ids=positions.reshape(1, -1),
        attention_mask={"full_attention": None},
        use_cache=False,
        cu_seq_lens_q=documents.bounds,
        max_length_q=documents.longest,
    ).last_hidden_state
    return cast("torch.Tensor", line).reshape(*ids.shape, -1)


class LossModel(nn.Module):
    """A causal model whose forward pass is the summed loss: what FSDP wraps, with all weights."""

    def __init__(self, causal: nn.Module) -> None:
        super().__init__()
        self.causal = causal

    def forward(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        labels: torch.Tensor,
        documents: Documents | None = None,
    ) -> torch.Tensor:
        """Return the sum of -ln p(label), in nats, over labels [B, seq] but those that are -100."""
        states = hidden_states(self.causal, ids, positions, documents).flatten(0, 1)
        head = cast("nn.Linear", self.causal.lm_head).weight
        return summed_cross_entropy(states, head, labels.flatten())


def summed_loss(
    model: nn.Module, ids: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Return the sum over unmasked labels of -ln p(label), in nats; all arguments are [B, seq]."""
    loss = LossModel(model)(ids, positions, labels.masked_fill(~mask, IGNORED))
    return cast("torch.Tensor", loss)


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
                torch.split(states, CPU_CHUNK_TOKENS), torch.split(wanted, CPU_CHUNK_TOKENS), strict=True
            )
        ]
        return torch.cat(pieces) if pieces else torch.zeros(0)
