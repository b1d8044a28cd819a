"""Renderers: a raw row of one kind -> the text of a document. Pure functions, one module a kind.

:data:`RENDERERS` maps the name that a recipe's ``read: {render: …}`` gives to ``module:function``. The
function takes a row (a mapping of columns) and returns its text; it raises :class:`Unrenderable` with a
reason, which becomes a counted drop.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from smoldata.errors import RecipeError

Render = Callable[[Mapping[str, Any]], str]


class Unrenderable(ValueError):  # noqa: N818 - a reason, not a fault of the program
    """A row from which no text can be made; its message is the reason, such as ``no_answer``."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """What a renderer's name stands for."""

    function: str
    needs: tuple[str, ...]
    """Columns that must exist."""
    reads: tuple[str, ...] = ()
    """Columns that are read as well where they exist."""
    summary: str = ""


RENDERERS: dict[str, Renderer] = {}


def renderer(name: str) -> Renderer:
    """Return what a renderer's name stands for; raise :class:`RecipeError` for an unknown one."""
    if name not in RENDERERS:
        raise RecipeError(f"unknown renderer {name!r}; there are {', '.join(sorted(RENDERERS)) or 'none'}")
    return RENDERERS[name]


def render_function(name: str) -> Render:
    """Import and return the function of a renderer."""
    module, _, function = renderer(name).function.partition(":")
    found: Render = getattr(import_module(module), function)
    return found
