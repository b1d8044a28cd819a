"""A change of mind mid-run: a plan read up to step k, and a recipe for the rest, into the plan of the rest.

Every source goes on where the steps done have left it: nothing that was seen is forgotten, or read again
within its pass. The new plan follows ``<lock>@<steps done>``: the old lock, and how much of it was read.
Cost: that of planning one stage.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np

from smoldata.errors import InputError, RecipeError
from smolmix.permutation import I64
from smolmix.plan import Lock, Plan, SourcePlan
from smolmix.planner import Profile, Stage, plan_after
from smolmix.recipe import Recipe
from smolmix.supply import Supply


def cut(plan: Plan, steps_done: int) -> Plan:
    """Return the plan as far as it was read: counts and passes of its first steps.

    Raises:
        InputError: no step, or more than the plan has.
    """
    if not 0 < steps_done <= plan.steps:
        raise InputError(
            f"plan {plan.name!r} has steps 1 to {plan.steps:,}; {steps_done:,} cannot have been done"
        )
    drawn = plan.order.drawn_before(steps_done * plan.batch_windows)
    return replace(
        plan,
        steps=steps_done,
        sources=tuple(
            _cut_source(source, drawn[source.name], plan.sequence_length) for source in plan.sources
        ),
        lock=Lock(f"{plan.lock.hash}@{steps_done}", plan.lock.parts),
    )


def steps_read(plans: Sequence[Plan]) -> list[int]:
    """Return for each plan of a chain but the last how many of its steps were read before the next began."""
    done = []
    for plan, after in pairwise(plans):
        steps = after.follows.lock.partition("@")[2] if after.follows else ""
        done.append(int(steps) if steps else plan.steps)
    return done


def as_read(plans: Sequence[Plan]) -> list[Plan]:
    """Return a chain with every plan but the last cut to what was read of it."""
    cuts = [
        plan if steps == plan.steps else cut(plan, steps)
        for plan, steps in zip(plans[:-1], steps_read(plans), strict=True)
    ]
    return [*cuts, plans[-1]]


def _cut_source(source: SourcePlan, windows: int, sequence_length: int) -> SourcePlan:
    passes = source.passes
    if passes is not None and source.capacity_windows:
        passes = Fraction(windows, source.capacity_windows)
    return replace(source, windows=windows, tokens=windows * sequence_length, passes=passes)


def replan(
    plans: Sequence[Plan],
    steps_done: int,
    recipe: Recipe,
    supply: Supply,
    *,
    preset: str | None = None,
    profile: Profile = "sample",
    budget: str | None = None,
) -> Plan:
    """Return the plan of the rest of the last of ``plans`` (a chain in the order of training).

    Without a ``budget`` it is as many tokens as the plan had left, in whole steps.

    Raises:
        InputError: a number of steps that the plan has not.
        RecipeError: nothing is left, or the recipe has another seed, validation share or tokenizer.
    """
    last = plans[-1]
    for what, theirs, ours in (
        ("seed", last.seed, recipe.seed),
        ("validation", last.validation_share, recipe.validation),
        ("tokenizer", last.tokenizer.name, recipe.tokenizer.name),
    ):
        if theirs != ours:
            raise RecipeError(
                f"the plan has {what} {theirs}, recipe {recipe.name!r} has {ours}; make them agree"
            )
    left = (last.steps - steps_done) * last.batch_windows * last.sequence_length
    if left <= 0 and budget is None:
        raise RecipeError(f"plan {last.name!r} is read to its end: give a budget for what comes after")
    _check_shards(plans, supply)
    done = [*as_read(plans)[:-1], cut(last, steps_done)]
    return plan_after(done, Stage(recipe, recipe.preset(preset)), supply, profile, budget or str(left))


def _check_shards(plans: Sequence[Plan], supply: Supply) -> None:
    """Raise if a source that was read has other shards now: its place in them would mean something else."""
    for plan in plans:
        sizes = plan.shard_windows()
        for source in plan.sources:
            now = supply.sources.get(source.name)
            new = now.sizes(plan.sequence_length) if now else np.zeros(0, np.int64)
            if source.windows and not _same(sizes[source.name], new):
                raise InputError(
                    f"the shards of {source.name!r} are not those that plan {plan.name!r} read "
                    f"{source.windows:,} windows of: what was seen cannot be told; bring the old shards back"
                )


def _same(old: I64 | None, new: I64 | None) -> bool:
    return new is None if old is None else new is not None and np.array_equal(old, new)
