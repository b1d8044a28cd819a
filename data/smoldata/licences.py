"""Licences as publishers write them -> SPDX expressions and classes; gates and findings by class.

license-expression reads SPDX and ScanCode's names (The Stack's ``detected_licenses``) and knows ScanCode's
category of each; a few tags of the hub (``odc-by``, ``gpl-3``) are named here. Of ``MIT OR GPL-2.0-only`` the
freer side counts, of ``MIT AND GPL-2.0-only`` both. What is not recognised is ``unknown``: nothing is
guessed. This reads what publishers state; it is no legal advice. Cost: 0.1 s once, then microseconds.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, Literal, get_args

from smoldata.errors import InputError

LicenceClass = Literal[
    "unknown",
    "proprietary",
    "non-commercial",
    "no-derivatives",
    "share-alike",
    "copyleft",
    "attribution",
    "public-domain",
]
CLASSES: Final[tuple[LicenceClass, ...]] = get_args(LicenceClass)
"""From the most restrictive to the freest; ``attribution`` is what is called permissive."""
_CATEGORIES: Final[dict[str, LicenceClass]] = {
    "Permissive": "attribution",
    "Public Domain": "public-domain",
    "Copyleft": "copyleft",
    "Copyleft Limited": "copyleft",
    "Commercial": "proprietary",
    "Proprietary Free": "proprietary",
    "Free Restricted": "proprietary",
    "Source-available": "proprietary",
}
_TAGS: Final = {
    "odc-by": "ODC-By-1.0",
    "pddl": "PDDL-1.0",
    "odbl": "ODbL-1.0",
    "cc0": "CC0-1.0",
    "cc": "LicenseRef-unknown",
    "gpl": "GPL-1.0-or-later",
    "lgpl": "LGPL-2.0-or-later",
    "gpl-3": "GPL-3.0-only",
    "gpl-2": "GPL-2.0-only",
    "gfdl": "GFDL-1.1-or-later",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "mit license": "MIT",
    "licenseref-public-domain": "LicenseRef-scancode-public-domain",
    "public domain": "LicenseRef-scancode-public-domain",
}
"""How the hub and packages write some licences that SPDX writes otherwise."""
_WORD: Final = re.compile(r"[^\s()]+")
_EITHER: Final = re.compile(r"\s*/\s*")
_BOTH: Final = re.compile(r"\s*[,;+&]\s+|,")
_CREATIVE_COMMONS: Final = re.compile(r"^cc-by(-nc)?(-nd)?(-sa)?(-|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence that was read."""

    stated: str | None
    spdx: str | None
    """The SPDX expression; null where a part is not recognised."""
    classes: frozenset[LicenceClass]
    """Never empty."""


@cache
def read_licence(stated: str | None) -> Licence:
    """Return what a licence's text says."""
    text = (stated or "").strip()
    plain = _TAGS.get(text.lower()) or _WORD.sub(
        lambda word: _TAGS.get(word[0].lower(), word[0]), _joined(text)
    )
    tree = _parsed(plain) if text else None
    if tree is None:
        return Licence(stated, None, frozenset[LicenceClass]({"unknown"}))
    keys = {str(key) for symbol in tree.symbols for key in _parts(symbol)}
    known = keys <= _categories().keys()
    return Licence(stated, tree.render() if known else None, _classes(tree))


def classes_of(stated: str | None) -> frozenset[LicenceClass]:
    """Return the classes of a licence."""
    return read_licence(stated).classes


def _joined(text: str) -> str:
    """Return an expression: of ``MIT/Apache-2.0`` packages mean one, of ``MIT, BSD-3-Clause`` both."""
    return _BOTH.sub(" AND ", _EITHER.sub(" OR ", text))


@cache
def _licensing() -> Any:
    from license_expression import get_spdx_licensing  # type: ignore[import-untyped]

    return get_spdx_licensing()


@cache
def _categories() -> dict[str, str]:
    """Return ScanCode's category by SPDX key."""
    from license_expression import get_license_index

    found: dict[str, str] = {}
    for entry in get_license_index():
        key = entry.get("spdx_license_key")
        if key:
            found.setdefault(key, entry["category"])
    return found


def _parsed(text: str) -> Any:
    """Return the tree of an expression; null for what is none."""
    try:
        return _licensing().parse(text)
    except Exception:  # noqa: BLE001 - the library's errors share no base
        return None


def _parts(symbol: Any) -> Iterator[str]:
    """Yield the keys of a licence, and of its exception."""
    base = getattr(symbol, "license_symbol", None)
    if base is None:
        yield symbol.key
    else:
        yield base.key
        yield symbol.exception_symbol.key


def _classes(tree: Any) -> frozenset[LicenceClass]:
    if not tree.args:
        return _classes_of_key(next(_parts(tree)))
    sides = [_classes(side) for side in tree.args]
    if type(tree).__name__ == "OR":
        return min(sides, key=_burden)
    return frozenset[LicenceClass]().union(*sides)


def _burden(classes: frozenset[LicenceClass]) -> tuple[bool, ...]:
    """Order licences by what they ask for: an unknown one asks most."""
    return tuple(one in classes for one in CLASSES)


def _classes_of_key(key: str) -> frozenset[LicenceClass]:
    creative = _CREATIVE_COMMONS.match(key)
    if creative:
        named: tuple[LicenceClass, ...] = ("non-commercial", "no-derivatives", "share-alike")
        held = [one for one, part in zip(named, creative.groups(), strict=False) if part]
        return frozenset(held) or frozenset[LicenceClass]({"attribution"})
    if key.startswith(("ODbL", "GFDL")):
        return frozenset[LicenceClass]({"share-alike"})
    return frozenset[LicenceClass]({_CATEGORIES.get(_categories().get(key, ""), "unknown")})


def read_classes(given: Iterable[str]) -> tuple[LicenceClass, ...]:
    """Return classes named on a command line or in a recipe, each once, in the order of :data:`CLASSES`.

    ``permissive`` stands for ``attribution`` and ``public-domain``. Raises InputError for an unknown name.
    """
    names = {part.strip() for entry in given for part in entry.split(",") if part.strip()}
    if "permissive" in names:
        names = names - {"permissive"} | {"attribution", "public-domain"}
    unknown = sorted(names - set(CLASSES))
    if unknown:
        near = get_close_matches(unknown[0], CLASSES, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"unknown class of licence {unknown[0]!r}; {hint}classes: {', '.join(CLASSES)}")
    return tuple(one for one in CLASSES if one in names)


@dataclass(frozen=True, slots=True)
class Gated:
    """A source whose licence is of a forbidden class."""

    source: str
    licence: str | None
    classes: tuple[LicenceClass, ...]
    """Those of them that are forbidden."""


def gated(licences: Iterable[tuple[str, str | None]], forbidden: Sequence[LicenceClass]) -> list[Gated]:
    """Return the sources, given as (name, licence), that a gate holds back."""
    rows = [
        Gated(name, stated, tuple(one for one in forbidden if one in classes_of(stated)))
        for name, stated in licences
    ]
    return [row for row in rows if row.classes]
