"""Training: a bundle in; checkpoints and a consumption ledger out.

::

    for batch in smoltrain.open_loader("build/sample/bundles/stage2-blog"):
        batch.ids, batch.positions, batch.labels, batch.mask
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoltrain.bundle import Bundle as Bundle
    from smoltrain.bundle import open_bundle as open_bundle
    from smoltrain.ledger import check_ledger as check_ledger
    from smoltrain.loader import Batch as Batch
    from smoltrain.loader import Loader as Loader
    from smoltrain.loader import open_loader as open_loader
    from smoltrain.torch_data import BatchDataset as BatchDataset

_HOME = {
    "Batch": "smoltrain.loader",
    "BatchDataset": "smoltrain.torch_data",
    "Bundle": "smoltrain.bundle",
    "Loader": "smoltrain.loader",
    "check_ledger": "smoltrain.ledger",
    "open_bundle": "smoltrain.bundle",
    "open_loader": "smoltrain.loader",
}
__all__ = ["Batch", "BatchDataset", "Bundle", "Loader", "check_ledger", "open_bundle", "open_loader"]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'smoltrain' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
