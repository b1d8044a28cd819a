"""The stand-in for flash-attn: its mathematics against plain ones; never in its place unasked."""

import subprocess
import sys

import pytest
import torch

from smoldata.errors import InputError
from smoltrain.nanotron import standin
from smoltrain.nanotron.standin_ring import flash_attn_varlen_backward, flash_attn_varlen_forward

ENDS = torch.tensor([0, 5, 6, 16], dtype=torch.int32)


def heads(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def test_documents_attend_to_themselves_alone() -> None:
    q, k, v = heads(16, 4, 8), heads(16, 2, 8), heads(16, 2, 8) * 2
    got = standin.flash_attn_varlen_func(q, k, v, ENDS, ENDS, 10, 10, causal=True)
    document = torch.bucketize(torch.arange(16), ENDS[1:], right=True)
    allowed = (document[:, None] == document[None]) & torch.ones(16, 16).tril().bool()
    for head in range(4):
        scores = q[:, head] @ k[:, head // 2].T / 8**0.5
        weights = torch.softmax(scores.masked_fill(~allowed, -torch.inf), -1)
        assert torch.allclose(got[:, head], weights @ v[:, head // 2])
    packed = standin.flash_attn_varlen_kvpacked_func(
        q, torch.stack((k, v), 1), ENDS, ENDS, 10, 10, causal=True
    )
    assert torch.equal(packed, got)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotation_keeps_lengths_and_depends_on_distance_alone(interleaved: bool) -> None:
    rotary = standin.RotaryEmbedding(8, base=100.0, interleaved=interleaved).double()
    q = heads(1, 1, 2, 8).expand(1, 12, 2, 8)
    kv = heads(1, 1, 2, 2, 8).expand(1, 12, 2, 2, 8)
    turned, both = rotary(q, kv)
    assert torch.allclose(turned.norm(dim=-1), q.norm(dim=-1))
    assert torch.equal(both[:, :, 1], kv[:, :, 1])
    scores = torch.einsum("thd,shd->hts", turned[0], both[0, :, 0])
    for distance in range(-11, 12):
        diagonal = torch.diagonal(scores, distance, 1, 2)
        assert torch.allclose(diagonal, diagonal[:, :1].expand_as(diagonal), atol=1e-5)
    assert not torch.allclose(scores[:, 0, 0], scores[:, 0, 5])


def test_rotation_is_by_the_angles_of_the_paper() -> None:
    x = heads(1, 3, 1, 4)
    angles = torch.outer(torch.arange(3), torch.tensor([1.0, 0.1])).double()
    got = standin.apply_rotary_emb(x, angles.cos(), angles.sin())
    pairs = torch.complex(x[..., :2], x[..., 2:]) * torch.polar(torch.ones_like(angles), angles)[:, None]
    assert torch.allclose(got, torch.cat((pairs.real, pairs.imag), -1), atol=1e-6)


def test_the_norm_is_the_root_mean_square() -> None:
    x, weight = heads(3, 8), heads(8)
    got = standin.layer_norm_fn(x, weight, None, eps=1e-6, is_rms_norm=True)
    assert torch.allclose(got, x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weight)


def test_what_it_lacks_it_refuses() -> None:
    q = heads(16, 4, 8)
    for arguments in ({"dropout_p": 0.1}, {"alibi_slopes": q}, {"softcap": 1.0}, {"window_size": (4, 0)}):
        with pytest.raises(InputError, match="stand-in"):
            standin.flash_attn_varlen_func(q, q, q, ENDS, ENDS, 10, 10, causal=True, **arguments)
    with pytest.raises(InputError, match="plain RMS"):
        standin.layer_norm_fn(q, q[0, 0], q[0, 0], is_rms_norm=True)


def test_the_ring_kernels_attend_a_part_of_the_queries_to_all_keys_before_them() -> None:
    """Two ranks of a context-parallel group: each has half of the queries; a document lies across the cut."""
    q, k, v = (heads(16, n, 8).requires_grad_() for n in (4, 2, 2))
    whole = standin.flash_attn_varlen_func(q, k, v, ENDS, ENDS, 10, 10, causal=True)
    upstream = heads(16, 4, 8) * 3
    wanted = torch.autograd.grad((whole * upstream).sum(), (q, k, v))
    sums = [torch.zeros_like(one) for one in (q, k, v)]
    q, k, v = q.detach(), k.detach(), v.detach()
    for here, keys, ends_q, ends_k in (
        (slice(0, 8), slice(0, 8), [0, 5, 6, 8], [0, 5, 6, 8]),
        (slice(8, 16), slice(6, 16), [0, 8], [0, 10]),  # the document began two tokens before the cut
    ):
        bounds = torch.tensor(ends_q, dtype=torch.int32), torch.tensor(ends_k, dtype=torch.int32)
        given = q[here], k[keys], v[keys]
        out, lse, *_ = flash_attn_varlen_forward(*given, *bounds, 10, 10, 0.0, 8**-0.5, causal=True)
        assert torch.allclose(out, whole[here].detach())
        made = [torch.empty_like(one) for one in given]
        flash_attn_varlen_backward(
            upstream[here], *given, out, lse, *made, *bounds, 10, 10, 0.0, 8**-0.5, causal=True
        )
        for total, part, place in zip(sums, made, (here, keys, keys), strict=True):
            total[place] += part
    assert all(torch.allclose(got, one) for got, one in zip(sums, wanted, strict=True))
    with pytest.raises(InputError, match="deterministic ring"):
        flash_attn_varlen_forward(q, k, v, ENDS, ENDS, 10, 10, 0.1, 1.0, causal=True)


SCRIPT = """
import sys, types
from smoldata.errors import InputError
from smoltrain.nanotron import standin
assert "flash_attn" not in sys.modules
standin.install()
from flash_attn.flash_attn_interface import _flash_attn_varlen_forward, flash_attn_with_kvcache
from flash_attn.layers.rotary import RotaryEmbedding
import flash_attn
assert flash_attn.__version__ == "2.6.3" and RotaryEmbedding is standin.RotaryEmbedding
try:
    flash_attn_with_kvcache()
except InputError as error:
    print(error)
try:
    standin.install()
except InputError as error:
    print(error)
"""


def test_it_is_installed_when_asked_and_never_over_flash_attn() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    absent, taken = done.stdout.splitlines()
    assert "has no flash_attn_with_kvcache" in absent
    assert "install flash-attn 2.6.3" in absent
    assert "flash-attn is installed here" in taken
