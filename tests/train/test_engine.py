"""The engine on a CPU: masters train as float32 does; masks on and off; what is not to be had is said."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")

from smoldata.errors import InputError  # noqa: E402 - after the check for torch
from smoltrain.attention import documents_of  # noqa: E402
from smoltrain.bundle import Places  # noqa: E402
from smoltrain.engine import Compute, Engine  # noqa: E402
from smoltrain.flops import mean_keys, parameters, token_flops  # noqa: E402
from smoltrain.hyperparameters import SIZES  # noqa: E402
from smoltrain.loader import Batch  # noqa: E402
from smoltrain.metrics import duration, peak_flops  # noqa: E402
from smoltrain.model import build_config, build_model  # noqa: E402
from smoltrain.windows import targets  # noqa: E402

VOCAB, LENGTH, EOS = 200, 48, 0
CPU = Compute.best("cpu")


def batch(seed: int = 0, rows: int = 4) -> Batch:
    """Return windows of random tokens, about four documents each."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, VOCAB, (rows, LENGTH + 1)).astype(np.uint32)
    tokens[:, 10:40:10] = EOS
    made, none = targets(tokens, EOS), np.zeros(rows, np.int64)
    return Batch(0, made.ids, made.positions, made.labels, made.mask, Places(none, none, none, none, none))


def model(seed: int = 1) -> Any:
    config = build_config(SIZES["tiny"], vocab_size=VOCAB, eos_id=EOS, sequence_length=LENGTH, rope_theta=5e4)
    return build_model(config, seed)


def test_masters_accumulate_in_float32_what_bf16_makes() -> None:
    """After a step the model is the masters, rounded; gradients over micro-batches lose nothing."""
    engine = Engine(model, Compute("cpu", "bfloat16", "sdpa"), 1e-3)
    made = batch()
    labels = engine.count(made)
    for micro_batch in (1, 4):
        engine.backward(made, micro_batch, labels)
        assert {weight.dtype for weight in engine.weights.values()} == {torch.float32}
        assert all(weight.grad.dtype == torch.float32 for weight in engine.weights.values())
        assert all(parameter.grad is None for parameter in engine.model.parameters())
        before = {name: weight.clone() for name, weight in engine.weights.items()}
        engine.update(1e-3)
        for name, parameter in engine.model.named_parameters():
            assert torch.equal(parameter, engine.weights[name].bfloat16())
            assert not torch.equal(before[name], engine.weights[name])


def test_gradients_of_a_step_do_not_leak_into_the_next() -> None:
    engines = [Engine(model, Compute("cpu", "bfloat16", "sdpa"), 0.0) for _ in range(2)]
    made, other = batch(0), batch(1)
    engines[0].backward(other, 2, engines[0].count(other))
    engines[0].update(0.0)
    norms = []
    for engine in engines:
        engine.backward(made, 2, engine.count(made))
        norms.append(float(engine.update(0.0)))
    assert norms[0] == norms[1]


def test_masters_learn_as_float32_does() -> None:
    losses = []
    for compute in (CPU, Compute("cpu", "bfloat16", "sdpa")):
        engine = Engine(model, compute, 1e-2)
        made = batch()
        for _ in range(12):
            loss = engine.backward(made, 4, engine.count(made))
            engine.update(1e-2)
        losses.append(float(loss))
    assert losses[0] < 5.0 < np.log(VOCAB)
    assert losses[1] == pytest.approx(losses[0], abs=0.05)


def test_without_masks_a_window_is_one_document() -> None:
    made = batch()
    apart, together = Engine(model, CPU, 1.0), Engine(model, CPU, 1.0, document_masks=False)
    assert apart.count(made) == made.mask.sum() < together.count(made) == made.mask.size
    whole = model()
    ids, labels = torch.from_numpy(made.ids), torch.from_numpy(made.labels)
    logits = whole(input_ids=ids, use_cache=False).logits.detach()
    plain = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert float(together.backward(made, 4, together.count(made))) == pytest.approx(plain.item(), rel=1e-5)
    assert float(apart.backward(made, 4, apart.count(made))) != pytest.approx(plain.item(), rel=1e-5)
    # Held-out losses are scored with documents apart whatever the training.
    assert apart.evaluate(made) == pytest.approx(together.evaluate(made))
    assert all(weight.grad is not None for weight in apart.weights.values())


def test_recomputing_layers_changes_nothing() -> None:
    made = batch()
    plain = Engine(model, CPU, 1.0)
    again = Engine(model, Compute("cpu", "float32", recompute=True), 1.0)
    assert plain.backward(made, 4, 100) == again.backward(made, 4, 100)
    for name, weight in plain.weights.items():
        assert torch.equal(weight.grad, again.weights[name].grad)


def test_documents_are_where_positions_begin() -> None:
    found = documents_of(batch(rows=2).positions, torch.device("cpu"))
    assert found.bounds.tolist() == [0, 11, 21, 31, 48, 59, 69, 79, 96]
    assert found.longest == LENGTH


def test_what_a_machine_cannot_do_is_said() -> None:
    with pytest.raises(InputError, match=r"needs CUDA and torch 2\.10"):
        Engine(model, Compute("cpu", "float32", "varlen"), 1.0)
    with pytest.raises(InputError, match="unknown attention 'fast'"):
        Engine(model, Compute("cpu", "float32", "fast"), 1.0)


def test_counts_of_arithmetic() -> None:
    for name in ("tiny", "debug"):
        config = build_config(SIZES[name], vocab_size=VOCAB, eos_id=0, sequence_length=64, rope_theta=5e4)
        made: Any = build_model(config, 0)
        assert parameters(SIZES[name], VOCAB) == sum(one.numel() for one in made.parameters())
    positions = batch().positions
    assert mean_keys(positions) == np.mean([position + 1 for position in positions.ravel().tolist()])
    one = token_flops(SIZES["tiny"], VOCAB, LENGTH, mean_keys(np.arange(LENGTH, dtype=np.int32)[None]))
    assert one.documents == one.causal < one.full


def test_times_and_peaks_as_they_are_printed() -> None:
    assert [duration(value) for value in (7.4, 125, 3_900, 190_000)] == [
        "7 s",
        "2 min",
        "1 h 05 min",
        "2 d 4 h",
    ]
    assert (peak_flops("NVIDIA H100 80GB HBM3"), peak_flops("a new one")) == (989e12, None)
