"""The two private kernels of flash-attn 2.6 that nanotron's ring attention calls, on torch's own.

Ring attention over context-parallel ranks gathers the keys of a few heads, attends this rank's queries to
them, and keeps the log-sum-exp for the backward pass. A query may be further along in its document than
this rank's part begins: the causal mask is aligned at the end of both (bottom right). On a GPU torch's
flash-attention does it; on a CPU plain mathematics, for tests. Cost on a GPU: that of flash-attention.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch

from smoldata.errors import InputError

VERSION = "2.6.3"
"""Of the flash-attn whose face this is."""
Bounds = torch.Tensor
Four = tuple[torch.Tensor, torch.Tensor, None, None]


def lacks(what: str) -> InputError:
    """Return the error of a configuration that asks for more of flash-attn than SmolLM3 does."""
    return InputError(
        f"the stand-in for flash-attn has no {what}: install flash-attn {VERSION} and leave "
        "--attention varlen away, or change the configuration"
    )


def flash_attn_varlen_forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: Bounds,
    cu_seqlens_k: Bounds,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float,
    softmax_scale: float,
    causal: bool,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    return_softmax: bool = False,
    block_table: torch.Tensor | None = None,
) -> Four:
    """Return the output [tokens, heads, d] and the log-sum-exp [heads, tokens]."""
    _check(dropout_p, softcap, alibi_slopes, return_softmax, block_table, window_size)
    if q.is_cuda:
        ends = cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k
        # The kernel behind torch's varlen attention, whose public face has no backward from a log-sum-exp.
        forward = torch.ops.aten._flash_attention_forward  # noqa: SLF001 - torch has no public name for it
        made = forward(q, k, v, *ends, 0.0, causal, return_debug_mask=False, scale=softmax_scale)
        return made[0], made[1], None, None
    out, lse = torch.empty_like(q), q.new_empty(q.shape[1], q.shape[0])
    for here, there in _documents(cu_seqlens_q, cu_seqlens_k):
        scores = _scores(q[here], k[there], softmax_scale, causal=causal)
        lse[:, here] = scores.logsumexp(-1)
        out[here] = (scores.softmax(-1) @ _heads(v[there], q)).transpose(0, 1)
    return out, lse, None, None


def flash_attn_varlen_backward(
    dout: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    softmax_lse: torch.Tensor,
    dq: torch.Tensor,
    dk: torch.Tensor,
    dv: torch.Tensor,
    cu_seqlens_q: Bounds,
    cu_seqlens_k: Bounds,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float,
    softmax_scale: float,
    causal: bool,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    deterministic: bool = False,
    rng_state: torch.Tensor | None = None,
) -> None:
    """Write the gradients of ``q``, ``k`` and ``v`` into ``dq``, ``dk`` and ``dv``."""
    _check(dropout_p, softcap, alibi_slopes, deterministic, rng_state, window_size)
    if q.is_cuda:
        state, unused = torch.zeros(2, dtype=torch.uint64, device=q.device), torch.empty(0, device=q.device)
        ends = cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k
        above, done, lse = dout.contiguous(), out.contiguous(), softmax_lse.contiguous()
        backward = torch.ops.aten._flash_attention_backward  # noqa: SLF001 - as above
        made = backward(above, q, k, v, done, lse, *ends, 0.0, causal, state, unused, scale=softmax_scale)
        for into, gradient in zip((dq, dk, dv), made[:3], strict=True):
            into.copy_(gradient)
        return
    dk.zero_()
    dv.zero_()
    groups = q.shape[1] // k.shape[1]
    for here, there in _documents(cu_seqlens_q, cu_seqlens_k):
        weights = (
            _scores(q[here], k[there], softmax_scale, causal=causal) - softmax_lse[:, here, None]
        ).exp()
        above, done = dout[here].transpose(0, 1), out[here].transpose(0, 1)
        inner = above @ _heads(v[there], q).transpose(1, 2) - (above * done).sum(-1, keepdim=True)
        slope = weights * inner * softmax_scale
        dq[here] = (slope @ _heads(k[there], q)).transpose(0, 1)
        for into, parts in (
            (dk, slope.transpose(1, 2) @ q[here].transpose(0, 1)),
            (dv, weights.transpose(1, 2) @ above),
        ):
            into[there] += parts.reshape(-1, groups, *parts.shape[1:]).sum(1).transpose(0, 1)


def _documents(ends_q: Bounds, ends_k: Bounds) -> Iterator[tuple[slice, slice]]:
    """Yield where each document lies in the queries and in the keys."""
    for (q_begin, q_end), (k_begin, k_end) in zip(
        pairwise(ends_q.tolist()), pairwise(ends_k.tolist()), strict=True
    ):
        yield slice(q_begin, q_end), slice(k_begin, k_end)


def _heads(states: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Return [heads of q, tokens, d], key or value heads as often as their group needs."""
    return states.repeat_interleave(q.shape[1] // states.shape[1], dim=1).transpose(0, 1)


def _scores(q: torch.Tensor, k: torch.Tensor, scale: float, *, causal: bool) -> torch.Tensor:
    """Return scaled scores [heads, queries, keys], -inf where a key lies after the query."""
    scores = q.transpose(0, 1) @ _heads(k, q).transpose(1, 2) * scale
    if not causal:
        return scores
    seen = torch.ones(len(q), len(k), dtype=torch.bool).tril(len(k) - len(q))
    return scores.masked_fill(~seen, -torch.inf)


def _check(*others: Any) -> None:
    *unwanted, window = others
    if any(one is not None and one is not False and one != 0.0 for one in unwanted) or tuple(window) != (
        -1,
        -1,
    ):
        raise lacks("dropout, softcap, ALiBi, window or deterministic ring")
