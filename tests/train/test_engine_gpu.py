"""On a GPU: the fast path (bf16, varlen, compiled layers, fused loss) trains what plain float32 trains."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")

from smoltrain.bundle import Places  # noqa: E402 - after the check for torch
from smoltrain.engine import Compute, Engine  # noqa: E402
from smoltrain.hyperparameters import SIZES  # noqa: E402
from smoltrain.loader import Batch  # noqa: E402
from smoltrain.model import build_config, build_model  # noqa: E402
from smoltrain.windows import targets  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
VOCAB, LENGTH, EOS = 1000, 256, 0


def batch(seed: int) -> Batch:
    """Return four windows of random tokens with documents of 1 to 256 tokens."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, VOCAB, (4, LENGTH + 1)).astype(np.uint32)
    tokens[rng.random(tokens.shape) < 1 / 40] = EOS
    tokens[3] = np.maximum(tokens[3], 1)
    made, none = targets(tokens, EOS), np.zeros(4, np.int64)
    return Batch(0, made.ids, made.positions, made.labels, made.mask, Places(none, none, none, none, none))


def engine(compute: Compute) -> Engine:
    config = build_config(
        SIZES["debug"], vocab_size=VOCAB, eos_id=EOS, sequence_length=LENGTH, rope_theta=5e4
    )

    def build() -> Any:
        with torch.device("cpu"):
            return build_model(config, 1)

    return Engine(lambda: build().to(compute.device), compute, 1e-3)


def train(compute: Compute, steps: int, micro_batch: int) -> list[float]:
    one = engine(compute)
    losses = []
    for step in range(steps):
        made = batch(step % 2)
        losses.append(one.backward(made, micro_batch, int(made.mask.sum())).item())
        one.update(1e-3)
    return losses


def test_the_fast_path_follows_float32() -> None:
    plain = train(Compute("cuda", "float32", "sdpa"), 12, 4)
    fast = train(Compute.best("cuda"), 12, 2)
    assert plain[-1] < plain[0] - 0.3
    assert np.allclose(plain, fast, atol=0.02)


def test_another_document_changes_nothing() -> None:
    one = engine(replace(Compute.best("cuda"), compiled=False))
    made = batch(3)
    second = int(np.flatnonzero(made.positions[0] == 0)[1])
    mask = made.mask.copy()
    mask[:, :] = False
    mask[0, second:] = made.mask[0, second:]
    other = made.ids.copy()
    other[0, : second - 1] = (other[0, : second - 1] + 7) % (VOCAB - 1) + 1
    losses = [
        one.backward(replace(made, ids=ids, mask=mask), 4, int(mask.sum())).item()
        for ids in (made.ids, other)
    ]
    assert losses[0] == losses[1]
