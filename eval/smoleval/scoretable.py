"""The book as a table for people: each checkpoint beside the published figures, with what does not compare.

One grid a mode: benchmarks down, own checkpoints and published models across. A value that is not of the
benchmark's own rows carries a mark, and the reason stands below: it is not to be read against the published.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from smoleval.book import Entry, Figure, figures, published, rates, without_counterpart

MARK = "†"
MODES = ("base", "no_think", "think")


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of one mode."""

    mode: str
    heads: list[str]
    rows: list[list[str]]
    notes: list[str]


def grids(entries: Sequence[Entry]) -> list[Grid]:
    """Return a grid for every mode in which a checkpoint has a figure."""
    found = figures(entries)
    return [_grid(mode, found) for mode in MODES if any(one.mode == mode for one in found)]


def _grid(mode: str, found: Sequence[Figure]) -> Grid:
    own = [one for one in found if one.mode == mode]
    checkpoints = list(dict.fromkeys(one.checkpoint for one in own))
    models = list(dict.fromkeys(fact.model for fact in published() if fact.mode == mode))
    values = {(one.benchmark, one.language, one.checkpoint): _cell(one) for one in own}
    values |= {
        (one.benchmark, one.language, one.model): f"{one.score:.2f}"
        for one in published()
        if one.mode == mode
    }
    keys = dict.fromkeys((one.benchmark, one.language) for one in published() if one.mode == mode)
    shown = [key for key in keys if any((*key, one) in values for one in checkpoints)]
    rows = [
        [f"{name} ({language})" if language != "en" else name]
        + [values.get((name, language, one), "") for one in (*checkpoints, *models)]
        for name, language in shown
    ]
    won = rates(found, mode)
    rows.append(["win rate, %", *(_rate(won.get(one)) for one in (*checkpoints, *models))])
    return Grid(mode, ["benchmark", *checkpoints, *models], rows, _notes(own, len(keys) - len(shown)))


def _rate(rate: tuple[float, int] | None) -> str:
    return "" if rate is None else f"{100 * rate[0]:.1f}"


def _cell(one: Figure) -> str:
    """Return a value with its interval, marked if it does not compare."""
    ends = "" if one.low is None or one.high is None else f" [{one.low:.1f}, {one.high:.1f}]"
    return f"{one.value:.2f}{ends}{'' if one.comparable else MARK}"


def _notes(own: Sequence[Figure], without: int) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for one in own:
        if not one.comparable:
            reasons.setdefault(one.why_not, []).append(one.benchmark)
    notes = [
        f"{MARK} not comparable with the published figures: {why} ({', '.join(dict.fromkeys(names))})"
        for why, names in reasons.items()
    ]
    if without:
        notes.append(f"{without} published benchmarks of this mode have no figure of a checkpoint here")
    return notes


def others(entries: Sequence[Entry]) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of the scores that have no published counterpart."""
    heads = ["task", "mode", "metric", "checkpoint", "value", "standard error", "items", "data"]
    rows = [
        [
            one.task + (f" {one.subset}" if one.subset else ""),
            one.mode,
            one.metric,
            one.checkpoint,
            f"{one.value:.4f}",
            "" if one.stderr is None else f"{one.stderr:.4f}",
            f"{one.items:,}",
            one.data_profile,
        ]
        for one in without_counterpart(entries)
    ]
    return heads, rows
