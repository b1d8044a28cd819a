"""In which types and by which kernel a phase's model computes."""

import json
from pathlib import Path
from typing import Any

from smoltrain.post.phases import Phase

_PACKED = "smoltrain_packed"


def stored_type(checkpoint: Path) -> Any:
    """Return the torch type of a checkpoint's weights, as its configuration says: float32 without one."""
    import torch

    config = json.loads((checkpoint / "config.json").read_bytes())
    return getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32"))


def packed_attention(phase: Phase) -> str:
    """Return the attention that transformers is told to use for a phase.

    Best fit decreasing puts several documents on a line and says where each begins. On CUDA the
    variable-length kernel works on each alone; elsewhere, and for padded rows, sdpa with a mask.
    """
    import torch

    from smoltrain.attention import VARLEN, choose

    if phase.packing != "bfd" or not torch.cuda.is_available():
        return "sdpa"
    if choose("auto", torch.device("cuda")) != VARLEN:
        return "sdpa"
    from transformers import AttentionInterface

    AttentionInterface.register(_PACKED, _varlen_in_one_type)
    return _PACKED


def _varlen_in_one_type(module: Any, query: Any, key: Any, value: Any, mask: Any, **named: Any) -> Any:
    """Under autocast rotary positions come out in float32, values in bfloat16: the kernel wants one type."""
    from smoltrain.attention import varlen_attention

    query, key = query.to(value.dtype), key.to(value.dtype)
    return varlen_attention(module, query, key, value, mask, **named)
