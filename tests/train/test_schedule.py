"""The schedule: rises to the peak, stays, falls towards 0; the published numbers as they were published."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldata.errors import InputError
from smoltrain.hyperparameters import PHASES, SIZES, Optimizer, rope_theta_of, size_named
from smoltrain.schedule import Schedule, from_nanotron, scaled


@given(st.integers(1, 5000), st.sampled_from(["linear", "cosine"]))
def test_a_run_of_any_length_rises_stays_and_falls(steps: int, style: str) -> None:
    schedule = scaled(2e-4, steps, style)
    rates = [schedule.rate(step) for step in range(steps)]
    assert rates[0] == 0
    assert all(0 < rate <= 2e-4 * 1.000001 for rate in rates[1:])
    top = rates.index(max(rates))
    assert all(after >= before - 1e-12 for before, after in pairwise(rates[: top + 1]))
    assert all(after <= before + 1e-12 for before, after in pairwise(rates[top:]))
    if steps > 20:
        assert max(rates) == pytest.approx(2e-4)
        assert rates[-1] <= 2e-4 * 2.000001 / (steps // 10)


def test_numbers_by_hand() -> None:
    schedule = Schedule(peak=1.0, warmup_steps=2, decay_start=7, decay_steps=4)
    rates = [schedule.rate(step) for step in range(12)]
    assert rates == [0, 0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]


def test_the_released_run_step_by_step() -> None:
    """Numbers of the published file, put into nanotron's formula by hand."""
    published = {
        "learning_rate": 2e-4,
        "lr_warmup_steps": 2000,
        "lr_warmup_style": "linear",
        "lr_decay_starting_step": 4_198_001,
        "lr_decay_steps": 522_000,
        "lr_decay_style": "linear",
        "min_decay_lr": 0,
    }
    rate = from_nanotron(published, 4_720_000).rate
    assert [rate(0), rate(1), rate(1000), rate(2000)] == [0, 2e-4 / 2000, 1e-4, 2e-4]
    assert rate(4_198_001) == rate(2001) == 2e-4
    assert rate(4_198_002) == 2e-4 * 521_999 / 522_000
    assert rate(4_719_999) == 2e-4 * 2 / 522_000
    assert scaled(2e-4, 4_720_000).warmup_steps == 2000
    assert scaled(2e-4, 5_220_000).rate(5_219_999) == rate(4_719_999)


def test_long_context_falls_as_a_cosine() -> None:
    published = {
        "learning_rate": 2e-5,
        "lr_warmup_steps": 1000,
        "lr_decay_starting_step": 1000,
        "lr_decay_steps": 19_000,
        "lr_decay_style": "cosine",
        "min_decay_lr": 0,
    }
    rate = from_nanotron(published, 20_000).rate
    assert rate(1000) == 2e-5
    assert rate(10_500) == pytest.approx(1e-5)
    assert rate(19_999) < 1e-12


def test_published_numbers() -> None:
    big, phase = SIZES["3b"], PHASES["stage2"]
    assert (big.hidden_size, big.intermediate_size, big.num_layers) == (2048, 11008, 36)
    assert (big.num_heads, big.num_kv_heads, big.learning_rate) == (16, 4, 2e-4)
    assert (phase.warmup_steps, phase.decay_steps, phase.total_steps) == (2000, 522_000, 4_720_000)
    assert [rope_theta_of(name) for name in PHASES] == [5e4, 5e4, 5e4, 2e6, 5e6, 5e6]
    assert rope_theta_of("anyone's own") == 5e4
    assert Optimizer() == Optimizer(beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip_grad=1.0)


SCRIPT = """
import json, sys
from types import SimpleNamespace
import torch
from nanotron.config import LRSchedulerArgs
from nanotron.helpers import lr_scheduler_builder
torch.distributed.init_process_group("gloo")
found = []
for values, total in json.loads(sys.argv[1]):
    base = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=values["learning_rate"])
    wrapped = SimpleNamespace(get_base_optimizer=lambda: base)
    scheduler = lr_scheduler_builder(wrapped, LRSchedulerArgs(**values), total)
    rates = []
    for _ in range(total):
        rates.append(scheduler.get_last_lr()[0])
        base.step()
        scheduler.step()
    found.append(rates)
print("RATES", json.dumps(found))
"""


@pytest.mark.nanotron
@pytest.mark.skipif(not os.environ.get("NANOTRON"), reason="needs NANOTRON=<checkout>")
def test_nanotrons_own_scheduler_gives_the_same_rates(tmp_path: Path) -> None:
    """Every step of schedules of three styles, to the last bit but one."""
    cases = [
        (
            {
                "lr_warmup_steps": 7,
                "lr_decay_starting_step": 31,
                "lr_decay_steps": 10,
                "lr_decay_style": style,
            },
            50,
        )
        for style in ("linear", "cosine", "1-sqrt")
    ]
    full = [
        ({"learning_rate": 2e-4, "lr_warmup_style": "linear", "min_decay_lr": 2e-5, **one}, n)
        for one, n in cases
    ]
    script = tmp_path / "rates.py"
    script.write_text(SCRIPT)
    harness = Path(__file__).parent / "nanotron" / "cpu.py"
    python = os.environ.get("NANOTRON_PYTHON", sys.executable)
    command = [python, "-m", "torch.distributed.run", "--nproc_per_node=1", "--standalone", str(harness)]
    done = subprocess.run(
        [*command, str(script), json.dumps(full)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([f"{os.environ['NANOTRON']}/src", *sys.path]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("RATES"))
    for (values, total), theirs in zip(full, json.loads(line[5:]), strict=True):
        schedule = from_nanotron(values, total)
        assert [schedule.rate(step) for step in range(total)] == pytest.approx(theirs, rel=1e-14, abs=0)


def test_an_unknown_size_lists_the_sizes() -> None:
    with pytest.raises(InputError, match="the sizes are tiny, debug, 200m, 370m, 1b, 3b"):
        size_named("7b")
