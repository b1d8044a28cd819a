"""Post-training on one GPU: a small base from real shards, then SFT, APO, merge, measured; speed of packing.

    python benchmarks/gpu/post.py --bundle build/sample/bundles/stage2-blog --out build/gpu/post
        --rows build/sample/post/raw --tokenizer build/sample/post/tokenizer

Trains about 113M weights on the bundle (--passes times its windows), runs every step of `smoltrain post run`
with preset small, and prints held-out loss and pairs won after each. ``--speed`` instead times SFT of that
base: packed, padded, one row at a time, and with QLoRA if bitsandbytes is there. Writes <out>/figures.json.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from smoltrain.bundle import open_bundle
from smoltrain.engine import Compute, Engine
from smoltrain.flops import parameters
from smoltrain.hyperparameters import SIZES as PUBLISHED
from smoltrain.hyperparameters import ModelSize
from smoltrain.loader import open_loader
from smoltrain.model import build_config, build_model
from smoltrain.post.adapters import Adapter
from smoltrain.post.data import read_rows
from smoltrain.post.phases import phase_named
from smoltrain.post.pipeline import Asked, one_step, posttrain
from smoltrain.post.trainer import Job, make_trainer
from smoltrain.schedule import Schedule

SIZES = {"113m": ModelSize(512, 2048, 12, 4, 2, learning_rate=1.5e-3), **PUBLISHED}
WINDOWS = 64
"""Windows of one step of the base's training."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--measured-rows", type=int, default=64)
    parser.add_argument("--size", default="113m", choices=sorted(SIZES))
    parser.add_argument("--preset", default="small")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--steps", type=int, help="of every phase, for a trial")
    parser.add_argument("--max-steps", type=int, help="of the base, for a trial")
    return parser.parse_args()


def main() -> None:
    """Train the base unless it is there; run the steps, or time SFT."""
    asked = arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    base = asked.out / "base"
    figures: dict[str, Any] = {"device": device_name(), "torch": torch.__version__}
    if not (base / "config.json").is_file():
        figures["base"] = train_base(asked, base)
    run = Asked(
        asked.out / "build",
        base,
        preset=asked.preset,
        rows=asked.rows,
        tokenizer=asked.tokenizer,
        measured_rows=asked.measured_rows,
        steps=asked.steps,
        micro_batch=4 if asked.preset == "small" else 1,
    )
    if asked.speed:
        figures["speed"] = speeds(run, asked.out / "speed")
    else:
        began = time.monotonic()
        figures["post"] = posttrain(run)
        figures["post_seconds"] = time.monotonic() - began
    name = "speed.json" if asked.speed else "figures.json"
    (asked.out / name).write_text(json.dumps(figures, indent=1))
    print(json.dumps({key: value for key, value in figures.items() if key != "post"}, indent=1))


def device_name() -> str:
    """Return what computes."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def train_base(asked: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Train the base on the bundle's windows, ``--passes`` times; write it in Hugging Face form."""
    bundle, size = open_bundle(asked.bundle), SIZES[asked.size]
    config = build_config(
        size, vocab_size=bundle.vocab_size, eos_id=bundle.eos_id, sequence_length=4096, rope_theta=50_000.0
    )
    engine = Engine(partial(build_model, config, 6), Compute.best(), size.learning_rate)
    loader = open_loader(bundle)
    at_once = max(1, WINDOWS // len(loader.batch(0).ids))
    a_pass = loader_steps(bundle) // at_once
    steps = asked.max_steps or asked.passes * a_pass
    schedule = Schedule(size.learning_rate, max(1, steps // 20), steps - steps // 4, steps // 4)
    began, tokens = time.monotonic(), 0
    for step in range(steps):
        first = step % a_pass * at_once
        batch = joined([loader.batch(first + n) for n in range(at_once)])
        loss = engine.backward(batch, WINDOWS, engine.count(batch))
        engine.update(schedule.rate(step))
        tokens += batch.ids.size
        if step % 20 == 0 or step == steps - 1:
            print(f"base step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    seconds = time.monotonic() - began
    model: Any = build_model(config, 6)
    model.load_state_dict({name: tensor.cpu() for name, tensor in engine.weights.items()}, strict=False)
    model.save_pretrained(out)
    count = parameters(size, bundle.vocab_size)
    return {"parameters": count, "tokens": tokens, "seconds": seconds, "loss": loss.item()}


def loader_steps(bundle: Any) -> int:
    """Return the steps of a bundle's plan."""
    return int(bundle.plan.steps)


def joined(batches: list[Any]) -> Any:
    """Return several steps' batches as one."""
    import numpy as np

    parts = {
        name: np.concatenate([getattr(batch, name) for batch in batches])
        for name in ("ids", "positions", "labels", "mask")
    }
    return replace(batches[0], **parts)


def speeds(run: Asked, out: Path) -> dict[str, Any]:
    """Return SFT's tokens a second in several ways, on the same rows."""
    one_step(run, "rows")
    rows = read_rows(run.home / "rows" / "sft")
    assert rows is not None
    assert run.tokenizer is not None
    phase = replace(phase_named("sft", run.preset), steps=14)
    ways = {
        "packed, 4 rows of 4,096 a pass": (replace(phase, batch=4), 4, None),
        "packed, 1 row of 4,096 a pass": (replace(phase, batch=4), 1, None),
        "padded, 16 conversations a pass": (replace(phase, packing=None, batch=64), 16, None),
        "padded, 4 conversations a pass": (replace(phase, packing=None, batch=64), 4, None),
        "one conversation a pass": (replace(phase, packing=None, batch=64), 1, None),
        "packed, LoRA": (replace(phase, batch=4), 4, Adapter(16, 32)),
        "packed, QLoRA": (replace(phase, batch=4), 4, Adapter(16, 32, four_bits=True)),
    }
    found = {}
    for name, (settings, micro_batch, adapter) in ways.items():
        try:
            job = Job(settings, run.base, run.tokenizer, rows, out, adapter, micro_batch)
            found[name] = timed(make_trainer(job))
        except Exception as error:  # noqa: BLE001 - one way that can't run must not hide the others
            found[name] = {"error": f"{type(error).__name__}: {error}"}
        print(name, found[name], flush=True)
        torch.cuda.empty_cache()
    return found


def timed(trainer: Any, warm_up: int = 4) -> dict[str, float]:
    """Train; return tokens (without padding) a second over the steps after the first ones, and memory."""
    seen = []
    step = trainer.training_step

    def counting(model: Any, inputs: Any, *rest: Any) -> Any:
        mask = inputs.get("attention_mask")
        real = int(mask.sum()) if mask is not None else inputs["input_ids"].numel()
        result = step(model, inputs, *rest)
        torch.cuda.synchronize() if torch.cuda.is_available() else None
        seen.append((trainer.state.global_step, time.monotonic(), real, inputs["input_ids"].numel()))
        return result

    trainer.training_step = counting
    with peak_memory() as memory:
        trainer.train()
    start = max(moment for number, moment, *_ in seen if number < warm_up)
    rest = [one for one in seen if one[0] >= warm_up]
    seconds = rest[-1][1] - start
    real, computed = (sum(one[place] for one in rest) for place in (2, 3))
    return {
        "tokens_per_second": round(real / seconds, 1),
        "padding": round(1 - real / computed, 4),
        "steps": len({one[0] for one in rest}),
        "loss": round(trainer.state.log_history[-2]["loss"], 4),
        **memory,
    }


@contextmanager
def peak_memory() -> Iterator[dict[str, float]]:
    """Yield what holds the peak of the GPU's memory afterwards, in GiB."""
    found: dict[str, float] = {}
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    yield found
    if torch.cuda.is_available():
        found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)


if __name__ == "__main__":
    main()
