"""File patterns -> tests: ``*`` and ``?`` stay inside one folder, ``**/`` crosses folders."""

import re
from collections.abc import Callable, Iterable


def matcher(patterns: Iterable[str], exclude: Iterable[str] = ()) -> Callable[[str], bool]:
    """Return a test that says whether a path fits one of ``patterns`` and none of ``exclude``.

    >>> fits = matcher(["docs/**/*.rst"], ["docs/faq.rst"])
    >>> [fits(path) for path in ("docs/a.rst", "docs/b/c.rst", "docs/faq.rst", "a.rst")]
    [True, True, False, False]
    """
    wanted, unwanted = _compiled(patterns), _compiled(exclude)

    def fits(path: str) -> bool:
        return bool(wanted.fullmatch(path)) and not unwanted.fullmatch(path)

    return fits


def _compiled(patterns: Iterable[str]) -> re.Pattern[str]:
    alternatives = [_translated(pattern) for pattern in patterns]
    return re.compile("|".join(alternatives) if alternatives else r"(?!)")


def _translated(pattern: str) -> str:
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    special = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    return "".join(special.get(piece, re.escape(piece)) for piece in pieces)
