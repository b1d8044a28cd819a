"""The schedule: rises to the peak, stays, falls towards 0; the published numbers as they were published."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldata.errors import InputError
from smoltrain.hyperparameters import PHASES, SIZES, Optimizer, rope_theta_of, size_named
from smoltrain.schedule import Schedule, scaled


@given(st.integers(1, 5000))
def test_a_run_of_any_length_rises_stays_and_falls(steps: int) -> None:
    schedule = scaled(2e-4, steps)
    rates = [schedule.rate(step) for step in range(steps)]
    assert all(0 < rate <= 2e-4 for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_numbers_by_hand() -> None:
    schedule = Schedule(peak=1.0, steps=10, warmup_steps=2, decay_steps=4)
    assert [schedule.rate(step) for step in range(10)] == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


def test_the_released_run_keeps_its_own_warm_up() -> None:
    assert scaled(2e-4, 4_720_000).warmup_steps == 2000


def test_published_numbers() -> None:
    big, phase = SIZES["3b"], PHASES["stage2"]
    assert (big.hidden_size, big.intermediate_size, big.num_layers) == (2048, 11008, 36)
    assert (big.num_heads, big.num_kv_heads, big.learning_rate) == (16, 4, 2e-4)
    assert (phase.warmup_steps, phase.decay_steps, phase.total_steps) == (2000, 522_000, 4_720_000)
    assert [rope_theta_of(name) for name in PHASES] == [5e4, 5e4, 5e4, 2e6, 5e6]
    assert rope_theta_of("anyone's own") == 5e4
    assert Optimizer() == Optimizer(beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip_grad=1.0)


def test_an_unknown_size_lists_the_sizes() -> None:
    with pytest.raises(InputError, match="the sizes are tiny, debug, 3b"):
        size_named("7b")
