"""How a weight came about: from the literals of a recipe to the share of a stage, as data.

``weights("stage2", "blog")`` gives the exact weights; ``explain("dclm")`` gives for every stage and preset
the factors that multiply to the weight: 75 % of the stage, 63/75 of that, 330/647 of that.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from smoldata.errors import SourceError
from smolmix.groups import Node
from smolmix.literals import fraction_text
from smolmix.recipe import Preset, Recipe, load_recipe, shipped_recipes


def weights(stage: str | Path, preset: str | None = None) -> dict[str, Fraction]:
    """Return the exact weight of each source of a stage; they sum to 1.

    ``stage`` is a shipped name (``stage2``, ``2``, ``long_context_32k``) or the path of a recipe.

    Raises:
        RecipeError: there is no such recipe or preset.
    """
    return load_recipe(stage).preset(preset).tree.weights()


@dataclass(frozen=True, slots=True)
class Factor:
    """One step from the whole stage down to a source."""

    member: str
    """Path of the group or source, such as ``web/english``."""
    literal: str
    """What the recipe says: ``75%``, ``rest``, or ``sum`` for a group without a share of its own."""
    share: Fraction
    """Its exact share of the nearest group above that has a share."""
    counts: bool
    """False for a ``sum`` group: it only names its members, whose shares belong to the level above."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """How the weight of a source in one preset of one recipe came about."""

    recipe: str
    preset: str | None
    source: str
    factors: tuple[Factor, ...]
    """From the top group to the source; those that count multiply to the weight."""
    weight: Fraction

    def as_json(self) -> dict[str, Any]:
        """Return the derivation with fractions as text."""
        return {
            "recipe": self.recipe,
            "preset": self.preset,
            "source": self.source,
            "weight": fraction_text(self.weight),
            "factors": [
                {
                    "member": f.member,
                    "literal": f.literal,
                    "share": fraction_text(f.share),
                    "counts": f.counts,
                }
                for f in self.factors
            ],
        }

    def as_text(self) -> str:
        """Return the derivation as one line: ``stage2 blog: 75% of the stage x 63/75 ... = 63/200``."""
        steps = [f"{f.share} ({f.member}: {f.literal})" for f in self.factors if f.counts]
        name = f"{self.recipe} {self.preset}" if self.preset else self.recipe
        return f"{name}: {' x '.join(steps)} = {self.weight}"


def explain(source: str, recipe: str | Path | None = None, preset: str | None = None) -> list[Derivation]:
    """Return the derivations of a source's weight, one a preset; of all shipped recipes, or of one.

    Raises:
        SourceError: no recipe asked names the source; with close names.
    """
    recipes = (
        [load_recipe(recipe)] if recipe is not None else [load_recipe(name) for name in shipped_recipes()]
    )
    found = list(_derivations(source, recipes, preset))
    if not found:
        known = sorted({leaf.name for r in recipes for p in r.presets for leaf in p.tree.root.leaves()})
        near = difflib.get_close_matches(source, known, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"sources: {', '.join(known)}"
        raise SourceError(f"no weight for {source!r} in {', '.join(r.name for r in recipes)}; {hint}")
    return found


def _derivations(source: str, recipes: Iterable[Recipe], preset: str | None) -> Iterable[Derivation]:
    for recipe in recipes:
        chosen: tuple[Preset, ...] = (recipe.preset(preset),) if preset is not None else recipe.presets
        for one in chosen:
            if nodes := one.tree.root.find(source):
                yield Derivation(recipe.name, one.name, source, _factors(nodes[1:]), nodes[-1].weight)


def _factors(nodes: Iterable[Node]) -> tuple[Factor, ...]:
    return tuple(Factor("/".join(n.path), n.literal, n.factor, n.literal != "sum") for n in nodes)
