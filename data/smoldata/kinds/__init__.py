"""Renderers: a raw row of one kind -> the text of a document. Pure functions, one module a kind.

:data:`RENDERERS` maps the name that a recipe's ``read: {render: …}`` gives to ``module:function``. The
function takes a row (a mapping of columns) and returns its text; it raises :class:`Unrenderable` with a
reason, which becomes a counted drop.
"""

import difflib
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
    reads: tuple[str, ...]
    """Columns that are read as well where they exist."""
    summary: str


RENDERERS: dict[str, Renderer] = {
    "jupyter_structured": Renderer(
        "smoldata.kinds.notebook:structured",
        (),
        ("cells", "worksheets", "content"),
        "cells and outputs, tagged",
    ),
    "jupyter_script": Renderer(
        "smoldata.kinds.notebook:script",
        (),
        ("cells", "worksheets", "content"),
        "one script, text as comments",
    ),
    "kaggle": Renderer(
        "smoldata.kinds.notebook:kaggle",
        (),
        ("cells", "worksheets", "content", "title", "datasets"),
        "one script under a header that names the notebook's data",
    ),
    "github_issue": Renderer(
        "smoldata.kinds.discussion:issue",
        (),
        ("events", "title", "body", "user", "comments", "state"),
        "an issue",
    ),
    "pull_request": Renderer(
        "smoldata.kinds.discussion:pull_request",
        ("pull_request",),
        ("files", "comments", "reviews", "review_comments"),
        "title, description, changes, reviews",
    ),
    "stackexchange": Renderer(
        "smoldata.kinds.stackexchange:question_and_answers",
        ("question", "answers"),
        ("title",),
        "a question and its answers, best first",
    ),
    "wikipedia": Renderer(
        "smoldata.kinds.wikipedia:article",
        ("text",),
        ("title", "namespace", "redirect"),
        "wiki markup as text",
    ),
    "paper": Renderer(
        "smoldata.kinds.paper:paper", ("title", "abstract"), ("sections",), "title, abstract and sections"
    ),
    "problem": Renderer(
        "smoldata.kinds.chat:problem",
        ("problem", "generated_solution"),
        (),
        "a problem and its worked solution",
    ),
    "chat": Renderer("smoldata.kinds.chat:conversation", (), ("messages", "conversations"), "turns, by role"),
    "chat_contents": Renderer(
        "smoldata.kinds.chat:contents", (), ("messages", "conversations"), "what was said, without the roles"
    ),
}


def renderer(name: str) -> Renderer:
    """Return what a renderer's name stands for; raise :class:`RecipeError` for an unknown one."""
    if name in RENDERERS:
        return RENDERERS[name]
    close = difflib.get_close_matches(name, RENDERERS, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise RecipeError(f"unknown renderer {name!r}{hint} There are {', '.join(sorted(RENDERERS))}")


def render_function(name: str) -> Render:
    """Import and return the function of a renderer."""
    module, _, function = renderer(name).function.partition(":")
    found: Render = getattr(import_module(module), function)
    return found
