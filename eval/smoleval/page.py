"""The score book as one page for people: ``build/scores.html``.

Each mode's figures beside the published ones, a learning curve a task, what the decontamination found, and
every score with its data, version and settings. The page stands alone: no script, no network, no date; the
same scores give the same bytes. Every picture is followed by its numbers as a table. Cost: about 20 ms a
picture.
"""

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from smoldata.files import write_atomic
from smoleval.book import Entry, figures, latest, newest_of_each_run, published, rates, run_of
from smoleval.contamination import Found, found
from smoleval.scores import Score
from smoleval.scoretable import MARK, Grid, grids, others
from smolmix.report_figures import curves, paired_bars
from smolmix.report_html import as_figure, as_table

PAGE = "scores.html"
_MODES = {"base": "Base models", "no_think": "Without thinking", "think": "Thinking"}
_MOST_CURVES = 40


def write_page(build: Path, entries: Sequence[Entry]) -> Path:
    """Write the page of a build's scores; return its path."""
    path = Path(build) / PAGE
    write_atomic(path, render(entries, found(build)))
    return path


def render(entries: Sequence[Entry], contamination: Sequence[Found]) -> str:
    """Return the page as HTML text."""
    shown = newest_of_each_run(entries)
    sections = [(f"mode-{grid.mode}", _MODES[grid.mode], _mode(grid, shown)) for grid in grids(shown)]
    sections += [
        (anchor, title, html)
        for anchor, title, html in (
            ("curves", "Learning curves", _learning(entries)),
            ("contamination", "Contamination", _contamination(contamination)),
            ("others", "No published figure", _others(shown)),
            ("all", "Every score", _all(entries)),
        )
        if html
    ]
    css = (resources.files("smolmix") / "templates" / "report.css").read_text("utf-8")
    links = "".join(f'<li><a href="#{anchor}">{escape(title)}</a></li>' for anchor, title, _ in sections)
    body = "".join(
        f'<section id="{anchor}"><h2>{escape(title)}</h2>\n{html}</section>\n'
        for anchor, title, html in sections
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        '<link rel="icon" href="data:,">\n'
        f"<title>Scores</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">Skip to the numbers</a>\n<header><h1>Scores</h1></header>\n'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main id="main">{body}</main>\n'
        "</body>\n</html>\n"
    )


def _mode(grid: Grid, shown: Sequence[Entry]) -> str:
    """Return the section of a mode: values, what does not compare, and pictures of what does."""
    notes = "".join(f"<p>{escape(note)}.</p>\n" for note in grid.notes)
    caption = f"{_MODES[grid.mode]}: per cent with 95 % intervals; published figures to the right"
    return _compared(grid, shown) + as_table(caption, grid.heads, grid.rows, set(grid.heads[1:])) + notes


def _compared(grid: Grid, shown: Sequence[Entry]) -> str:
    """Return pictures: figures that compare beside the published, the others by themselves, win rates."""
    own = [one for one in figures(shown) if one.mode == grid.mode]
    label = {id(one): one.benchmark + ("" if one.language == "en" else f" ({one.language})") for one in own}
    pictures = ""
    comparable = {(one.benchmark, one.language) for one in own if one.comparable}
    if comparable:
        series: dict[str, dict[str, float | None]] = {}
        for one in own:
            if one.comparable:
                series.setdefault(one.checkpoint, {})[label[id(one)]] = one.value
        for fact in published():
            if fact.mode == grid.mode and (fact.benchmark, fact.language) in comparable:
                name = fact.benchmark + ("" if fact.language == "en" else f" ({fact.language})")
                series.setdefault(fact.model, {})[name] = fact.score
        title = "Checkpoints beside the published figures"
        pictures += as_figure(paired_bars(f"beside-{grid.mode}", title, "per cent", series), title)
    alone: dict[str, dict[str, float | None]] = {}
    for one in own:
        if not one.comparable:
            alone.setdefault(one.checkpoint, {})[label[id(one)]] = one.value
    if alone:
        title = f"{MARK} Not comparable with published figures, so without them"
        pictures += as_figure(paired_bars(f"alone-{grid.mode}", title, "per cent", alone), title)
    won: dict[str, dict[str, float | None]] = {
        "win rate": {name: 100 * rate for name, (rate, _) in rates(own, grid.mode).items()}
    }
    title = "Win rate: share of comparisons won, over pairs of models and the benchmarks that both have"
    return pictures + as_figure(paired_bars(f"rate-{grid.mode}", title, "per cent", won), title)


def _learning(entries: Sequence[Entry]) -> str:
    """Return a curve a task over the steps of each run, where a run has scores of two steps."""
    by_task: dict[tuple[str, str, str], dict[str, dict[int, Score]]] = {}
    for entry in latest(entries):
        one = entry.score
        whole = not one.subset or one.subset.startswith("(")
        if one.step is not None and whole:
            name = one.task + (f" {one.subset}" if one.subset else "")
            by_task.setdefault((name, one.mode, one.metric), {}).setdefault(run_of(one), {})[one.step] = one
    parts = []
    drawn = {
        key: curve
        for key, runs in by_task.items()
        if (curve := {run: points for run, points in runs.items() if len(points) > 1})
    }
    for number, ((task, mode, metric), runs) in enumerate(sorted(drawn.items())[:_MOST_CURVES]):
        title = f"{task}{f' ({mode})' if mode else ''}: {metric}"
        points = {
            run: [(float(step), one.value) for step, one in sorted(steps.items())]
            for run, steps in runs.items()
        }
        rows = [
            [f"{run}, step {step:,}", f"{one.value:.4f}", "" if one.stderr is None else f"{one.stderr:.4f}"]
            for run, steps in runs.items()
            for step, one in sorted(steps.items())
        ]
        heads = ["run and step", metric, "standard error"]
        parts.append(as_figure(curves(f"curve-{number}", title, "step", points), title))
        parts.append(as_table(title, heads, rows, set(heads[1:])))
    left = len(drawn) - _MOST_CURVES
    return "".join(parts) + (
        f"<p>{left} more curves are in the table of every score.</p>" if left > 0 else ""
    )


def _contamination(matches: Sequence[Found]) -> str:
    if not matches:
        return (
            "<p>No decontamination report: <code>smoleval items</code> writes the items of the tasks, "
            "<code>smoldata decontaminate --benchmarks</code> searches the documents for them.</p>"
        )
    heads = ["benchmark", "source", "profile", "documents", "matched tokens"]
    rows = [
        [one.benchmark, one.source, one.profile, f"{one.documents:,}", f"{one.matched_tokens:,}"]
        for one in matches
    ]
    caption = "Training documents that hold text of a benchmark, by source"
    return as_table(caption, heads, rows, set(heads[3:]))


def _others(shown: Sequence[Entry]) -> str:
    heads, rows = others(shown)
    return as_table("Scores for which nothing is published", heads, rows, set(heads[4:7])) if rows else ""


def _all(entries: Sequence[Entry]) -> str:
    heads = [
        "task",
        "subset",
        "mode",
        "metric",
        "checkpoint",
        "value",
        "items",
        "data",
        "version",
        "engine",
        "settings",
    ]
    rows = [
        [
            *(
                one.task,
                one.subset,
                one.mode,
                one.metric,
                one.checkpoint,
                f"{one.value:.4f}",
                f"{one.items:,}",
            ),
            f"{one.data_profile} {one.data_revision[:12]} {one.data_sha256[:8]}".replace("  ", " "),
            *(one.task_version, one.engine, one.settings),
        ]
        for one in (entry.score for entry in latest(entries))
    ]
    table = as_table(
        "The latest score of everything, with what it was made of", heads, rows, {"value", "items"}
    )
    return f"<details><summary>{len(rows):,} scores</summary>\n{table}</details>\n"
