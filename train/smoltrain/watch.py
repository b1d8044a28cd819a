"""A run's log and its plan into what to look at while it goes on.

Per source: tokens planned up to the last step against those consumed, passes, the step at which the present
pass ends (the source has run out, and its text is read again), the last held-out loss; for the run: loss,
rate, norms, speed, time left. The keys are those of the log (:mod:`smoltrain.runlog`). Cost: the log's new
lines at each look.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from smoldata.console import err, out
from smoltrain.bundle import Bundle
from smoltrain.metrics import duration
from smoltrain.runlog import Row, Tail, read_log


@dataclass(frozen=True, slots=True)
class SourceState:
    """How far one source is."""

    source: str
    planned_tokens: int
    """That the plan's share of the steps done comes to, rounded."""
    consumed_tokens: int
    drift_windows: float
    """Consumed less planned; the plan proves a bound for it."""
    passes: float | None
    ends_at_step: int | None
    """The step in which the present pass ends; None: not in this run, or the size is not known."""
    heldout_loss: float | None


@dataclass(frozen=True, slots=True)
class RunState:
    """How far a run is."""

    steps_done: int
    steps: int
    loss: float
    learning_rate: float
    grad_norm: float | None
    """None: nanotron without clipping."""
    embedding_norm: float | None
    tokens: int
    tokens_per_second: float
    mfu: float | None
    seconds_left: float
    bound_windows: float
    sources: tuple[SourceState, ...]


def state_of(bundle: Bundle, steps: int, row: Row, heldout: dict[str, float], pace: float) -> RunState:
    """Return the state after the step of ``row``; ``pace`` are seconds a step, ``heldout`` last losses."""
    done = int(row["step"]) + 1
    sources = tuple(
        _source(bundle, source, steps, done, row, heldout) for source in bundle.plan.sources if source.windows
    )
    return RunState(
        steps_done=done,
        steps=steps,
        loss=row["loss"],
        learning_rate=row["learning_rate"],
        grad_norm=row.get("grad_norm"),
        embedding_norm=row.get("embedding_norm"),
        tokens=row["tokens"],
        tokens_per_second=row["tokens_per_second"],
        mfu=row.get("mfu"),
        seconds_left=pace * (steps - done),
        bound_windows=float(bundle.plan.prefix_bound),
        sources=sources,
    )


def _source(
    bundle: Bundle, source: Any, steps: int, done: int, row: Row, heldout: dict[str, float]
) -> SourceState:
    length = bundle.sequence_length
    consumed = row.get(f"data/{source.name}/tokens", 0) // length
    planned = Fraction(source.windows, bundle.steps) * done
    ends, passes = None, None
    if source.capacity_windows:
        read = source.start + consumed
        passes = float(Fraction(read, source.capacity_windows))
        left = source.capacity_windows - read % source.capacity_windows
        step = done + ceil(left / Fraction(source.windows, bundle.steps))
        ends = step if step <= steps else None
    return SourceState(
        source=source.name,
        planned_tokens=round(planned * length),
        consumed_tokens=consumed * length,
        drift_windows=round(float(consumed - planned), 3),
        passes=passes,
        ends_at_step=ends,
        heldout_loss=heldout.get(source.name),
    )


class Watch:
    """Follows one run's log; ``heldout``: rows of held-out losses that were added beside it."""

    def __init__(self, bundle: Bundle, log: Path, steps: int, heldout: Path | None = None) -> None:
        self._bundle, self._steps, self._beside = bundle, steps, heldout
        self._tail = Tail(log)
        self._last: Row | None = None
        self._heldout: dict[str, tuple[int, float]] = {}
        """Of each source: the last step with a loss, and the loss."""
        self._pace: float | None = None

    def look(self) -> RunState | None:
        """Read what is new and return the state; None before the first step."""
        rows, again = self._tail.read()
        if again:
            self._last, self._pace = None, None
            self._heldout.clear()
        for row in rows:
            self._last = row
            self._keep(row)
            seconds = float(row["seconds"])
            self._pace = seconds if self._pace is None else 0.9 * self._pace + 0.1 * seconds
        if self._last is None or self._pace is None:
            return None
        for row in read_log(self._beside) if self._beside is not None else []:
            self._keep(row)
        losses = {source: loss for source, (_, loss) in self._heldout.items()}
        return state_of(self._bundle, self._steps, self._last, losses, self._pace)

    def _keep(self, row: Row) -> None:
        """Keep a row's held-out losses where there are none of a later step."""
        step = int(row["step"])
        for key, loss in row.items():
            if key.startswith("heldout/"):
                source = key.split("/")[1]
                if step >= self._heldout.get(source, (step, 0.0))[0]:
                    self._heldout[source] = step, loss


def picture(state: RunState) -> Group:
    """Return a run's state as it is drawn in a terminal."""
    mfu = "" if state.mfu is None else f"  MFU {state.mfu:.1%}"
    gradient = "" if state.grad_norm is None else f"  gradient {state.grad_norm:.3f}"
    norm = "" if state.embedding_norm is None else f"  embedding {state.embedding_norm:.2f}"
    head = Text(
        f"step {state.steps_done:,} of {state.steps:,}  loss {state.loss:.4f}  "
        f"rate {state.learning_rate:.2e}{gradient}{norm}\n{state.tokens:,} tokens  "
        f"{state.tokens_per_second:,.0f} tok/s{mfu}  {duration(state.seconds_left)} left  "
        f"(at most {state.bound_windows:.2f} windows off the plan, proved)"
    )
    table = Table(header_style="bold")
    table.add_column("source", no_wrap=True)
    for name in ("planned", "consumed", "off by", "passes", "pass ends", "held-out loss"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in state.sources:
        table.add_row(
            one.source,
            f"{one.planned_tokens:,}",
            f"{one.consumed_tokens:,}",
            f"{one.drift_windows:+.2f}",
            "" if one.passes is None else f"{one.passes:.3f}",
            "" if one.ends_at_step is None else f"step {one.ends_at_step:,}",
            "" if one.heldout_loss is None else f"{one.heldout_loss:.4f}",
        )
    return Group(head, table)


def states(watch: Watch, every: float) -> Iterator[RunState]:
    """Yield the state whenever there are new steps, until the run is at its end."""
    seen = -1
    while True:
        state = watch.look()
        if state is not None and state.steps_done != seen:
            seen = state.steps_done
            yield state
            if state.steps_done >= state.steps:
                return
        time.sleep(every)


def follow(watch: Watch, every: float) -> None:
    """Draw the state anew as the run goes on; without a terminal print it once a change."""
    if not out.is_terminal:
        for state in states(watch, every):
            out.print(picture(state))
        return
    from rich.live import Live

    with Live(Text("waiting for the first step"), console=out, auto_refresh=False) as live:
        for state in states(watch, every):
            live.update(picture(state), refresh=True)
    err.print("all steps are done")


def as_json(state: RunState) -> dict[str, Any]:
    """Return a state for a program."""
    return asdict(state)
