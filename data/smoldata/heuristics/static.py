"""What a regular expression can never match: a proof by its parse tree, so that calls can be left out.

:func:`needs_other` shows that every match of a pattern takes or looks at a character outside ASCII letters;
then a text of ASCII letters alone holds no match. It is sound, not complete: what it does not understand
counts as able to match.
"""

import re
from collections.abc import Callable
from importlib import import_module
from string import ascii_letters
from typing import Any

_LETTERS = frozenset(map(ord, ascii_letters))


def needs_other(search: Any) -> bool:
    """Return true if the pattern behind a bound ``search`` or ``finditer`` surely needs a non-letter.

    False where the pattern is not known.
    """
    pattern = getattr(search, "__self__", None)
    if not isinstance(pattern, re.Pattern) or pattern.flags & re.IGNORECASE:
        return False
    try:
        tree = import_module("re._parser").parse(pattern.pattern, pattern.flags)
    except (ImportError, re.error, RecursionError):
        return False
    return not _sequence(tree)


def _sequence(tree: Any) -> bool:
    """Return whether all nodes of a sequence could match within letters."""
    return all(_node(str(kind), value) for kind, value in tree)


def _node(kind: str, value: Any) -> bool:
    handler = _HANDLERS.get(kind)
    return True if handler is None else handler(value)


def _one_of(members: Any) -> bool:
    """Return whether a set of characters holds a letter, or something that is not understood."""
    return any(_may_be_letter(str(kind), value) for kind, value in members)


def _may_be_letter(kind: str, value: Any) -> bool:
    if kind == "LITERAL":
        return value in _LETTERS
    if kind == "RANGE":
        return any(value[0] <= letter <= value[1] for letter in _LETTERS)
    return True


def _repeat(value: Any) -> bool:
    return value[0] == 0 or _sequence(value[2])


_HANDLERS: dict[str, Callable[[Any], bool]] = {
    "LITERAL": lambda value: value in _LETTERS,
    "IN": _one_of,
    "BRANCH": lambda value: any(map(_sequence, value[1])),
    "SUBPATTERN": lambda value: _sequence(value[-1]),
    "ASSERT": lambda value: _sequence(value[1]),
    "MAX_REPEAT": _repeat,
    "MIN_REPEAT": _repeat,
    "POSSESSIVE_REPEAT": _repeat,
}
