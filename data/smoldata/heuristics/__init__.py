"""The web heuristics of Gopher, C4 and FineWeb: datatrove's decisions and reasons, one split a document.

The names are imported when they are first asked for, as everywhere in the house.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoldata.heuristics.c4 import C4QualityFilter
    from smoldata.heuristics.fineweb import FineWebQualityFilter
    from smoldata.heuristics.quality import GopherQualityFilter
    from smoldata.heuristics.repetition import GopherRepetitionFilter
    from smoldata.heuristics.splitter import WordSplitter, shared_splitter
    from smoldata.heuristics.web import WebHeuristics

_HOMES = {
    "C4QualityFilter": "smoldata.heuristics.c4",
    "FineWebQualityFilter": "smoldata.heuristics.fineweb",
    "GopherQualityFilter": "smoldata.heuristics.quality",
    "GopherRepetitionFilter": "smoldata.heuristics.repetition",
    "WebHeuristics": "smoldata.heuristics.web",
    "WordSplitter": "smoldata.heuristics.splitter",
    "shared_splitter": "smoldata.heuristics.splitter",
}

__all__ = [
    "C4QualityFilter",
    "FineWebQualityFilter",
    "GopherQualityFilter",
    "GopherRepetitionFilter",
    "WebHeuristics",
    "WordSplitter",
    "shared_splitter",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'smoldata.heuristics' has no attribute {name!r}")
