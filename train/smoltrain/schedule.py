"""Step into learning rate: linear warm-up, a constant stretch, decay (warm-up, stable, decay).

The rule is nanotron's, step for step (``lr_scheduler_builder`` in its ``helpers.py`` at the pinned commit),
so that a loss can be compared at each step: the first step has rate 0, step ``warmup_steps`` the peak, and
the last step of a linear decay that begins at ``steps - decay_steps + 1`` has 2/``decay_steps`` of it. A
short run can't keep the published counts, so it keeps the form: warm-up over a tenth of the run but at most
2,000 steps, decay over the last tenth.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smoldata.errors import InputError

MAX_WARMUP_STEPS = 2000


@dataclass(frozen=True, slots=True)
class Schedule:
    """A warm-up, stable, decay schedule with peak rate ``peak``; steps count from 0."""

    peak: float
    warmup_steps: int
    decay_start: int
    decay_steps: int
    decay_style: str = "linear"
    """linear, cosine or 1-sqrt."""
    minimum: float = 0.0

    def rate(self, step: int) -> float:
        """Return the rate of ``step``."""
        if self.warmup_steps == 0 and self.decay_steps == 0:
            return self.peak
        if step <= self.warmup_steps:
            return self.peak * step / max(self.warmup_steps, 1)
        if step < self.decay_start:
            return self.peak
        if step < self.decay_start + self.decay_steps:
            return self._falling(step - self.decay_start)
        return self.minimum

    def _falling(self, decayed: int) -> float:
        """Return the rate after ``decayed`` steps of decay; factors in nanotron's order, to the last bit."""
        way, steps = self.peak - self.minimum, self.decay_steps
        if self.decay_style == "linear":
            return self.minimum + way * (steps - decayed) / steps
        if self.decay_style == "cosine":
            return self.minimum + way * (1 + math.cos(math.pi * decayed / steps)) / 2
        if self.decay_style == "1-sqrt":
            return self.minimum + way * (1 - math.sqrt(decayed / steps))
        raise InputError(f"unknown decay style {self.decay_style!r}; there are linear, cosine and 1-sqrt")


def scaled(peak: float, steps: int, decay_style: str = "linear") -> Schedule:
    """Return the schedule of a run of ``steps`` steps: the published form at this length."""
    tenth = max(1, steps // 10)
    warmup = min(MAX_WARMUP_STEPS, tenth)
    if decay_style == "cosine":  # as published for long context: from the end of warm-up to the end
        return Schedule(peak, warmup, warmup, max(1, steps - warmup), decay_style)
    return Schedule(peak, warmup, steps - tenth + 1, tenth, decay_style)


def from_nanotron(scheduler: Mapping[str, Any], total_steps: int) -> Schedule:
    """Return the schedule of ``optimizer.learning_rate_scheduler`` in a nanotron file.

    ``total_steps`` is that file's ``train_steps``: what nanotron takes where the file leaves counts out.
    """
    warmup = scheduler.get("lr_warmup_steps") or 0
    start, steps = scheduler.get("lr_decay_starting_step"), scheduler.get("lr_decay_steps")
    return Schedule(
        peak=float(scheduler["learning_rate"]),
        warmup_steps=warmup,
        decay_start=warmup if start is None else start,
        decay_steps=total_steps - warmup - (start or 0) if steps is None else steps,
        decay_style=scheduler.get("lr_decay_style") or "linear",
        minimum=float(scheduler.get("min_decay_lr") or 0.0),
    )
