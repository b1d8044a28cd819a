"""Where the tokens go: source → domain → stage as bands, a static SVG text.

pygal draws no flows, so this one picture is ours: three columns of bars as high as their tokens, bands
between them, colours by domain. Small sources of a domain share one bar, so that labels stay readable; the
table beside the picture has them all. Text is ``currentColor``: it follows dark mode. Cost: a millisecond.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from smolmix.report_figures import colours_of, short

WIDTH, BAR, GAP, FLOW = 960, 14, 16, 420
_COLUMNS = (250, 520, 790)
"""Left edges of the bars of sources, domains and stages."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Tokens of a source in a stage."""

    source: str
    domain: str
    stage: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Node:
    """A bar: its place from the top, its height, what it says."""

    top: float
    height: float
    label: str


def flow_picture(
    identifier: str,
    title: str,
    flows: Iterable[Flow],
    *,
    most: int = 16,
    colours: Mapping[str, str] | None = None,
) -> str:
    """Return the picture; the ``most`` largest sources have a bar each, the others one a domain.

    ``colours`` are those of the domains (None: the house's, by name).
    """
    merged = _merge([flow for flow in flows if flow.tokens], most)
    total = sum(flow.tokens for flow in merged)
    if not total:
        return ""
    domains = sorted({flow.domain for flow in merged})
    colours = colours or colours_of(domains)
    stages = list(dict.fromkeys(flow.stage for flow in merged))
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for flow in merged:
        sums[flow.domain, flow.source] += flow.tokens
    ordered = sorted(sums, key=lambda key: (key[0], -sums[key], key[1]))
    columns = (
        _stack({source: sums[domain, source] for domain, source in ordered}, total),
        _stack({one: _sum(merged, "domain", one) for one in domains}, total),
        _stack({one: _sum(merged, "stage", one) for one in stages}, total),
    )
    first = [(source, domain, domain, sums[domain, source]) for domain, source in ordered]
    second = [
        (domain, stage, domain, sum(f.tokens for f in merged if (f.domain, f.stage) == (domain, stage)))
        for domain in domains
        for stage in stages
    ]
    bands = _bands(columns[0], columns[1], 0, first, total, colours)
    bands += _bands(columns[1], columns[2], 1, second, total, colours)
    paint = {**{source: colours[domain] for domain, source in ordered}, **colours}
    bars = [
        _bar(column, node, paint.get(name)) for column in range(3) for name, node in columns[column].items()
    ]
    height = max(node.top + node.height for column in columns for node in column.values()) + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label={quoteattr(title)} '
        f'id={quoteattr(identifier)} viewBox="0 0 {WIDTH} {height:.1f}" '
        f'font-family="system-ui, sans-serif" font-size="11">{"".join(bands)}{"".join(bars)}</svg>'
    )


def _sum(flows: Sequence[Flow], column: str, name: str) -> int:
    return sum(flow.tokens for flow in flows if getattr(flow, column) == name)


def _merge(flows: Sequence[Flow], most: int) -> list[Flow]:
    """Put the small sources of each domain together; a single small one keeps its name."""
    sums: dict[str, int] = defaultdict(int)
    for flow in flows:
        sums[flow.source] += flow.tokens
    kept = set(sorted(sums, key=lambda name: (-sums[name], name))[:most])
    small: dict[str, set[str]] = defaultdict(set)
    for flow in flows:
        if flow.source not in kept:
            small[flow.domain].add(flow.source)
    found = []
    for flow in flows:
        others = small[flow.domain] if flow.source not in kept else set()
        name = f"{len(others)} more in {flow.domain}" if len(others) > 1 else flow.source
        found.append(Flow(name, flow.domain, flow.stage, flow.tokens))
    return found


def _stack(tokens: Mapping[str, int], total: int) -> dict[str, Node]:
    """Return bars from the top down with a gap between them; their heights sum to ``FLOW``."""
    nodes, top = {}, float(GAP)
    for name, count in tokens.items():
        height = FLOW * count / total
        nodes[name] = Node(top, height, f"{name} {short(count)}")
        top += height + GAP
    return nodes


def _bands(
    left: Mapping[str, Node],
    right: Mapping[str, Node],
    column: int,
    links: Sequence[tuple[str, str, str, int]],
    total: int,
    colours: Mapping[str, str],
) -> list[str]:
    """Return a band a link (from, to, domain, tokens); links leave and arrive in their order."""
    out = {name: node.top for name, node in left.items()}
    into = {name: node.top for name, node in right.items()}
    begin, end = _COLUMNS[column] + BAR, _COLUMNS[column + 1]
    middle, bands = (begin + end) / 2, []
    for source, target, domain, tokens in links:
        height = FLOW * tokens / total
        y, z = out[source], into[target]
        out[source], into[target] = y + height, z + height
        if tokens:
            there = f"M{begin} {y:.2f}C{middle:g} {y:.2f} {middle:g} {z:.2f} {end} {z:.2f}V{z + height:.2f}"
            y, z = y + height, z + height
            back = f"C{middle:g} {z:.2f} {middle:g} {y:.2f} {begin} {y:.2f}Z"
            bands.append(f'<path d="{there}{back}" fill="{colours[domain]}" fill-opacity=".45"/>')
    return bands


def _bar(column: int, node: Node, colour: str | None) -> str:
    """Return a bar and its label: to its left in the first column, else to its right."""
    x = _COLUMNS[column]
    place = f'x="{x - 6}" text-anchor="end"' if column == 0 else f'x="{x + BAR + 6}"'
    y = node.top + node.height / 2 + 4
    return (
        f'<rect x="{x}" y="{node.top:.2f}" width="{BAR}" height="{max(node.height, 0.5):.2f}" '
        f'fill="{colour or "currentColor"}"/>'
        f'<text {place} y="{y:.2f}" fill="currentColor">{escape(node.label)}</text>'
    )
