"""Evaluation: checkpoints in; scores that name their task, data and checkpoint out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoleval.heldout import score_checkpoint as score_checkpoint
    from smoleval.scores import Score as Score
    from smoleval.scores import read_scores as read_scores
    from smoleval.scores import save_scores as save_scores

_HOME = {
    "Score": "smoleval.scores",
    "score_checkpoint": "smoleval.heldout",
    "read_scores": "smoleval.scores",
    "save_scores": "smoleval.scores",
}
__all__ = ["Score", "read_scores", "save_scores", "score_checkpoint"]


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
