"""What a step came to into a row of the log and a line for the person who waits.

Keys are those of :mod:`smoltrain.runlog`; the same go to trackio or wandb if one is asked for. Cost: a norm
of the embedding a step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from smoltrain.bundle import Bundle
from smoltrain.flops import H100_BF16_FLOPS, token_flops
from smoltrain.hyperparameters import ModelSize
from smoltrain.runlog import Row, consumed

PEAK_FLOPS = {"H100": H100_BF16_FLOPS, "H200": H100_BF16_FLOPS, "A100": 312e12}
"""Dense bf16 peaks by what a device's name holds (NVIDIA's data sheets)."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is known of a step when it is done."""

    step: int
    loss: float
    rate: float
    grad_norm: float
    embedding_norm: float
    labels: int
    tokens: int
    """Of the step, over all processes."""
    seconds: float


class Meter:
    """Rows and lines of a run; keeps what was consumed of each source."""

    def __init__(self, bundle: Bundle, size: ModelSize, steps: int, device: torch.device, world: int) -> None:
        self._bundle, self._steps = bundle, steps
        self.tokens = dict.fromkeys(bundle.sources, 0)
        self._flops = token_flops(size, bundle.vocab_size, bundle.sequence_length, 0.0).full
        peak = peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        self._peak = None if peak is None else peak * world
        self._pace: float | None = None

    def row(self, step: Step, held_out: Mapping[str, float]) -> Row:
        """Return the row of a step."""
        speed = step.tokens / step.seconds
        row: Row = {
            "step": step.step,
            "loss": step.loss,
            "learning_rate": step.rate,
            "grad_norm": step.grad_norm,
            "embedding_norm": step.embedding_norm,
            "labels": step.labels,
            "tokens": sum(self.tokens.values()),
            **consumed(self._bundle, self.tokens),
            **{f"heldout/{name}/loss": loss for name, loss in held_out.items()},
            "seconds": round(step.seconds, 4),
            "tokens_per_second": round(speed, 1),
        }
        if self._peak is not None:
            row["mfu"] = round(speed * self._flops / self._peak, 4)
        return row

    def line(self, row: Row) -> str:
        """Return the progress line: loss, speed, part of the peak, time left."""
        seconds = float(row["seconds"])
        self._pace = seconds if self._pace is None else 0.8 * self._pace + 0.2 * seconds
        parts = [f"loss {row['loss']:.3f}", f"{row['tokens_per_second']:,.0f} tok/s"]
        if "mfu" in row:
            parts.append(f"MFU {row['mfu']:.0%}")
        parts.append(f"ETA {duration(self._pace * (self._steps - row['step'] - 1))}")
        return " ".join(parts)


def peak_flops(device_name: str) -> float | None:
    """Return the bf16 peak of a GPU by its name; None if it is not known."""
    return next((peak for word, peak in PEAK_FLOPS.items() if word in device_name), None)


def duration(seconds: float) -> str:
    """Return a time as a person says it: 45 s, 12 min, 3 h 05 min, 2 d 4 h."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min" if minutes else f"{rest} s"
