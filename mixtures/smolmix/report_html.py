"""Pieces of the report as HTML text: a figure, a table that can be scrolled by keyboard, numbers.

Everything that is not markup is escaped here. Cost: microseconds a row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from html import escape


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture of a section and the same in numbers."""

    name: str
    """In the name of its file."""
    title: str
    svg: str
    table: str
    """As :func:`as_table` makes it."""


def as_figure(svg: str, caption: str) -> str:
    """Return a picture with its caption; where the page is narrow it can be scrolled by keyboard."""
    region = f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}: picture">'
    return f"<figure>{region}{svg}</div><figcaption>{escape(caption)}</figcaption></figure>\n"


def as_details(summary: str, html: str, *, opened: bool = False) -> str:
    """Return a part of the page that its reader opens."""
    return f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>{html}</details>"


def as_table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], right: set[str]) -> str:
    """Return a table that can be scrolled by keyboard; the first column heads its row."""
    marks = [' class="n"' if head in right else "" for head in heads]
    head = "".join(
        f'<th scope="col"{mark}>{escape(one)}</th>' for one, mark in zip(heads, marks, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{mark}>{escape(cell)}</td>" for cell, mark in zip(row[1:], marks[1:], strict=True))
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n"
    )


def as_percent(share: Fraction | None) -> str:
    """Return a share in percent; nothing for None."""
    return "" if share is None else f"{float(100 * share):.3f}"


def as_float(value: Fraction | None) -> float | None:
    """Return the nearest float, for a picture."""
    return None if value is None else float(value)


def as_decimal(value: Fraction) -> str:
    """Return a number with three decimals."""
    return f"{float(value):.3f}"
