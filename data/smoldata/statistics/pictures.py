"""Numbers -> static SVG text: curves, bars, histograms. pygal draws; the same numbers give the same bytes.

What pygal adds for browsers of its own (scripts, comments, a random identifier) is taken out. Colours that
must change with dark mode are ``currentColor``. Cost: about 20 ms a picture.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

PALETTE: Final = (
    "#3b6fb6", "#d9822b", "#3a9a6b", "#b5486f", "#8063b4", "#a6832f",
    "#3f9bb0", "#c4564a", "#6b8f3c", "#7a7f87", "#5461c8", "#b06b3b",
)  # fmt: skip
_RANDOM: Final = re.compile(r"chart-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REMOVED: Final = re.compile(r"<\?xml.*?\?>|<!--.*?-->|<script.*?</script>|<script[^>]*/>", re.DOTALL)


def options(opacity: str = ".85", colours: Sequence[str] = PALETTE, **more: Any) -> dict[str, Any]:
    """Return pygal's settings of the house."""
    from pygal.style import Style

    style = Style(
        background="transparent",
        plot_background="transparent",
        foreground="currentColor",
        foreground_strong="currentColor",
        foreground_subtle="currentColor",
        font_family="system-ui, sans-serif",
        colors=tuple(colours),
        opacity=opacity,
        label_font_size=11,
        major_label_font_size=11,
        legend_font_size=12,
        guide_stroke_color="currentColor",
        major_guide_stroke_color="currentColor",
    )
    plain = {
        "js": [],
        "width": 960,
        "margin": 10,
        "margin_bottom": 40,
        "legend_at_bottom": True,
        "legend_at_bottom_columns": 4,
        "truncate_label": -1,
        "truncate_legend": -1,
    }
    return {"style": style, "disable_xml_declaration": True, "explicit_size": False, **plain, **more}


def svg(chart: Any, identifier: str, title: str) -> str:
    """Render a chart and make it a still, named, reproducible picture."""
    text = _REMOVED.sub("", chart.render(is_unicode=True))
    text = _RANDOM.sub(identifier, text).replace('id="activate', f'id="{identifier}-activate').strip()
    label = f'role="img" aria-label="{_attribute(title)}" '
    return text.replace("<svg ", f"<svg {label}", 1)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def histogram(identifier: str, title: str, unit: str, bins: Sequence[tuple[str, int]]) -> str:
    """Draw counts by bin as columns; ``bins`` are (label, count) in order."""
    import pygal

    chart = pygal.Bar(**options(height=300, show_legend=False, x_label_rotation=30), x_title=unit)
    chart.x_labels = [label for label, _ in bins]
    chart.add(unit, [count for _, count in bins])
    return svg(chart, identifier, title)


def bars(identifier: str, title: str, unit: str, series: Mapping[str, Mapping[str, float]]) -> str:
    """Draw stacked horizontal bars: ``series`` are the values by label, one series a colour."""
    import pygal

    labels = list(dict.fromkeys(label for values in series.values() for label in values))
    chart = pygal.HorizontalStackedBar(**options(height=130 + 22 * len(labels)), x_title=unit)
    chart.x_labels = labels[::-1]
    for name, values in series.items():
        chart.add(name, [values.get(label) for label in labels[::-1]])
    return svg(chart, identifier, title)
