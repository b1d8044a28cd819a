"""Curation: raw datasets in, documents out, every drop counted.

The public names are imported when they are first asked for: ``import smoldata`` costs a millisecond.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoldata.build import Built, build_documents
    from smoldata.pipeline_types import Limit
    from smoldata.reading import Document, DocumentReader, Report, read_documents
    from smoldata.registry import Registry, Source, load_registry
    from smoldata.sample.build import build_sample

__all__ = [
    "Built",
    "Document",
    "DocumentReader",
    "Limit",
    "Registry",
    "Report",
    "Source",
    "build_documents",
    "build_sample",
    "load_registry",
    "read_documents",
]

_HOMES = {
    "Built": "smoldata.build",
    "Document": "smoldata.reading",
    "DocumentReader": "smoldata.reading",
    "Limit": "smoldata.pipeline_types",
    "Registry": "smoldata.registry",
    "Report": "smoldata.reading",
    "Source": "smoldata.registry",
    "build_documents": "smoldata.build",
    "build_sample": "smoldata.sample.build",
    "load_registry": "smoldata.registry",
    "read_documents": "smoldata.reading",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    message = f"module 'smoldata' has no attribute {name!r}"
    raise AttributeError(message)
