"""The nested groups of a recipe into exact weights by source, and how each weight came about.

A mapping of members is a group. A group with a ``share`` takes that part of its parent, and the literals of
its members must sum to exactly 1 (or the group says ``normalise: true``: then they are proportions, and the
sum is a finding). A group without a share only gives its members a name: their literals belong to the level
above. One member of a level may be ``rest``. ``proportions: released`` takes the members of the same group
from another preset, in the proportion of their weights there. Cost: linear in the members.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from smoldata.errors import RecipeError
from smolmix.findings import NOTHING_TO_DO, Finding
from smolmix.literals import decimal_text, parse_share

_SETTINGS = ("share", "normalise", "members", "proportions")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A source or a group as the recipe states it."""

    name: str
    literal: str | None
    """``85%``, ``rest``; None for a group without a share (its weight is the sum of its members)."""
    members: tuple["Member", ...] | None
    """None for a source."""
    normalise: bool = False

    @property
    def is_open(self) -> bool:
        """True for a group without a share."""
        return self.members is not None and self.literal is None


@dataclass(frozen=True, slots=True)
class Node:
    """A source or a group with its exact weight in the stage."""

    path: Path
    """Names from the top group down to this one; the last is its own."""
    weight: Fraction
    """Share of the stage: the weight of the root is 1."""
    children: tuple["Node", ...]
    """Empty for a source."""
    literal: str
    """What the recipe says, or ``sum`` for a group without a share."""
    factor: Fraction
    """Share of the nearest group above that has a share of its own; factors multiply to the weight."""

    @property
    def name(self) -> str:
        """The last name of the path; empty for the root."""
        return self.path[-1] if self.path else ""

    def leaves(self) -> Iterator["Node"]:
        """Yield the sources below, in the order of the recipe."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def find(self, name: str) -> list["Node"]:
        """Return the nodes from the root to the source ``name``; empty if it is not below."""
        if not self.children:
            return [self] if self.name == name else []
        for child in self.children:
            if below := child.find(name):
                return [self, *below]
        return []


@dataclass(frozen=True, slots=True)
class WeightTree:
    """A preset's weights, resolved."""

    root: Node
    findings: tuple[Finding, ...]
    total: Fraction
    """What the literals of the top level sum to before they are normalised."""

    def weights(self) -> dict[str, Fraction]:
        """Return the weight of each source; they sum to exactly 1."""
        return {leaf.name: leaf.weight for leaf in self.root.leaves()}


def read_members(data: Any, where: str) -> Member:
    """Return the root of a ``weights:`` section, its shape checked.

    Raises:
        RecipeError: an unknown setting, a bad name, a value that is neither a literal nor members.
    """
    if not isinstance(data, Mapping):
        raise RecipeError(f"{where}: weights must be a mapping of sources or groups, not {data!r}")
    root = _read_member("", data, where)
    if root.literal is not None:
        raise RecipeError(f"{where}: the top level is the whole stage; remove `share`")
    return root


def _read_member(name: str, value: Any, where: str) -> Member:
    if name and not _NAME.fullmatch(name):
        raise RecipeError(f"{where}: {name!r} is no name; use letters, digits and . _ + - (at most 128)")
    if isinstance(value, str):
        if value != "rest":
            _literal(value, f"{where}: {name}")
        return Member(name, value, None)
    if not isinstance(value, Mapping) or not value:
        raise RecipeError(
            f"{where}: {name or 'weights'} needs a weight such as 12%, or members; got {value!r}"
        )
    if "members" not in value and "proportions" not in value:
        if "share" in value or "normalise" in value:
            raise RecipeError(f"{where}: group {name!r} has settings but no `members`")
        return Member(name, None, _read_all(value, f"{where}.{name}" if name else where))
    return _read_group(name, value, where)


def _read_group(name: str, value: Mapping[str, Any], where: str) -> Member:
    for key in value:
        if key not in _SETTINGS:
            near = difflib.get_close_matches(key, _SETTINGS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"settings are {', '.join(_SETTINGS)}"
            raise RecipeError(f"{where}: group {name!r} has an unknown setting {key!r}; {hint}")
    label = f"{where}.{name}" if name else where
    share = value.get("share")
    normalise = value.get("normalise", "false")
    if normalise not in {"true", "false"}:
        raise RecipeError(f"{label}: `normalise` is true or false, not {normalise!r}")
    if share is not None and share != "rest":
        _literal(share, label)
    if "proportions" in value:
        raise RecipeError(f"{label}: `proportions` must name another preset of this recipe")
    if name and share is None and normalise == "true":
        raise RecipeError(f"{label}: `normalise` needs a `share` to be normalised to")
    return Member(name, share, _read_all(value["members"], label), normalise == "true")


def _read_all(members: Any, where: str) -> tuple[Member, ...]:
    if not isinstance(members, Mapping) or not members:
        raise RecipeError(f"{where}: `members` must be a mapping with at least one member")
    return tuple(_read_member(str(name), value, where) for name, value in members.items())


def _literal(text: Any, where: str) -> Fraction:
    if not isinstance(text, str):
        raise RecipeError(f"{where}: a share is a literal such as 12%, not {text!r}")
    try:
        return parse_share(text)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error


def fill_proportions(data: Any, others: Mapping[str, Any], where: str, path: Path = ()) -> Any:
    """Return ``data`` with each ``proportions: PRESET`` replaced by the members of that preset's same group.

    Raises:
        RecipeError: no such preset, or no such group in it.
    """
    if not isinstance(data, Mapping):
        return data
    if "proportions" not in data:
        inner = "members" in data
        return {
            key: (
                fill_proportions(value, others, where, path)
                if inner and key == "members"
                else value
                if inner
                else fill_proportions(value, others, where, (*path, key))
            )
            for key, value in data.items()
        }
    if "members" in data or data.get("share") is None:
        raise RecipeError(
            f"{where}: {'.'.join(path)}: `proportions` stands with a `share` and without `members`"
        )
    preset = data["proportions"]
    group = _walk(others.get(str(preset)), path)
    if group is None:
        raise RecipeError(f"{where}: {'.'.join(path)}: preset {preset!r} has no group {'/'.join(path)}")
    rest = {key: value for key, value in data.items() if key not in {"proportions", "normalise"}}
    return {**rest, "normalise": "true", "members": group}


def _walk(data: Any, path: Path) -> Any:
    """Return the members of the group at ``path``; None if there is none."""
    for name in (*path, None):
        if isinstance(data, Mapping) and "members" in data:
            data = data["members"]
        if not isinstance(data, Mapping):
            return None
        if name is not None:
            data = data.get(name)
    return data


def resolve(root: Member, where: str) -> WeightTree:
    """Return the exact weights of a preset; they sum to 1.

    Raises:
        RecipeError: a level does not sum to 1, ``rest`` twice or nothing left for it, a source twice.
    """
    findings: list[Finding] = []
    units, total = _units(root, where, findings)
    node = _node(root, (), Fraction(1), Fraction(1) / total, "all", Fraction(1), units, where, findings)
    seen: dict[str, Path] = {}
    for leaf in node.leaves():
        if leaf.name in seen:
            raise RecipeError(
                f"{where}: source {leaf.name!r} stands in "
                f"{_group(seen[leaf.name])} and in {_group(leaf.path)}; keep one and add the weights"
            )
        seen[leaf.name] = leaf.path
    assert sum((leaf.weight for leaf in node.leaves()), Fraction(0)) == 1, "weights must sum to one"
    return WeightTree(node, tuple(findings), total)


_Units = dict[int, Fraction]
"""Weight of each member in the units of its level, by ``id`` of the member."""


def _units(level: Member, where: str, findings: list[Finding]) -> tuple[_Units, Fraction]:
    """Return the unit weight of every member of a level (open groups opened), and what they sum to."""
    units: _Units = {}
    rest: list[Member] = []
    _collect(level, units, rest)
    label = f"{where}{f'.{level.name}' if level.name else ''}"
    total = sum((units[id(member)] for member in _closed(level) if id(member) in units), Fraction(0))
    if len(rest) > 1:
        raise RecipeError(
            f"{label}: {len(rest)} members are `rest` ({', '.join(m.name for m in rest)}); one may be"
        )
    if rest and level.normalise:
        raise RecipeError(
            f"{label}: `rest` has no meaning with `normalise`; write the weight of {rest[0].name!r}"
        )
    if rest:
        if total >= 1:
            raise RecipeError(
                f"{label}: nothing is left for {rest[0].name!r}: the others sum to {_both(total)}"
            )
        units[id(rest[0])] = 1 - total
        total = Fraction(1)
    if total != 1 and not level.normalise:
        off = "too much" if total > 1 else "missing"
        raise RecipeError(
            f"{label}: weights sum to {_both(total)}, not 1: {_both(abs(total - 1))} {off}. Change a weight, "
            "write `rest` for one member, or say `normalise: true` to take them as proportions"
        )
    if total != 1 and not level.name:
        findings.append(
            Finding(
                "weights-normalised",
                "info",
                None,
                f"the weights of the list sum to {_both(total)}; each is divided by that sum",
                NOTHING_TO_DO,
            )
        )
    return units, total


def _collect(level: Member, units: _Units, rest: list[Member]) -> None:
    assert level.members is not None, "a level has members"
    for member in level.members:
        if member.is_open:
            _collect(member, units, rest)
        elif member.literal == "rest":
            rest.append(member)
        else:
            assert member.literal is not None, "a closed member has a literal"
            units[id(member)] = parse_share(member.literal)


def _closed(level: Member) -> Iterator[Member]:
    """Yield the members that carry a literal of this level."""
    for member in level.members or ():
        if member.is_open:
            yield from _closed(member)
        else:
            yield member


def _node(
    member: Member,
    path: Path,
    parent: Fraction,
    scale: Fraction,
    literal: str,
    factor: Fraction,
    units: _Units,
    where: str,
    findings: list[Finding],
) -> Node:
    """Build the node of a group or a source; ``parent * scale * unit`` is a member's weight."""
    children: list[Node] = []
    for child in member.members or ():
        child_path = (*path, child.name)
        if child.is_open:
            share = sum((units[id(m)] for m in _closed(child)), Fraction(0)) * scale
            node = _node(child, child_path, parent, scale, "sum", share, units, where, findings)
        elif child.members is None:
            share = units[id(child)] * scale
            node = Node(child_path, parent * share, (), child.literal or "", share)
        else:
            share = units[id(child)] * scale
            inner, total = _units(child, f"{where}{''.join(f'.{p}' for p in path)}", findings)
            node = _node(
                child,
                child_path,
                parent * share,
                1 / total,
                child.literal or "",
                share,
                inner,
                where,
                findings,
            )
        children.append(node)
    weight = sum((child.weight for child in children), Fraction(0))
    return Node(path, weight, tuple(children), literal, factor)


def _group(path: Path) -> str:
    return "/".join(path[:-1]) or "the top level"


def _both(value: Fraction) -> str:
    return f"{decimal_text(value)} ({value})"


def redistribute(root: Node, present: frozenset[str]) -> dict[str, Fraction]:
    """Return the weights when only the sources in ``present`` can be read; absent ones get 0; they sum to 1.

    The weight of an absent source goes to its siblings in the proportion of their weights; that of a group
    with nothing present goes to the group's siblings in the same way. ``present`` must hold at least one
    source.
    """
    weights: dict[str, Fraction] = dict.fromkeys((leaf.name for leaf in root.leaves()), Fraction(0))
    assert present & weights.keys(), "something must be present"
    _spread(root, Fraction(1), present, weights)
    return weights


def _spread(node: Node, mass: Fraction, present: frozenset[str], weights: dict[str, Fraction]) -> None:
    if not node.children:
        weights[node.name] = mass
        return
    alive = [child for child in node.children if any(leaf.name in present for leaf in child.leaves())]
    total = sum((child.weight for child in alive), Fraction(0))
    for child in alive:
        _spread(child, mass * child.weight / total, present, weights)
