"""A recipe and a supply into plans: the stage asked for, after all the stages that it follows.

Per stage: which sources have windows, the exact weights after redistribution, the budget in whole steps,
counts by largest remainder, offsets from the stages before, the proved prefix bound, findings, the lock.
Pure: `int` and `Fraction` only; reading and writing are :mod:`smolmix.sources` and :mod:`smolmix.plan_files`.
Cost: milliseconds for 60 sources, plus numpy passes over the shards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from smoldata.errors import RecipeError
from smolmix import plan_findings
from smolmix.apportion import largest_remainder
from smolmix.caps import Room, apply_caps
from smolmix.curriculum import Cursor, enter
from smolmix.findings import Finding
from smolmix.groups import Node, redistribute
from smolmix.literals import decimal_text, parse_budget
from smolmix.lock import digest, make_lock
from smolmix.permutation import I64
from smolmix.plan import BudgetPlan, Follows, Plan, SourcePlan
from smolmix.recipe import Preset, Recipe, load_recipe
from smolmix.sequence import source_key
from smolmix.shard_table import shard_table, shards_digest
from smolmix.supply import SourceSupply, Supply
from smolmix.tree import build_tree, prefix_bounds

Profile = Literal["sample", "full", "hub"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A recipe with the preset to plan it with."""

    recipe: Recipe
    preset: Preset


def chain(recipe: Recipe, preset: str | None = None) -> list[Stage]:
    """Return the stages in the order of training, the given recipe last.

    The preset that is asked for must exist in that recipe; an earlier recipe without it takes its own
    default.

    Raises:
        RecipeError: a circle, or stages that do not share seed, validation share and tokenizer.
    """
    stages = [Stage(recipe, recipe.preset(preset))]
    seen = {recipe.name}
    while (before := stages[0].recipe.follows) is not None:
        earlier = load_recipe(before)
        if earlier.name in seen:
            raise RecipeError(f"recipe {recipe.name!r} follows itself through {earlier.name!r}")
        seen.add(earlier.name)
        stages.insert(0, Stage(earlier, earlier.preset_or_default(preset or stages[-1].preset.name)))
        _check_same(earlier, recipe)
    return stages


def _check_same(earlier: Recipe, recipe: Recipe) -> None:
    """Raise if two stages of a curriculum differ in what must be one for all."""
    for what, theirs, ours in (
        ("seed", earlier.seed, recipe.seed),
        ("validation", earlier.validation, recipe.validation),
        ("tokenizer", earlier.tokenizer.name, recipe.tokenizer.name),
    ):
        if theirs != ours:
            raise RecipeError(
                f"recipe {recipe.name!r} has {what} {ours}, but {earlier.name!r}, which it follows, has "
                f"{theirs}; offsets carry over only if all stages agree: make them agree, or remove `follows`"
            )


def plan_stage(
    recipe: Recipe,
    supply: Supply,
    *,
    preset: str | None = None,
    profile: Profile = "sample",
    budget: str | None = None,
) -> list[Plan]:
    """Return the plans of the recipe and of all stages before it, in the order of training.

    ``budget`` (``100B``, ``2000 steps``) replaces that of the last stage.

    Raises:
        RecipeError: nothing to draw from, a budget below one step, a cap passed with ``on_cap: error``.
    """
    plans: list[Plan] = []
    cursors: dict[str, Cursor] = {}
    digests: dict[str, str] = {}
    stages = chain(recipe, preset)
    for stage in stages:
        asked = budget if stage is stages[-1] else None
        planned = _Planner(
            stage, supply, profile, asked, cursors, digests, plans[-1] if plans else None
        ).plan()
        plans.append(planned)
        cursors = _advance(cursors, planned)
    return plans


def plan_after(
    plans: Sequence[Plan], stage: Stage, supply: Supply, profile: Profile, budget: str | None
) -> Plan:
    """Return the plan of one stage after plans that are made (in the order of training)."""
    cursors: dict[str, Cursor] = {}
    for plan in plans:
        cursors = _advance(cursors, plan)
    return _Planner(stage, supply, profile, budget, cursors, {}, plans[-1] if plans else None).plan()


def _advance(cursors: Mapping[str, Cursor], plan: Plan) -> dict[str, Cursor]:
    """Return every source's place after the stage."""
    after = dict(cursors)
    for source in plan.sources:
        if source.status == "absent":
            continue
        place = Cursor(
            plan.sequence_length,
            source.base_windows,
            source.offset_windows,
            source.held_back_windows,
            source.first_shard_offset,
            source.passes_before,
        )
        after[source.name] = place.advance(source.windows, source.capacity_windows)
    return after


class _Planner:
    """One stage being planned; each method is one step of it."""

    def __init__(
        self,
        stage: Stage,
        supply: Supply,
        profile: Profile,
        asked: str | None,
        cursors: Mapping[str, Cursor],
        digests: dict[str, str],
        before: Plan | None,
    ) -> None:
        self.recipe = stage.recipe.scaled_to_sample() if profile == "sample" else stage.recipe
        self.preset = stage.preset
        self.supply = supply
        self.profile = profile
        self.asked = asked
        self.cursors = cursors
        self.digests = digests
        self.before = before
        self.root: Node = stage.preset.tree.root
        self.leaves = {leaf.name: leaf for leaf in self.root.leaves()}
        length = self.recipe.sequence_length
        self.sizes: dict[str, I64 | None] = {
            name: supply.sources[name].sizes(length) for name in self.leaves if name in supply.sources
        }
        self.capacity = {
            name: None if sizes is None else int(sizes.sum()) for name, sizes in self.sizes.items()
        }
        self.present = frozenset(name for name, windows in self.capacity.items() if windows != 0)
        self.findings: list[Finding] = list(stage.preset.tree.findings)

    def plan(self) -> Plan:
        """Return the plan of the stage."""
        if not self.present:
            raise RecipeError(
                f"recipe {self.recipe.name!r}: none of its {len(self.leaves)} sources has a training window "
                f"of {self.recipe.sequence_length} tokens; build documents and tokens, or plan PROFILE=full"
            )
        published = self.preset.tree.weights()
        weights = redistribute(self.root, self.present)
        self.findings += plan_findings.absent_sources(self.root, self.sizes, self.recipe)
        steps, budget = self._budget(weights)
        places = {name: self._enter(name) for name in self.present}
        weights, counts = self._counts(weights, steps, places)
        sources = tuple(
            self._source(leaf, published[name], weights[name], counts[name], places.get(name))
            for name, leaf in sorted(self.leaves.items())
        )
        self.findings += plan_findings.about_budget(budget, steps, self.recipe)
        self.findings += plan_findings.about_sources(sources, self.supply)
        return self._finish(steps, budget, sources)

    def _budget(self, weights: Mapping[str, Fraction]) -> tuple[int, BudgetPlan]:
        """Return the whole steps of the stage and where they come from."""
        recipe = self.recipe
        step_tokens = recipe.sequence_length * recipe.batch_windows
        if self.profile == "sample" and self.asked is None and recipe.sample is not None:
            return self._sample_budget(weights)
        literal = parse_budget(self.asked) if self.asked is not None else self.preset.budget
        asked_tokens = literal.tokens(recipe.sequence_length, recipe.batch_windows)
        steps, remainder = divmod(asked_tokens, step_tokens)
        if steps == 0:
            raise RecipeError(
                f"the budget {literal.text} of {recipe.name!r} is {asked_tokens:,} tokens, less than a step "
                f"of {recipe.batch_windows} x {recipe.sequence_length} = {step_tokens:,}; ask for more"
            )
        why = f"{literal.text} rounded down to whole steps of {step_tokens:,} tokens"
        return steps, BudgetPlan(literal.text, asked_tokens, remainder, why)

    def _sample_budget(self, weights: Mapping[str, Fraction]) -> tuple[int, BudgetPlan]:
        """Return the most whole steps that read no source more often than the sample section allows."""
        recipe = self.recipe
        most = recipe.sample_max_passes
        limits = {
            name: most * windows / weights[name]
            for name, windows in self.capacity.items()
            if windows is not None and weights[name] > 0
        }
        if not limits:
            raise RecipeError(f"recipe {recipe.name!r}: no source has a known size; give a budget")
        binding = min(sorted(limits), key=lambda name: limits[name])
        steps = int(limits[binding] // recipe.batch_windows)
        percent, windows = decimal_text(weights[binding] * 100, 4), self.capacity[binding]
        reason = f"{binding} ({percent} %, {windows:,} windows) is read at most {most} times"
        if steps == 0:
            raise RecipeError(
                f"the sample is too small for one step of {recipe.batch_windows} windows of {recipe.name!r}: "
                f"{reason}; give it more text, or set BUDGET"
            )
        tokens = steps * recipe.batch_windows * recipe.sequence_length
        return steps, BudgetPlan(None, tokens, 0, f"the most whole steps of the sample in which {reason}")

    def _enter(self, name: str) -> Cursor:
        length = self.recipe.sequence_length
        cursor = self.cursors.get(name)
        old = self.supply.sources[name].sizes(cursor.sequence_length) if cursor else None
        return enter(cursor, length, source_key(self.recipe.seed, name), old, self.sizes[name])

    def _counts(
        self, weights: dict[str, Fraction], steps: int, places: Mapping[str, Cursor]
    ) -> tuple[dict[str, Fraction], dict[str, int]]:
        """Return the weights and counts, with the recipe's caps enforced."""
        total = steps * self.recipe.batch_windows
        rooms = [Room(name, self.capacity[name], place.passes) for name, place in sorted(places.items())]
        weights, findings = apply_caps(self.root, weights, total, self.recipe.caps, rooms)
        self.findings += findings
        return weights, largest_remainder(weights, total)

    def _source(
        self, leaf: Node, published: Fraction, weight: Fraction, windows: int, place: Cursor | None
    ) -> SourcePlan:
        capacity = self.capacity.get(leaf.name)
        supply = self.supply.sources.get(leaf.name)
        absent = place is None
        passes_before = self.cursors[leaf.name].passes if leaf.name in self.cursors else Fraction(0)
        unknown = supply is not None and supply.tokens is None
        if absent:
            passes: Fraction | None = Fraction(0)
        else:
            passes = None if capacity is None else Fraction(windows, capacity)
        return SourcePlan(
            name=leaf.name,
            domain=leaf.path[0] if len(leaf.path) > 1 else "",
            group="/".join(leaf.path[:-1]),
            status=_status(supply, absent=absent),
            published_weight=published,
            weight=weight,
            windows=windows,
            tokens=windows * self.recipe.sequence_length,
            shards=0 if supply is None else 1 if supply.tokens is None else int(supply.tokens.size),
            capacity_windows=None if unknown else capacity or 0,
            base_windows=place.base if place else 0,
            offset_windows=place.drawn if place else 0,
            held_back_windows=place.held_back if place else 0,
            first_shard_offset=place.skipped_shards if place else 0,
            passes_before=passes_before,
            passes=passes,
        )

    def _finish(self, steps: int, budget: BudgetPlan, sources: tuple[SourcePlan, ...]) -> Plan:
        recipe, before = self.recipe, self.before
        drawn = [self.supply.sources[name] for name in self.leaves if name in self.supply.sources]
        table = shard_table(drawn, recipe.sequence_length)
        follows = Follows(before.name, before.lock.hash) if before else None
        for one in drawn:  # a source's shards are digested once for all stages
            if one.name not in self.digests:
                self.digests[one.name] = shards_digest(one)
        locked = digest({one.name: self.digests[one.name] for one in drawn})
        bound, weight_bound = _bounds(sources)
        return Plan(
            name=recipe.name,
            preset=self.preset.name,
            profile=self.profile,
            unit=recipe.unit,
            sequence_length=recipe.sequence_length,
            batch_windows=recipe.batch_windows,
            steps=steps,
            start_step=before.start_step + before.steps if before else 0,
            budget=budget,
            follows=follows,
            seed=recipe.seed,
            validation_share=recipe.validation,
            tokenizer=self.supply.tokenizer,
            prefix_bound=bound,
            weight_bound=weight_bound,
            sources=sources,
            findings=tuple(self.findings),
            lock=make_lock(
                recipe,
                self.preset,
                self.profile,
                self.asked,
                self.supply,
                locked,
                follows.lock if follows else None,
            ),
            table=table,
        )


def _status(supply: SourceSupply | None, *, absent: bool) -> str:
    if absent or supply is None:
        return "absent"
    if supply.tokens is None:
        return "unknown_size"
    return "virtual" if supply.virtual else "present"


def _bounds(sources: tuple[SourcePlan, ...]) -> tuple[Fraction, Fraction]:
    """Return the proved prefix bounds against windows/total and against the exact weight."""
    total = sum(source.windows for source in sources)
    tree = build_tree({source.name: source.windows for source in sources})
    assert tree is not None, "a plan has windows"
    bounds = prefix_bounds(tree)
    # The exact weight differs from windows/total by less than a window at the end, and linearly less before.
    against_weight = [
        bounds.get(source.name, Fraction(0)) + abs(source.windows - source.weight * total)
        for source in sources
    ]
    return max(bounds.values()), max(against_weight)
