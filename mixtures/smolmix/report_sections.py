"""Sections of the report about data, one a kind: what is there is shown, what is not is left out.

A section is a :class:`Section` in :data:`SECTIONS`: ``available`` says whether a profile's folder has what
it needs, ``draw`` returns its pictures, each with the table that says the same in numbers. To add one, write
a module like :mod:`smolmix.report_compression` and name it here; nav, anchors, dark mode, print and SVG
files come by themselves.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from smoldata.registry import Registry
from smolmix import report_compression, report_documents
from smolmix.report_html import Drawn, as_details, as_figure


@dataclass(frozen=True, slots=True)
class Section:
    """A kind of section."""

    name: str
    """In anchors and file names: ``<profile>-<name>``."""
    title: str
    available: Callable[[Path], bool]
    """Whether a profile's folder (``build/<profile>``) has what the section shows."""
    draw: Callable[[Path, Registry, str], list[Drawn]]
    """From that folder, the registry and the prefix of identifiers within the page."""


SECTIONS: Final[tuple[Section, ...]] = (
    Section("documents", "What the documents are", report_documents.available, report_documents.draw),
    Section(
        "compression", "Characters and bytes a token", report_compression.available, report_compression.draw
    ),
)
"""In the order of the page."""


@dataclass(frozen=True, slots=True)
class Part:
    """A section as it stands on the page."""

    anchor: str
    title: str
    html: str


def drawn(build: Path, registry: Registry) -> Iterator[tuple[str, str, list[Drawn]]]:
    """Yield (anchor, title, pictures) of each section that has its data, by profile."""
    for profile in sorted(one for one in build.glob("*") if one.is_dir()):
        for one in SECTIONS:
            if one.available(profile):
                anchor = f"{profile.name}-{one.name}"
                yield anchor, f"{one.title} ({profile.name})", one.draw(profile, registry, anchor)


def parts_of(build: Path, registry: Registry) -> list[Part]:
    """Return the sections that have their data, as HTML."""
    return [
        Part(anchor, title, _html(anchor, title, pictures))
        for anchor, title, pictures in drawn(build, registry)
    ]


def _html(anchor: str, title: str, pictures: list[Drawn]) -> str:
    body = "".join(
        as_figure(one.svg, one.title) + as_details(f"{one.title}: the numbers", one.table) for one in pictures
    )
    name = escape(anchor)
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{escape(title)}</h2>\n{body}</section>\n'
