"""A paper's title, abstract and sections -> one document, as peS2o lays them out.

peS2o (Soldaini and Lo 2023) joins title and abstract by an empty line, and the sections' headings and
paragraphs after them. ``sections`` is a list of mappings with ``heading`` and ``text``, or of texts.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from smoldata.kinds import Unrenderable


def paper(row: Mapping[str, Any]) -> str:
    """Return the paper as text; raise :class:`Unrenderable` without a title or an abstract."""
    title, abstract = (str(row.get(name) or "").strip() for name in ("title", "abstract"))
    if not title or not abstract:
        raise Unrenderable("no_title" if not title else "no_abstract")
    return "\n\n".join([title, abstract, *_sections(row.get("sections") or ())]) + "\n"


def _sections(sections: Any) -> Iterator[str]:
    for section in sections:
        if isinstance(section, Mapping):
            parts = (section.get("heading"), section.get("text"))
            yield from (part.strip() for part in parts if isinstance(part, str) and part.strip())
        elif isinstance(section, str) and section.strip():
            yield section.strip()
