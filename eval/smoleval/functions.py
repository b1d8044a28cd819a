"""Functions that task definitions name: ``module.function`` under smoleval.prompts, .metrics or .readers.

A module registers a function by decorating it with :func:`register`, giving the version of its rule: a new
version gives every task that names it a new ``task_version``. Modules of this kind import nothing heavy at
their top (lighteval takes 20 s): what they need is imported inside the function.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, TypeVar

from smoldata.errors import InputError

Kind = Literal["prompts", "metrics", "readers"]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_VERSION = "__smoleval_version__"


@dataclass(frozen=True, slots=True)
class Registered:
    """A function that was found by name."""

    name: str
    version: int
    call: Callable[..., Any]


def register(*, version: int) -> Callable[[_Function], _Function]:
    """Mark a function so that task definitions can name it.

    Raise ``version`` whenever the function returns something else for the same row.
    """

    def mark(function: _Function) -> _Function:
        setattr(function, _VERSION, version)
        return function

    return mark


def find(kind: str, name: str) -> Registered:
    """Return the function ``module.function`` of ``smoleval.<kind>``.

    Raises :class:`InputError` with a "did you mean" if there is none.
    """
    module_name, dot, function_name = name.partition(".")
    path = f"smoleval.{kind}.{module_name}"
    if not (dot and module_name.isidentifier() and function_name.isidentifier()):
        raise InputError(f"{name!r} is no function of smoleval.{kind}; want module.function")
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise InputError(f"there is no module {path} for {name!r}") from error
    function = getattr(module, function_name, None)
    version = getattr(function, _VERSION, None)
    if function is None or version is None:
        known = sorted(key for key, value in vars(module).items() if hasattr(value, _VERSION))
        close = difflib.get_close_matches(function_name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {module_name}.{close[0]}?" if close else ""
        raise InputError(f"{path} registers no function {function_name!r}{hint} It has: {', '.join(known)}")
    return Registered(name, version, function)
