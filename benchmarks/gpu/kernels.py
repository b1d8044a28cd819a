"""Where the time of a GPU's step goes: a trace of torch's profiler in, milliseconds by kind of kernel out.

    python benchmarks/gpu/kernels.py run/traces/<...>.pt.trace.json [--out kernels.json]

For nanotron the trace is its own profiler's, asked for in its configuration (train/nanotron.md); speed.py
calls :func:`by_kind` on the reference trainer's. Kernels are told apart by their names. ``idle`` is the time
between the first and the last kernel in which none ran.
"""

import argparse
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Kernels = dict[str, list[float]]
"""By name: milliseconds and calls."""
KINDS = {
    "attention": ("flash", "fmha"),
    "matrix products": ("gemm", "nvjet", "cutlass", "matmul", "cublas"),
    "optimizer, clipping, masters to bf16": ("multi_tensor", "adam", "foreach"),
    "gradients added in float32": ("cudafunctor_add<float>",),
    "cross entropy": ("liger", "cross_entropy", "softmax", "nll_loss"),
    "communication": ("nccl",),
    "compiled pointwise and norms": ("triton",),
    "norms": ("rmsnorm", "layer_norm", "rms_norm"),
    "reductions": ("reduce_kernel",),
    "joined, split, copied": ("catarray", "copy_kernel", "memcpy", "memset", "direct_copy", "fillfunctor"),
    "pointwise": ("elementwise",),
}
WORK = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})


def kind_of(kernel: str) -> str:
    """Return what a kernel is for, by its name."""
    lower = kernel.lower()
    for kind, words in KINDS.items():
        if any(word in lower for word in words):
            return kind
    return "other"


def by_kind(kernels: Mapping[str, Iterable[float]]) -> dict[str, float]:
    """Return milliseconds by kind, the longest first."""
    kinds: dict[str, float] = defaultdict(float)
    for name, (milliseconds, _) in kernels.items():
        kinds[kind_of(name)] += milliseconds
    return dict(sorted(kinds.items(), key=lambda item: -item[1]))


def show(kernels: Kernels, longest: int = 30) -> list[tuple[str, float, float]]:
    """Print milliseconds by kind and the longest kernels; return those."""
    total = sum(value[0] for value in kernels.values())
    for kind, milliseconds in by_kind(kernels).items():
        print(f"  {kind}: {milliseconds:.1f} ms, {milliseconds / total:.1%}")
    rows = [(name, *value) for name, value in sorted(kernels.items(), key=lambda item: -item[1][0])]
    for name, milliseconds, calls in rows[:longest]:
        print(f"  {milliseconds:8.1f} ms {calls:6.0f} x {name[:110]}")
    return rows[:longest]


def read_trace(path: Path) -> tuple[Kernels, float, float]:
    """Return a Chrome trace's kernels, the milliseconds from the first to the last, and those without any."""
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    events: list[dict[str, Any]] = json.loads(text)["traceEvents"]
    work = sorted((e["ts"], e["dur"], e["name"]) for e in events if e.get("cat") in WORK)
    if not work:
        raise SystemExit(f"error: {path} holds no kernel; profile a step on a GPU")
    kernels: Kernels = defaultdict(lambda: [0.0, 0])
    end, idle = work[0][0], 0.0
    for begin, length, name in work:
        kernels[name][0] += length / 1e3
        kernels[name][1] += 1
        idle += max(0.0, begin - end)
        end = max(end, begin + length)
    return dict(kernels), (end - work[0][0]) / 1e3, idle / 1e3


def main() -> None:
    """Print a trace's table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--out", type=Path, help="write milliseconds and calls of all kernels as JSON")
    asked = parser.parse_args()
    kernels, step, idle = read_trace(asked.trace)
    total = sum(value[0] for value in kernels.values())
    print(f"{step:.0f} ms from the first kernel to the last, kernels {total:.0f} ms, idle {idle:.0f} ms")
    show(kernels)
    if asked.out:
        figures = {"step_ms": step, "idle_ms": idle, "kinds_ms": by_kind(kernels), "kernels": kernels}
        asked.out.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
