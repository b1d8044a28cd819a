"""Chunks that need no regular expression: ASCII letters, alone or with one mark behind them.

Four of five distinct chunks of English are of this kind. That spaCy's rules give letters back whole, and cut
nothing but the mark off letters with a mark, is proved from the parse trees of its regular expressions
(:mod:`smoldata.heuristics.static`); what is not proved has no lane. Whether a mark is cut off can depend on
the letters before it (``a.m.`` and ``U.S.``): as many of them as the rule looks back at are remembered with
its answer.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from smoldata.heuristics.static import lone_mark


@dataclass(slots=True)
class Mark:
    """A mark behind letters."""

    code: str
    """What letters with this mark are for the sentence rule."""
    joins_right: int
    """As in :class:`smoldata.heuristics.spacy_rules.Pieces`."""
    behind: int
    """Characters at the end of a chunk that decide whether the mark is cut off, itself included."""
    search: Callable[[str], Any]
    known: dict[str, bool] = field(default_factory=dict)

    def is_cut(self, chunk: str) -> bool:
        """Return whether spaCy cuts the mark off a chunk of letters and this mark."""
        tail = chunk[-self.behind :]
        known = self.known.get(tail)
        if known is None:
            known = self.known[tail] = self.search(chunk) is not None
        return known


def marks_of(
    prefix: Any, suffix: Any, alone: Collection[str], code: Callable[[str], str], rows: Mapping[str, int]
) -> dict[str, Mark]:
    """Return the marks that have a lane; none of ``alone``, which spaCy may change afterwards."""
    found = {}
    for mark in ",.:;!?":
        behind = lone_mark(prefix, suffix, mark)
        if behind is not None and mark not in alone:
            found[mark] = Mark("W" + code(mark), rows.get(mark, 0), behind + 1, suffix)
    return found
