"""Mixtures: token manifests and a recipe in; an exact plan, a catalog and a hand-off bundle out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smolmix.derivation import explain, weights
    from smolmix.plan import Plan, load_plan
    from smolmix.plan_files import write_plan
    from smolmix.planner import plan_stage
    from smolmix.recipe import load_recipe

__all__ = ["Plan", "explain", "load_plan", "load_recipe", "plan_stage", "weights", "write_plan"]

# No module of the package may have the name of a face: importing it would hide the face.
_HOMES = {
    "Plan": "smolmix.plan",
    "explain": "smolmix.derivation",
    "load_plan": "smolmix.plan",
    "load_recipe": "smolmix.recipe",
    "plan_stage": "smolmix.planner",
    "weights": "smolmix.derivation",
    "write_plan": "smolmix.plan_files",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import smolmix`` stays light (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'smolmix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
