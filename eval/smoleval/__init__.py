"""Evaluation: checkpoints in; scores that name their task, data and checkpoint out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoleval.heldout import score_checkpoint as score_checkpoint
    from smoleval.scores import Score as Score
    from smoleval.scores import write_scores as write_scores

_HOME = {
    "Score": "smoleval.scores",
    "score_checkpoint": "smoleval.heldout",
    "write_scores": "smoleval.scores",
}
__all__ = ["Score", "score_checkpoint", "write_scores"]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'smoleval' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
