"""Caps on passes, over a stage and over the curriculum: an error, or exact redistribution.

``redistribute``: a source that would be read more often than its cap gets exactly the windows its cap
allows; what is taken from it goes to the other sources of its group in the proportion of their weights, and
where a whole group is at its caps, to the group's siblings. Repeated until no cap is passed; each round caps
at least one source more.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from smoldata.errors import RecipeError
from smolmix.findings import Finding
from smolmix.groups import Node
from smolmix.literals import decimal_text
from smolmix.recipe import Caps


@dataclass(frozen=True, slots=True)
class Room:
    """What is left of a source for a stage."""

    name: str
    capacity: int | None
    """Windows of one pass; None: unknown."""
    passes_before: Fraction | None

    def most(self, caps: Caps) -> int | None:
        """Return the most windows that the caps allow; None: no limit, or the size is unknown."""
        if self.capacity is None or self.passes_before is None:
            return None
        limits = [cap for cap in (caps.stage, self._left(caps)) if cap is not None]
        return int(min(limits) * self.capacity) if limits else None

    def _left(self, caps: Caps) -> Fraction | None:
        if caps.curriculum is None or self.passes_before is None:
            return None
        return max(caps.curriculum - self.passes_before, Fraction(0))


def apply_caps(
    root: Node, weights: dict[str, Fraction], total: int, caps: Caps, rooms: Iterable[Room]
) -> tuple[dict[str, Fraction], list[Finding]]:
    """Return the weights under which ``total`` windows pass no cap, and what was done.

    Raises:
        RecipeError: a cap is passed and the recipe says ``error``, or all sources together have too little.
    """
    most = {room.name: limit for room in rooms if (limit := room.most(caps)) is not None}
    over = _over(weights, total, most)
    if not over:
        return weights, []
    if caps.on_cap == "error":
        name = over[0]
        raise RecipeError(
            f"source {name!r} would give {decimal_text(weights[name] * total, 1)} windows, its cap "
            f"allows {most[name]:,} (passes: stage {caps.stage}, curriculum {caps.curriculum}); {len(over)} "
            "source(s) pass a cap: lower the budget or the weight, raise `max_passes`, or set "
            "`on_cap: redistribute`"
        )
    planned = dict(weights)
    fixed: dict[str, Fraction] = {}
    while over:
        fixed |= {name: Fraction(most[name], total) for name in over}
        free = {name for name, weight in weights.items() if name not in fixed and weight > 0}
        if not free:
            allowed = sum(most.values())
            raise RecipeError(
                f"all sources are at their caps: together they allow {allowed:,} windows, the budget has "
                f"{total:,}; lower the budget or raise `max_passes`"
            )
        planned = dict(fixed) | dict.fromkeys(weights.keys() - fixed.keys(), Fraction(0))
        _spread(root, Fraction(1), weights, fixed, planned)
        over = _over({name: planned[name] for name in free}, total, most)
    return planned, [_finding(name, weights[name], planned[name], total) for name in sorted(fixed)]


def _over(weights: dict[str, Fraction], total: int, most: dict[str, int]) -> list[str]:
    """Return the sources whose exact share passes their cap, by name."""
    return sorted(name for name, limit in most.items() if name in weights and weights[name] * total > limit)


def _spread(
    node: Node,
    mass: Fraction,
    weights: dict[str, Fraction],
    fixed: dict[str, Fraction],
    planned: dict[str, Fraction],
) -> None:
    """Share ``mass`` out below ``node``: fixed sources take theirs, free ones the rest by weight."""
    if not node.children:
        planned[node.name] = mass
        return
    taken = {child.path: _fixed(child, fixed) for child in node.children}
    free = {child.path: _free(child, weights, fixed) for child in node.children}
    wanted = {child.path: _planned_share(child, weights) for child in node.children}
    total_wanted = sum(wanted.values(), Fraction(0))
    share = {
        path: mass * weight / total_wanted if total_wanted else Fraction(0) for path, weight in wanted.items()
    }
    # A group that is fixed throughout keeps what its caps allow; its surplus goes to the others.
    open_ = [child for child in node.children if free[child.path] > 0]
    closed_mass = sum((taken[child.path] for child in node.children if free[child.path] == 0), Fraction(0))
    open_wanted = sum((share[child.path] for child in open_), Fraction(0))
    for child in open_:
        _spread(child, (mass - closed_mass) * share[child.path] / open_wanted, weights, fixed, planned)


def _fixed(node: Node, fixed: dict[str, Fraction]) -> Fraction:
    return sum((fixed.get(leaf.name, Fraction(0)) for leaf in node.leaves()), Fraction(0))


def _free(node: Node, weights: dict[str, Fraction], fixed: dict[str, Fraction]) -> Fraction:
    return sum((weights[leaf.name] for leaf in node.leaves() if leaf.name not in fixed), Fraction(0))


def _planned_share(node: Node, weights: dict[str, Fraction]) -> Fraction:
    return sum((weights[leaf.name] for leaf in node.leaves()), Fraction(0))


def _finding(name: str, before: Fraction, after: Fraction, total: int) -> Finding:
    return Finding(
        "capped-source",
        "warning",
        name,
        f"{name} is at its cap: {decimal_text(before * 100, 4)} % became {decimal_text(after * 100, 4)} % "
        f"({decimal_text(after * total, 1)} windows); the rest went to its group by weight",
        "raise `max_passes`, lower the budget, or find more text for it",
    )
