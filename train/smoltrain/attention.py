"""Documents of a batch kept apart in attention, by the kernel that the machine has.

``varlen``: the rows of a batch become one line of documents, and torch's variable-length attention
(``torch.nn.attention.varlen``, FlashAttention kernels) works on each alone: no mask exists, and no arithmetic
is spent across documents. It needs CUDA and bf16. ``sdpa`` and ``flex_attention`` are transformers' own,
which derive an exact mask from positions that restart; they work anywhere, sdpa with a mask [seq, seq] a row.

Cost of varlen: proportional to the sum of squares of the documents' lengths.
"""

import inspect
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from smoldata.errors import InputError

ATTENTIONS = ("auto", "varlen", "flex_attention", "flash_attention_2", "sdpa", "eager")
VARLEN = "smoltrain_varlen"
"""The name under which transformers finds :func:`varlen_attention`."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Where documents lie in the rows of a batch, one row after the other."""

    bounds: torch.Tensor
    """int32 [documents + 1], from 0 to the number of tokens."""
    longest: int
    """No document is longer: the length of a row."""


def documents_of(positions: npt.NDArray[np.int32], device: torch.device) -> Documents:
    """Return the documents of ``positions`` [B, seq]: one begins wherever a position is 0."""
    begins = np.flatnonzero(positions.reshape(-1) == 0)
    bounds = np.append(begins, positions.size).astype(np.int32)
    tensor = torch.from_numpy(bounds).to(device, non_blocking=True)
    # The number of documents changes from batch to batch; compiled code must not be made anew for each.
    torch._dynamo.mark_dynamic(tensor, 0)  # noqa: SLF001 - documented by torch under this name only
    return Documents(tensor, positions.shape[1])


def choose(wanted: str, device: torch.device) -> str:
    """Return the attention that transformers is told to use; ``auto``: varlen on CUDA, else sdpa.

    Raises :class:`InputError` where ``varlen`` is asked for and can't run.
    """
    if wanted not in ATTENTIONS:
        raise InputError(f"unknown attention {wanted!r}; there are {', '.join(ATTENTIONS)}")
    if wanted not in ("auto", "varlen"):
        return wanted
    if device.type == "cuda" and _varlen() is not None:
        register()
        return VARLEN
    if wanted == "varlen":
        raise InputError(
            "variable-length attention needs CUDA and torch 2.10 or later; here is "
            f"{device.type} and torch {torch.__version__}: use --attention sdpa"
        )
    return "flex_attention" if device.type == "cuda" else "sdpa"


def register() -> None:
    """Tell transformers of ``varlen`` attention; again does nothing."""
    from transformers import AttentionInterface

    AttentionInterface.register(VARLEN, varlen_attention)


def _varlen() -> Any:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


def _options() -> tuple[dict[str, Any], bool]:
    """Return how this torch is told "causal", and whether it takes fewer heads of keys than of queries."""
    function = _varlen()
    known = inspect.signature(function).parameters if function is not None else {}
    causal: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    grouped = "enable_gqa" in known
    return causal | ({"enable_gqa": True} if grouped else {}), grouped


_CAUSAL, _GROUPED = _options()


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend within documents: q, k, v [1, heads, tokens, dim] -> [1, tokens, heads, dim]."""
    del module, attention_mask
    if not _GROUPED:
        repeats = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    states = _varlen()(
        q, k, v, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q, scale=scaling, **_CAUSAL
    )
    return cast("torch.Tensor", states)[None], None
