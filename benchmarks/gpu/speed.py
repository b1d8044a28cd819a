"""Speed of the reference trainer on one GPU: real steps on a bundle's shards, documents kept apart.

    python benchmarks/gpu/speed.py --bundle build/sample/bundles/speed --size 3b --steps 24

Several GPUs: ``torchrun --nproc-per-node N benchmarks/gpu/speed.py ...``; figures are then of each GPU.
Prints a line a step, then tokens a second over the steady ones (the first --warm-up are left out), that speed
as part of the GPU's peak under three counts of attention, memory, and where the time of a step goes.
"""

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from kernels import Kernels, by_kind, show

from smoltrain.bundle import open_bundle
from smoltrain.engine import Compute, Engine
from smoltrain.flops import H100_BF16_FLOPS, mean_keys, token_flops
from smoltrain.hyperparameters import size_named
from smoltrain.loader import open_loader
from smoltrain.model import build_config, build_model
from smoltrain.parallel import World, joined


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--size", default="3b")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--warm-up", type=int, default=4)
    parser.add_argument("--micro-batch", type=int, default=2)
    parser.add_argument("--layers", type=int, help="fewer layers, for a trial")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--recompute", action="store_true", help="keep only layers' inputs")
    parser.add_argument("--unmasked", action="store_true", help="do not keep documents apart")
    parser.add_argument("--profile", action="store_true", help="one more step, under the profiler")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    return parser.parse_args()


def main() -> None:
    """Train some steps and print figures."""
    asked = arguments()
    compute = replace(Compute.best(asked.device), attention=asked.attention, recompute=asked.recompute)
    with joined(compute.device) as world:
        measure(asked, compute, world)


def measure(asked: argparse.Namespace, compute: Compute, world: World) -> None:
    """Train some steps as one of the processes; the first prints."""
    bundle = open_bundle(asked.bundle)
    size = size_named(asked.size)
    size = replace(size, num_layers=asked.layers) if asked.layers else size
    config = build_config(
        size,
        vocab_size=bundle.vocab_size,
        eos_id=bundle.eos_id,
        sequence_length=bundle.sequence_length,
        rope_theta=50_000.0,
    )
    began = time.monotonic()
    masks = not asked.unmasked
    build = partial(build_model, config, 6)
    engine = Engine(build, compute, size.learning_rate, world=world, document_masks=masks)
    if not world.first:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - open as long as the process
    print(f"{compute}, torch {torch.__version__}, built in {time.monotonic() - began:.1f} s", flush=True)
    loader = open_loader(bundle, rank=world.rank, world_size=world.size)
    rows = [one_step(engine, loader, step, asked.micro_batch) for step in range(asked.steps)]
    figures = {"processes": world.size, **summary(rows[asked.warm_up :], size, bundle, engine)}
    print(json.dumps(figures, indent=1))
    if asked.profile:
        figures["profile"] = profile(engine, loader, asked)
    if asked.out:
        asked.out.write_text(json.dumps({"figures": figures, "steps": rows}, indent=1))


def one_step(engine: Engine, loader: Any, step: int, micro_batch: int) -> dict[str, float]:
    """Take a step and wait for it; return its figures."""
    began = time.monotonic()
    batch = loader.batch(step)
    read = time.monotonic() - began
    loss = engine.backward(batch, micro_batch, engine.count(batch))
    norm = engine.update(2e-5)
    values = (loss.item(), float(norm))
    seconds = time.monotonic() - began
    row = {
        "step": step,
        "loss": values[0],
        "grad_norm": values[1],
        "seconds": seconds,
        "read_seconds": read,
        "tokens": batch.ids.size,
        "tokens_per_second": batch.ids.size / seconds,
        "keys": mean_keys(batch.positions),
        "documents": int((batch.positions == 0).sum()),
    }
    print(
        f"step {step}: loss {values[0]:.4f}, norm {values[1]:.3f}, {row['documents']} documents, "
        f"{row['tokens_per_second']:,.0f} tokens/s, read {read * 1e3:.1f} ms",
        flush=True,
    )
    return row


def summary(rows: list[dict[str, float]], size: Any, bundle: Any, engine: Engine) -> dict[str, Any]:
    """Return the figures of the steady steps."""
    tokens = sum(row["tokens"] for row in rows)
    speed = tokens / sum(row["seconds"] for row in rows)
    keys = sum(row["keys"] for row in rows) / len(rows)
    flops = token_flops(size, bundle.vocab_size, bundle.sequence_length, keys)
    figures: dict[str, Any] = {
        "steady_steps": len(rows),
        "tokens_per_second": round(speed, 1),
        "tokens_per_second_median_step": round(median(row["tokens_per_second"] for row in rows), 1),
        "documents_per_window": sum(r["documents"] for r in rows) / (tokens / bundle.sequence_length),
        "mean_keys": round(keys, 1),
    }
    for count in ("full", "causal", "documents"):
        each = getattr(flops, count)
        figures[f"gflop_per_token_{count}"] = round(each / 1e9, 2)
        figures[f"mfu_{count}"] = round(speed * each / H100_BF16_FLOPS, 4)
    if engine.device.type == "cuda":
        figures["device"] = torch.cuda.get_device_name()
        figures["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        figures["reserved_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
    return figures


def profile(engine: Engine, loader: Any, asked: argparse.Namespace) -> dict[str, Any]:
    """Run one step under torch's profiler; print and return GPU time by kind and the longest kernels."""
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profiler:
        row = one_step(engine, loader, asked.steps, asked.micro_batch)
    kernels: Kernels = defaultdict(lambda: [0.0, 0])
    for event in profiler.events():
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation:
            kernels[event.name][0] += event.device_time_total / 1e3
            kernels[event.name][1] += 1
    total = sum(value[0] for value in kernels.values())
    print(f"profiled step: {row['seconds'] * 1e3:.0f} ms, kernels {total:.0f} ms")
    return {
        "step_ms": row["seconds"] * 1e3,
        "kernels_ms": total,
        "kinds_ms": by_kind(kernels),
        "longest": show(kernels),
    }


if __name__ == "__main__":
    main()
