"""The part of flash-attn 2.6's face that nanotron calls, on kernels that torch itself carries.

flash-attn has to be compiled for one torch and one CUDA; ``torch.nn.attention.varlen`` runs the same
algorithm out of torch's own binaries. :func:`install` puts modules of that name where flash-attn is not
installed, and only when a launch asks for it (``--attention varlen``): nothing is patched, and flash-attn,
where it is wanted, stays what runs. What it does not have says so: dropout, ALiBi, key-value caches.

On a CPU, where torch has no such kernel, each document is attended alone: exact, slow, for tests.
Cost on a GPU: rotary embedding and norm are plain torch operations, 4 % of a step slower than fused ones.
"""

import inspect
import sys
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from smoldata.errors import InputError
from smoltrain.nanotron.standin_ring import (
    VERSION,
    flash_attn_varlen_backward,
    flash_attn_varlen_forward,
    lacks,
)


def install() -> None:
    """Put the stand-in's modules under flash-attn's names; raises :class:`InputError` if those are taken."""
    if "flash_attn" in sys.modules or find_spec("flash_attn") is not None:
        raise InputError(
            "flash-attn is installed here: leave --attention varlen away, or uninstall flash-attn"
        )
    names = {
        "flash_attn": {"__version__": VERSION},
        "flash_attn.bert_padding": {},
        "flash_attn.flash_attn_interface": {
            "flash_attn_varlen_func": flash_attn_varlen_func,
            "flash_attn_varlen_kvpacked_func": flash_attn_varlen_kvpacked_func,
            "_flash_attn_varlen_forward": flash_attn_varlen_forward,
            "_flash_attn_varlen_backward": flash_attn_varlen_backward,
            **{name: _absent(name) for name in _ABSENT},
        },
        "flash_attn.layers": {},
        "flash_attn.layers.rotary": {
            "RotaryEmbedding": RotaryEmbedding,
            "apply_rotary_emb": apply_rotary_emb,
        },
        "flash_attn.modules": {},
        "flash_attn.modules.mha": {"flash_attn_varlen_kvpacked_func": flash_attn_varlen_kvpacked_func},
        "flash_attn.ops": {},
        "flash_attn.ops.triton": {},
        "flash_attn.ops.triton.layer_norm": {"layer_norm_fn": layer_norm_fn},
    }
    for name, values in names.items():
        module = ModuleType(name, "Stand-in by smoltrain.nanotron.standin.")
        module.__path__ = []
        vars(module).update(values)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


_ABSENT = (
    "flash_attn_func",
    "flash_attn_with_kvcache",
    "_flash_attn_forward",
    "_flash_attn_backward",
)


def _absent(name: str) -> Any:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise lacks(name)

    refuse.__name__ = name
    return refuse


def flash_attn_varlen_kvpacked_func(q: torch.Tensor, kv: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    """Attend within documents; ``q`` [tokens, heads, d], ``kv`` [tokens, 2, key heads, d]."""
    return flash_attn_varlen_func(q, kv[:, 0], kv[:, 1], *args, **kwargs)


def flash_attn_varlen_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    block_table: torch.Tensor | None = None,
) -> Any:
    """Attend within documents that end at ``cu_seqlens``: ``q`` [tokens, heads, d] in, the same shape out."""
    if dropout_p or softcap or alibi_slopes is not None or block_table is not None:
        raise lacks("dropout, softcap, ALiBi or block table")
    if deterministic and q.is_cuda:
        raise lacks("deterministic backward pass")
    if not q.is_cuda:
        out = _on_cpu(q, k, v, cu_seqlens_q, causal=causal, scale=softmax_scale, window_size=window_size)
        return (out, torch.zeros(q.shape[1], q.shape[0]), None) if return_attn_probs else out
    known = _varlen_arguments()
    keywords: dict[str, Any] = {"scale": softmax_scale} if "scale" in known else {}
    left, right = window_size
    if "window_size" in known:
        keywords["window_size"] = (left, 0 if causal else right)
    else:
        keywords["is_causal"] = causal
    if "enable_gqa" in known:
        keywords["enable_gqa"] = k.shape[1] != q.shape[1]
    else:
        k, v = _repeated(k, q), _repeated(v, q)
    return _varlen(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, keywords, return_attn_probs
    )


def _varlen(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    ends_q: torch.Tensor,
    ends_k: torch.Tensor,
    max_q: int,
    max_k: int,
    keywords: dict[str, Any],
    with_lse: bool,
) -> Any:
    from torch.nn.attention import varlen

    if not with_lse:
        return varlen.varlen_attn(q, k, v, ends_q, ends_k, max_q, max_k, **keywords)
    aux = varlen.AuxRequest(lse=True)
    out, lse = varlen.varlen_attn(q, k, v, ends_q, ends_k, max_q, max_k, return_aux=aux, **keywords)
    return out, lse, None


@cache
def _varlen_arguments() -> frozenset[str]:
    """Return what this torch's kernel takes: 2.11 has no grouped queries, 2.13 no ``is_causal``."""
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)


def _repeated(states: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Return key or value heads as often as the queries of their group need them."""
    return states.repeat_interleave(q.shape[1] // states.shape[1], dim=1)


def _on_cpu(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    ends: torch.Tensor,
    *,
    causal: bool,
    scale: float | None,
    window_size: tuple[int, int],
) -> torch.Tensor:
    if window_size != (-1, -1):
        raise lacks("sliding window on the CPU")
    k, v = _repeated(k, q), _repeated(v, q)
    bounds = ends.tolist()
    parts = []
    for begin, end in pairwise(bounds):
        here = slice(begin, end)
        q_one, k_one, v_one = (states[here].transpose(0, 1)[None] for states in (q, k, v))
        seen = functional.scaled_dot_product_attention(q_one, k_one, v_one, is_causal=causal, scale=scale)
        parts.append(seen.squeeze(0).transpose(0, 1))
    return torch.cat(parts)


def layer_norm_fn(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None = None,
    eps: float = 1e-6,
    dropout_p: float = 0.0,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    is_rms_norm: bool = False,
    return_dropout_mask: bool = False,
) -> torch.Tensor:
    """Return the root-mean-square norm of ``x`` over its last dimension."""
    others = (dropout_p, prenorm, residual_in_fp32, return_dropout_mask, not is_rms_norm)
    if bias is not None or residual is not None or any(others):
        raise lacks("norm but the plain RMS norm")
    return functional.rms_norm(x, (x.shape[-1],), weight, eps)


def apply_rotary_emb(
    x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, interleaved: bool = False, inplace: bool = False
) -> torch.Tensor:
    """Rotate the first dimensions of ``x`` [batch, tokens, heads, d] by ``cos``, ``sin`` [tokens, d / 2]."""
    width = 2 * cos.shape[-1]
    turned, rest = x[..., :width], x[..., width:]
    cos, sin = cos[: x.shape[1], None].float(), sin[: x.shape[1], None].float()
    if interleaved:
        cos, sin = cos.repeat_interleave(2, -1), sin.repeat_interleave(2, -1)
        swapped = torch.stack((-turned[..., 1::2], turned[..., ::2]), -1).flatten(-2)
    else:
        cos, sin = torch.cat((cos, cos), -1), torch.cat((sin, sin), -1)
        swapped = torch.cat((-turned[..., width // 2 :], turned[..., : width // 2]), -1)
    # Products in float32 by promotion: three passes over the states instead of nine.
    done = torch.addcmul(turned * cos, swapped, sin).to(x.dtype)
    made = torch.cat((done, rest), -1) if rest.shape[-1] else done
    return x.copy_(made) if inplace else made


class RotaryEmbedding(nn.Module):
    """Rotary embedding of queries and packed keys and values, with flash-attn 2.6's constructor and cache."""

    def __init__(
        self,
        dim: int,
        base: float = 10000.0,
        interleaved: bool = False,
        scale_base: float | None = None,
        pos_idx_in_fp32: bool = True,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        if scale_base is not None:
            raise lacks("xPos scaling")
        self.dim, self.base, self.interleaved = dim, float(base), interleaved
        self.scale, self.scale_base, self.pos_idx_in_fp32 = None, scale_base, pos_idx_in_fp32
        self.register_buffer("inv_freq", self._compute_inv_freq(device), persistent=False)
        self._seq_len_cached = 0
        self._cos_cached: torch.Tensor | None = None
        self._sin_cached: torch.Tensor | None = None

    def _compute_inv_freq(self, device: torch.device | None = None) -> torch.Tensor:
        steps = torch.arange(0, self.dim, 2, device=device, dtype=torch.float32)
        return torch.reciprocal(torch.pow(self.base, steps / self.dim))

    def _update_cos_sin_cache(
        self, seqlen: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """Fill the tables of angles; nanotron's subclass replaces this."""
        angles = torch.outer(
            torch.arange(seqlen, device=device, dtype=torch.float32), self._compute_inv_freq(device)
        )
        self._seq_len_cached = seqlen
        self._cos_cached, self._sin_cached = torch.cos(angles).to(dtype), torch.sin(angles).to(dtype)

    def forward(
        self, q: torch.Tensor, kv: torch.Tensor, seqlen_offset: int = 0, max_seqlen: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotate ``q`` [batch, tokens, heads, d] and the keys of ``kv`` [batch, tokens, 2, heads, d]."""
        length = max_seqlen or q.shape[1] + seqlen_offset
        self._update_cos_sin_cache(length, device=q.device, dtype=q.dtype)
        assert self._cos_cached is not None, "it was just filled"
        assert self._sin_cached is not None, "it was just filled"
        cos, sin = self._cos_cached[seqlen_offset:], self._sin_cached[seqlen_offset:]
        keys = apply_rotary_emb(kv[:, :, 0], cos, sin, self.interleaved)
        return apply_rotary_emb(q, cos, sin, self.interleaved), torch.stack((keys, kv[:, :, 1]), 2)
