"""``post.json`` -> ``post.html``: losses, rewards, held-out loss and pairs won after each step, the sweep.

The page stands alone (no script, no network, no date); every picture is followed by its numbers as a table.
Cost: about 0.2 s.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from smoldata.files import write_atomic
from smolmix.report_figures import curves

PAGE = "post.html"
_LONG = (
    "Long context: loss in the last half of rows of {length:,} tokens, conversations joined without masks; "
    "and of the same tokens with each conversation alone."
)
_TITLES = {"mid": "Mid-training", "sft": "SFT", "apo": "APO"}


def write_page(run: Path, facts: Mapping[str, Any]) -> Path:
    """Write the page of a run; return its path."""
    path = run / PAGE
    write_atomic(path, render_page(facts))
    return path


def render_page(facts: Mapping[str, Any]) -> str:
    """Return the page."""
    css = (resources.files("smolmix") / "templates" / "report.css").read_text(encoding="utf-8")
    phases = "\n".join(_phase(name, facts["phases"][name]) for name in facts["phases"])
    name = escape(f"Post-training, preset {facts['preset']}, {facts['profile']}")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#content">Skip to the content</a>\n<main id="content">\n<h1>{name}</h1>\n'
        f"<p>From {escape(facts['base'])}. Losses in nats a token.</p>\n"
        f"{_measures(facts['measures'])}\n{phases}\n{_sweep(facts['sweep'])}\n</main>\n</body>\n</html>\n"
    )


def _phase(name: str, phase: Mapping[str, Any]) -> str:
    log = phase["log"]
    drawn = _thinned(log, 1000)
    losses = [(line["step"], line["loss"]) for line in drawn]
    parts = [f"<h2>{_TITLES.get(name, escape(name))}</h2>", _rows(phase["rows"]), _cap(phase["cap"])]
    parts.append(_figure(curves(f"loss-{name}", f"{name}: loss by step", "step", {"loss": losses})))
    columns = ["step", "loss", "learning_rate"]
    if any("rewards/chosen" in line for line in log):
        rewards = {
            side: [(line["step"], line[f"rewards/{side}"]) for line in drawn if f"rewards/{side}" in line]
            for side in ("chosen", "rejected", "margins")
        }
        parts.append(_figure(curves(f"rewards-{name}", f"{name}: rewards by step", "step", rewards)))
        columns += ["rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"]
    shown = _thinned(log)
    cells = [[_cell(line.get(column)) for column in columns] for line in shown]
    steps = "step by step" if len(shown) == len(log) else f"{len(shown)} of {len(log):,} steps"
    parts.append(_table(f"{_TITLES.get(name, name)}, {steps}", columns, cells))
    return "\n".join(parts)


def _thinned(log: Sequence[Any], most: int = 60) -> list[Any]:
    """Return lines evenly over a long log, its first and last included."""
    if len(log) <= most:
        return list(log)
    return [log[number * (len(log) - 1) // (most - 1)] for number in range(most)]


def _rows(modes: Mapping[str, Mapping[str, int]]) -> str:
    heads = ["mode", "rows", "taken", "kept", "train", "validation", "tokens", "trained_tokens"]
    cells = [[mode, *(f"{counts[head]:,}" for head in heads[1:])] for mode, counts in modes.items()]
    return _table("Rows", heads, cells)


def _cap(cap: Mapping[str, int]) -> str:
    return (
        f"<p>Longest: {cap['longest']:,} tokens; cap: {cap['max_length']:,}. {cap['over']:,} of "
        f"{cap['rows']:,} rows are longer and lose {cap['tokens_cut']:,} of {cap['tokens']:,} tokens.</p>"
    )


def _measures(measures: Mapping[str, Any]) -> str:
    losses: dict[str, list[tuple[float, float]]] = {}
    cells = []
    for number, (name, one) in enumerate(measures.items()):
        for part in one["heldout"]:
            losses.setdefault(part["mode"], []).append((number, part["loss"]))
            rate = next((wins for wins in one["wins"] if wins["mode"] == part["mode"]), None)
            won = f"{rate['won']} of {rate['pairs']}" if rate else ""
            margin = _cell(rate and rate["margin"])
            far = one.get("long") or {}
            cells.append([name, part["mode"], _cell(part["loss"]), f"{part['tokens']:,}", won, margin])
            cells[-1] += [
                _cell(far.get("loss")),
                _cell(far.get("alone")),
                _cell(one.get("ruler", {}).get("mean")),
            ]
    heads = ["checkpoint", "mode", "held-out loss", "tokens", "pairs won", "margin"]
    heads += ["long context", "same alone", "RULER"]
    names = list(measures)
    picture = curves("heldout", "Held-out loss after each step", "", losses, names) if losses else ""
    shown = f"{_figure(picture)}\n" if picture else "<p>No rows are held out.</p>\n"
    length = next((one["long"]["length"] for one in measures.values() if one.get("long")), None)
    about = f"<p>{_LONG.format(length=length)}</p>\n" if length else ""
    return f"<h2>After each step</h2>\n{shown}{about}{_table('Held-out rows and pairs', heads, cells)}"


def _sweep(sweep: Sequence[Mapping[str, Any]]) -> str:
    lines: dict[str, list[tuple[float, float]]] = {}
    cells = []
    for one in sweep:
        share = float(Fraction(one["soup_weight"]))
        far = one.get("long") or {}
        losses = {part["mode"]: part["loss"] for part in one["heldout"]}
        losses |= {"long context": far["loss"]} if far else {}
        for name, loss in losses.items():
            lines.setdefault(name, []).append((share, loss))
        won = {wins["mode"]: f"{wins['won']} of {wins['pairs']}" for wins in one["wins"]}
        cells += [
            [
                one["soup_weight"],
                part["mode"],
                _cell(part["loss"]),
                won.get(part["mode"], ""),
                _cell(far.get("loss")),
                _cell(one.get("ruler", {}).get("mean")),
            ]
            for part in one["heldout"]
        ]
    about = "<p>Shares of the APO soup; the rest is the mid-training checkpoint. Published: 9/10.</p>"
    picture = _figure(curves("sweep", "Held-out loss by the soup's share", "share", lines)) if lines else ""
    heads = ["soup", "mode", "held-out loss", "pairs won", "long context", "RULER"]
    return f"<h2>Merge weight</h2>\n{about}\n{picture}\n{_table('Sweep', heads, cells)}"


def _figure(svg: str) -> str:
    return f"<figure>{svg}</figure>"


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    lines = ["".join(f'<td class="n">{escape(cell)}</td>' for cell in row) for row in rows]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 0.01 else f"{value:.4f}"  # noqa: PLR2004 - digits for people
    return "" if value is None else str(value)
