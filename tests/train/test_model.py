"""The model: documents in one window can't see each other, and the loss is the plain one, in chunks."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")

from smoldata.errors import InputError  # noqa: E402 - after the check for torch
from smoltrain.hyperparameters import SIZES  # noqa: E402
from smoltrain.loss import summed_cross_entropy  # noqa: E402
from smoltrain.model import (  # noqa: E402
    IGNORED,
    build_config,
    build_model,
    hidden_states,
    summed_loss,
    token_losses,
)

VOCAB, LENGTH = 500, 96
LENGTHS = [[1, 30, 1, 1, 63], [96], [50, 46]]
"""Documents in each of three windows, documents of one token among them."""


@pytest.fixture(scope="module")
def model() -> Any:
    config = build_config(
        SIZES["tiny"], vocab_size=VOCAB, eos_id=0, sequence_length=LENGTH, rope_theta=50_000.0
    )
    return build_model(config, seed=1).eval()


@pytest.fixture(scope="module")
def windows() -> Any:
    ids = torch.randint(1, VOCAB, (len(LENGTHS), LENGTH), generator=torch.Generator().manual_seed(2))
    positions = torch.stack([torch.cat([torch.arange(n) for n in lengths]) for lengths in LENGTHS])
    return ids, positions


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("use_cache", [False, True])
def test_packed_documents_equal_separate_ones(
    model: Any, windows: Any, attention: str, *, use_cache: bool
) -> None:
    ids, positions = windows
    model.set_attn_implementation(attention)
    # transformers' own default, which would let documents see each other.
    model.config.use_cache = use_cache
    with torch.no_grad():
        packed = hidden_states(model, ids, positions)
        for row, lengths in enumerate(LENGTHS):
            begin = 0
            for length in lengths:
                alone = ids[row : row + 1, begin : begin + length]
                separate = hidden_states(model, alone, torch.arange(length)[None])
                assert torch.allclose(packed[row, begin : begin + length], separate[0], atol=2e-5)
                begin += length
    model.set_attn_implementation("sdpa")


def test_without_restarting_positions_documents_do_leak(model: Any, windows: Any) -> None:
    """The test above can fail: the same window as one document gives other states."""
    ids, positions = windows
    with torch.no_grad():
        masked = hidden_states(model, ids[2:], positions[2:])
        leaking = hidden_states(model, ids[2:], torch.arange(LENGTH)[None])
    assert not torch.allclose(masked[:, 50:], leaking[:, 50:], atol=1e-2)


def test_the_loss_is_plain_cross_entropy_over_unmasked_labels(model: Any, windows: Any) -> None:
    ids, positions = windows
    labels = ids.roll(-1, dims=1)
    mask = positions.roll(-1, dims=1) != 0
    logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
    wanted = labels.masked_fill(~mask, IGNORED)
    plain = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    chunked = summed_loss(model, ids, positions, labels, mask)
    assert torch.allclose(chunked, plain, rtol=1e-5)
    each = token_losses(model, ids, positions, labels, mask)
    assert each.shape == (int(mask.sum()),)
    assert torch.allclose(each.sum(), plain, rtol=1e-5)
    gradients = []
    for loss in (plain, summed_loss(model, ids, positions, labels, mask)):
        model.zero_grad()
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-3, atol=1e-3), name


def test_a_window_without_labels_costs_nothing(model: Any, windows: Any) -> None:
    ids, positions = windows
    loss = summed_loss(model, ids, positions, ids, torch.zeros_like(ids, dtype=torch.bool))
    model.zero_grad()
    loss.backward()
    assert loss.item() == 0


def test_the_shape_is_smollm3s(model: Any) -> None:
    config = model.config
    assert config.no_rope_layers == [1, 1, 1, 0]
    assert config.tie_word_embeddings
    assert config.pad_token_id is None
    assert config.num_attention_heads // config.num_key_value_heads == 4
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_the_3b_config_has_the_published_parameters() -> None:
    from transformers import SmolLM3ForCausalLM

    config = build_config(
        SIZES["3b"], vocab_size=128_256, eos_id=128_001, sequence_length=4096, rope_theta=50_000.0
    )
    with torch.device("meta"):
        parameters = sum(p.numel() for p in SmolLM3ForCausalLM(config).parameters())
    assert round(parameters / 1e9, 4) == 3.0751


def test_a_torch_without_a_fused_loss_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch.nn, "LinearCrossEntropyOptions")
    states, weight = torch.zeros(4, 8), torch.zeros(16, 8)
    with pytest.raises(InputError, match=r"no fused cross-entropy: install torch 2\.13"):
        summed_cross_entropy(states, weight, torch.zeros(4, dtype=torch.int64))
