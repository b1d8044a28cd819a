"""Duplicates: exact ones after a stated normalisation, near ones by MinHash; within a source and across.

The names are imported when they are first asked for, as everywhere in the house.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoldata.dedup.across import dedup_sources
    from smoldata.dedup.clusters import components, keep_one
    from smoldata.dedup.signatures import Signer

_HOMES = {
    "Signer": "smoldata.dedup.signatures",
    "components": "smoldata.dedup.clusters",
    "dedup_sources": "smoldata.dedup.across",
    "keep_one": "smoldata.dedup.clusters",
}

__all__ = ["Signer", "components", "dedup_sources", "keep_one"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'smoldata.dedup' has no attribute {name!r}")
