"""What a regular expression can never match: a proof by its parse tree, so that calls can be left out.

:func:`needs_other` shows that every match of a pattern takes or looks at a character outside ASCII letters;
then a text of ASCII letters alone holds no match. It is sound, not complete: what it does not understand
counts as able to match. :func:`lone_mark` shows more: that nothing but a mark behind letters is a suffix;
:func:`never_at_edge` which characters no match begins or ends with.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from string import ascii_letters
from typing import Any

_LETTERS = frozenset(map(ord, ascii_letters))
_OTHER = 128
"""Stands for every character outside ASCII."""


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


def lone_mark(prefix: Any, suffix: Any, mark: str) -> int | None:
    """Return how many letters before it decide whether a mark after ASCII letters is a suffix.

    Proved for every text of one or more ASCII letters and ``mark``: ``prefix`` (a bound ``search``) finds
    nothing, ``suffix`` finds the mark alone or nothing, and which of both depends on so many characters
    before the mark at most. None if this cannot be shown.
    """
    trees = [_tree(search) for search in (prefix, suffix)]
    if None in trees:
        return None
    allowed = _LETTERS | {ord(mark)}
    try:
        if not all(_starts_outside(path, allowed) for path in _paths(trees[0])):
            return None
        spans = [_span(path, allowed) for path in _paths(trees[1])]
    except (_NotUnderstoodError, IndexError):
        return None
    possible = [span for span in spans if span is not None and span.marks <= 1]
    if any(span.marks != 1 or span.width != 1 or span.letters for span in possible):
        return None
    return max((span.behind for span in possible), default=0)


def never_at_edge(search: Any, *, last: bool, without: str = "") -> frozenset[str]:
    """Return ASCII characters that no match begins with (``last``: ends with) at that edge of a text.

    True of texts that have no white space and nothing of ``without`` in them.

    ``search`` is a bound ``search``; empty where nothing can be shown.
    """
    tree = _tree(search)
    if tree is None:
        return frozenset()
    allowed = frozenset(range(_OTHER + 1)) - frozenset(map(ord, without))
    found: set[int] = set()
    try:
        for path in _paths(tree):
            nodes = [node for node in path if str(node[0]) != "AT"]
            if _span(nodes, allowed) is not None:
                found |= _edge(nodes, last=last)
    except (_NotUnderstoodError, IndexError):
        return frozenset()
    return frozenset(chr(code) for code in range(33, _OTHER) if code not in found)


def _edge(nodes: Any, *, last: bool) -> frozenset[int]:
    """Return what a match of nodes one after the other may begin or end with."""
    for kind, value in reversed(list(nodes)) if last else nodes:
        name = str(kind)
        if name in ("LITERAL", "IN"):
            return _takes(name, value)
        if name == "SUBPATTERN" or (name == "MAX_REPEAT" and value[0] > 0):
            return _edge(value[-1], last=last)
        if name == "BRANCH":
            return frozenset().union(*(_edge(path, last=last) for path in value[1]))
        if name not in ("ASSERT", "ASSERT_NOT"):
            break
    raise _NotUnderstoodError(str(nodes))


class _NotUnderstoodError(Exception):
    """A pattern holds what no proof was written for."""


@dataclass(frozen=True, slots=True)
class _Span:
    """What a match within some characters is like."""

    marks: int
    """Characters that are no letters which it takes, at least."""
    width: int
    """Characters that it takes, at most."""
    behind: int
    """Characters before it that it looks at, at most."""
    letters: bool
    """It could take a letter."""


_NOTHING = _Span(0, 0, 0, letters=False)


def _tree(search: Any) -> Any:
    """Return the parse tree of the pattern behind a bound method; None if it is not one of these."""
    pattern = getattr(search, "__self__", None)
    if not isinstance(pattern, re.Pattern) or pattern.flags & (re.IGNORECASE | re.MULTILINE | re.DOTALL):
        return None
    try:
        return import_module("re._parser").parse(pattern.pattern, pattern.flags)
    except (ImportError, re.error, RecursionError):
        return None


def _paths(tree: Any) -> list[Any]:
    """Return the alternatives on top of a pattern, each a list of nodes."""
    nodes = list(tree)
    if nodes and str(nodes[-1][0]) == "BRANCH":
        return [[*nodes[:-1], *path] for path in nodes[-1][1][1]]
    return [nodes]


def _starts_outside(nodes: Any, allowed: frozenset[int]) -> bool:
    """Return whether an alternative is tied to the start of a text and cannot begin with a letter there."""
    if _span(nodes, allowed, anchored=True) is None:
        return True
    kinds = [(str(kind), value) for kind, value in nodes]
    if kinds[0][0] != "AT" or str(kinds[0][1]) != "AT_BEGINNING":
        return False
    for kind, value in kinds[1:]:
        if kind not in ("ASSERT", "ASSERT_NOT"):
            while kind in ("MAX_REPEAT", "SUBPATTERN") and (kind == "SUBPATTERN" or value[0] > 0):
                kind, value = str(value[-1][0][0]), value[-1][0][1]  # noqa: PLW2901 - its first node
            return kind in ("LITERAL", "IN") and not _takes(kind, value) & _LETTERS
    return False


def _span(nodes: Any, allowed: frozenset[int], *, anchored: bool = False) -> _Span | None:
    """Return what a match of nodes one after the other is like; None if there is none within ``allowed``."""
    total = _NOTHING
    for place, (kind, value) in enumerate(nodes):
        if anchored and place == 0 and str(value) == "AT_BEGINNING":
            continue
        part = _node_span(str(kind), value, allowed)
        if part is None:
            return None
        behind = max(total.behind, part.behind)
        letters = total.letters or part.letters
        total = _Span(total.marks + part.marks, total.width + part.width, behind, letters)
    return total


def _node_span(kind: str, value: Any, allowed: frozenset[int]) -> _Span | None:
    if kind in ("LITERAL", "IN"):
        takes = _takes(kind, value) & allowed
        return _Span(int(not takes & _LETTERS), 1, 0, bool(takes & _LETTERS)) if takes else None
    if kind == "AT" and str(value) in ("AT_END", "AT_END_STRING"):
        return _NOTHING
    handler = _SPANS.get(kind)
    if handler is None:
        raise _NotUnderstoodError(kind)
    return handler(value, allowed)


def _looked_at(value: Any, allowed: frozenset[int]) -> _Span | None:
    inner = _span(value[1], allowed)
    if inner is None:
        return None
    return _Span(0, 0, inner.behind + (inner.width if value[0] < 0 else 0), letters=False)


def _either(value: Any, allowed: frozenset[int]) -> _Span | None:
    spans = [_span(path, allowed) for path in value[1]]
    some = [span for span in spans if span is not None]
    if not some:
        return None
    return _Span(
        min(span.marks for span in some),
        max(span.width for span in some),
        max(span.behind for span in some),
        any(span.letters for span in some),
    )


def _repeated(value: Any, allowed: frozenset[int]) -> _Span | None:
    least, most, nodes = value
    span = _span(nodes, allowed)
    if span is None:
        return None if least else _NOTHING
    return _Span(span.marks * least, span.width * int(most), span.behind, span.letters)


_SPANS: dict[str, Callable[[Any, frozenset[int]], _Span | None]] = {
    "ASSERT": _looked_at,
    "ASSERT_NOT": lambda value, allowed: _looked_at(value, allowed) or _NOTHING,
    "SUBPATTERN": lambda value, allowed: _span(value[-1], allowed),
    "BRANCH": _either,
    "MAX_REPEAT": _repeated,
}


def _takes(kind: str, value: Any) -> frozenset[int]:
    """Return the characters that a literal or a set matches; all beyond ASCII count as one."""
    if kind == "LITERAL":
        return frozenset({min(value, _OTHER)})
    found: set[int] = set()
    for member, what in value:
        if str(member) == "LITERAL":
            found.add(min(what, _OTHER))
        elif str(member) == "RANGE":
            found.update(range(min(what[0], _OTHER), min(what[1], _OTHER) + 1))
        else:
            raise _NotUnderstoodError(str(member))
    return frozenset(found)
