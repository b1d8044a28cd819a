"""Pictures of a curriculum as static SVG text: numbers in, SVG to put into a page out.

pygal draws, in the house's settings (:mod:`smoldata.statistics.pictures`): the same numbers give the same
bytes, and the page needs no network. Cost: about 20 ms a picture.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from smoldata.statistics.pictures import PALETTE, options, svg


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name, in the order of their names."""
    return {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(sorted(set(names)))}


def ribbons(
    identifier: str,
    title: str,
    stages: Sequence[tuple[str, int, Mapping[str, float]]],
    colours: Mapping[str, str] | None = None,
) -> str:
    """Draw the mixture over tokens: ``stages`` are (name, tokens, percent by group), in order."""
    import pygal

    total = sum(tokens for _, tokens, _ in stages)
    groups = sorted({group for _, _, shares in stages for group in shares})
    paint = colours or colours_of(groups)
    # pygal stacks no lines over true positions: sums are drawn over one another, the largest first, opaque.
    chart = pygal.XY(
        **options("1", [paint[group] for group in groups[::-1]], fill=True, show_dots=False, height=360),
        x_title="tokens",
        range=(0, 100),
        xrange=(0, total),
        x_value_formatter=short,
    )
    chart.x_labels = [total * part / 5 for part in range(6)]
    for number in range(len(groups), 0, -1):
        points, end = [], 0
        for _, tokens, shares in stages:
            height = min(100.0, sum(shares.get(group, 0.0) for group in groups[:number]))
            # Two points at a boundary: a step, not a slope.
            points += [(end, height), (end + tokens, height)]
            end += tokens
        chart.add(groups[number - 1], points)
    return svg(chart, identifier, title)


def bars(identifier: str, title: str, unit: str, series: Mapping[str, Mapping[str, float | None]]) -> str:
    """Draw stacked bars, one a label: ``series`` are the values by label, one series a stage."""
    import pygal

    return _bars(pygal.HorizontalStackedBar, identifier, title, unit, series)


def paired_bars(
    identifier: str, title: str, unit: str, series: Mapping[str, Mapping[str, float | None]]
) -> str:
    """Draw bars side by side, one a label and series."""
    import pygal

    return _bars(pygal.HorizontalBar, identifier, title, unit, series)


def _bars(
    kind: Any, identifier: str, title: str, unit: str, series: Mapping[str, Mapping[str, float | None]]
) -> str:
    labels = list(dict.fromkeys(label for values in series.values() for label in values))
    height = 130 + 22 * len(labels)
    chart = kind(**options(height=height), x_title=unit)
    chart.x_labels = labels[::-1]
    for name, values in series.items():
        chart.add(name, [values.get(label) for label in labels[::-1]])
    return svg(chart, identifier, title)


def curves(
    identifier: str,
    title: str,
    unit: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    places: Sequence[str] = (),
) -> str:
    """Draw curves of (x, y) points; ``places`` name x = 0, 1, 2, ... instead of numbers."""
    import pygal

    chart = pygal.XY(**options(height=320, dots_size=2), x_title=unit)
    if places:
        chart.x_labels = list(range(len(places)))
        chart.x_value_formatter = lambda value: places[round(value)]
    for name, points in series.items():
        chart.add(name, list(points))
    return svg(chart, identifier, title)


def short(number: float) -> str:
    """Return a count in three digits and a unit: 1.76T, 12.3M."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"
