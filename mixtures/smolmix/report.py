"""The build folder as one page for people: plans and manifests in, report.html out.

One section a curriculum (a chain of plans that follow each other), then one a kind of data that is there
(:data:`smolmix.report_sections.SECTIONS`). The page stands alone: no script, no network, no date; the same
build gives the same bytes. Every picture is followed by its numbers as a table. Cost: about 0.1 s a
curriculum.
"""

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from smoldata.files import write_atomic
from smoldata.registry import Registry, load_registry
from smolmix.report_curriculum import curricula, section
from smolmix.report_sections import Part, parts_of

REPORT = "report.html"


def write_report(build: Path, registry: Registry | None = None) -> Path:
    """Write ``build/report.html`` for every plan in the build folder; return its path.

    ``registry`` says what is published about the sources (None: the one that ships).
    """
    build = Path(build)
    path = build / REPORT
    found = [Part(one.anchor, one.title, section(one, number)) for number, one in enumerate(curricula(build))]
    write_atomic(path, render([*found, *parts_of(build, registry or load_registry())]))
    return path


def render(found: Sequence[Part]) -> str:
    """Return the page as HTML text."""
    css = (resources.files("smolmix") / "templates" / "report.css").read_text("utf-8")
    links = "".join(f'<li><a href="#{escape(one.anchor)}">{escape(one.title)}</a></li>' for one in found)
    sections = "".join(one.html for one in found)
    empty = "" if found else "<p>No plan yet: run <code>make mixture STAGE=2</code>.</p>"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # The browser itself is told to load nothing: a slip would show on its console.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        '<link rel="icon" href="data:,">\n'
        f"<title>Mixtures</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">Skip to the numbers</a>\n<header><h1>Mixtures</h1>\n'
        "<p>What a model is trained on: a section for each curriculum (stages that follow each other), "
        "then the data. Any number here can be asked for in SQL: <code>make sql</code>.</p></header>\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main id="main">{empty}{sections}</main>\n'
        "</body>\n</html>\n"
    )
