"""Step into learning rate: linear warm-up, a constant stretch, decay to 0 (warm-up, stable, decay).

The released run warms up over 2,000 of 4,720,000 steps and decays linearly over the last 522,000 (11.06 %);
the blog says the last 10 %. A short run can't keep those counts, so it keeps the form: warm-up over a tenth
of the run but at most 2,000 steps, decay over the last tenth.
"""

from dataclasses import dataclass

MAX_WARMUP_STEPS = 2000


@dataclass(frozen=True, slots=True)
class Schedule:
    """A warm-up, stable, decay schedule over ``steps`` steps with peak rate ``peak``."""

    peak: float
    steps: int
    warmup_steps: int
    decay_steps: int

    def rate(self, step: int) -> float:
        """Return the rate of ``step``, from 0; already the first step learns: (step + 1) / warm-up."""
        rising = (step + 1) / self.warmup_steps if self.warmup_steps else 1.0
        falling = (self.steps - step) / self.decay_steps if self.decay_steps else 1.0
        return self.peak * min(1.0, rising, falling)


def scaled(peak: float, steps: int) -> Schedule:
    """Return the schedule of a run of ``steps`` steps: the published form at this length."""
    tenth = max(1, steps // 10)
    return Schedule(peak, steps, warmup_steps=min(MAX_WARMUP_STEPS, tenth), decay_steps=tenth)
