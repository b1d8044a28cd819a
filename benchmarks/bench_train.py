"""The reference trainer on a CPU: steps with and without document masks, checkpoints, conversion.

    python benchmarks/bench_train.py

A model of size ``tiny`` with a vocabulary of 4,096 on random tokens, windows of 1,024, an EOS every 300 on
average, one thread. A GPU's figures are in benchmarks/gpu/README.md: they need a GPU.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from smoltrain import checkpoint
from smoltrain.bundle import Places
from smoltrain.convert import hf_to_nanotron, nanotron_to_hf
from smoltrain.engine import Compute, Engine
from smoltrain.hyperparameters import size_named
from smoltrain.loader import Batch
from smoltrain.model import build_config, build_model
from smoltrain.windows import targets

VOCAB, LENGTH, WINDOWS, STEPS = 4096, 1024, 4, 4


def batch(seed: int) -> Batch:
    """Return windows of random tokens."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, VOCAB, (WINDOWS, LENGTH + 1)).astype(np.uint32)
    tokens[rng.random(tokens.shape) < 1 / 300] = 0
    made, none = targets(tokens, 0), np.zeros(WINDOWS, np.int64)
    return Batch(0, made.ids, made.positions, made.labels, made.mask, Places(none, none, none, none, none))


def engine(*, masks: bool) -> Engine:
    """Return a tiny model in training."""
    size = size_named("tiny")
    config = build_config(size, vocab_size=VOCAB, eos_id=0, sequence_length=LENGTH, rope_theta=5e4)
    return Engine(lambda: build_model(config, 6), Compute.best("cpu"), 1e-3, document_masks=masks)


def step_seconds(one: Engine) -> float:
    """Return the median time of a step, the first left out."""
    times = []
    for step in range(STEPS):
        made = batch(step)
        start = time.monotonic()
        one.backward(made, 2, one.count(made))
        one.update(1e-3)
        times.append(time.monotonic() - start)
    return median(times[1:])


def timed(what: str, action: Callable[[], Any]) -> None:
    """Print how long an action takes."""
    start = time.monotonic()
    action()
    print(f"{what}: {time.monotonic() - start:.2f} s")


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    engines = {masks: engine(masks=masks) for masks in (True, False)}
    for masks, one in engines.items():
        seconds = step_seconds(one)
        name = "documents apart" if masks else "not kept apart"
        print(f"{name}: {WINDOWS * LENGTH / seconds:,.0f} tokens/s")
    one = engines[True]
    megabytes = sum(weight.numel() for weight in one.weights.values()) * 12 / 1e6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed(
            f"checkpoint of {megabytes:.0f} MB written",
            lambda: checkpoint.save(folder, 1, one.model, one.optimizer, {}, one.weights),
        )
        saved = checkpoint.folder_of(folder, 1)
        timed("read", lambda: checkpoint.load(saved, one.model, one.optimizer, one.weights))
        timed("to nanotron, 1 rank", lambda: hf_to_nanotron(saved, folder / "nanotron"))
        timed("and back", lambda: nanotron_to_hf(folder / "nanotron", folder / "hf"))


if __name__ == "__main__":
    main()
