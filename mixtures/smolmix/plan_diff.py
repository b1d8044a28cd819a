"""Two plans of a stage into what changes: weights, tokens, passes, shards, disk, GPU-hours, lock.

A shard is the same in both if its content hash is (its source and ordinal, where it has no hash). Cost: numpy
passes over the shards of both plans.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np

from smolmix.literals import fraction_text
from smolmix.plan import Plan, SourcePlan

TOKENS_PER_GPU_SECOND: Final = 14_066
"""SmolLM3's own run: 11.2T tokens in 24 days on 384 H100 (blog post), divided out."""


@dataclass(frozen=True, slots=True)
class SourceDiff:
    """One source in two plans; None where a plan does not name it."""

    source: str
    weights: tuple[Fraction | None, Fraction | None]
    tokens: tuple[int, int]
    passes: tuple[Fraction | None, Fraction | None]
    """Passes in this stage."""
    new_shards: int
    """Shards that the second plan opens and the first does not."""
    new_bytes: int
    """Their size on disk."""

    @property
    def is_change(self) -> bool:
        """True if anything differs."""
        same = self.weights[0] == self.weights[1] and self.tokens[0] == self.tokens[1]
        return not same or self.passes[0] != self.passes[1] or self.new_shards > 0


@dataclass(frozen=True, slots=True)
class PlanDiff:
    """What changes from the first plan to the second."""

    first: str
    second: str
    tokens: tuple[int, int]
    steps: tuple[int, int]
    gpu_hours: tuple[Fraction, Fraction]
    tokens_per_gpu_second: int
    sources: tuple[SourceDiff, ...]
    """Sources that changed, largest change in tokens first."""
    lock_parts: tuple[str, ...]
    """Parts of the lock that differ; empty: the plans are one."""

    def as_json(self) -> dict[str, Any]:
        """Return the comparison with fractions as text."""
        text = _text
        return {
            "first": self.first,
            "second": self.second,
            "tokens": list(self.tokens),
            "steps": list(self.steps),
            "gpu_hours": [text(value) for value in self.gpu_hours],
            "tokens_per_gpu_second": self.tokens_per_gpu_second,
            "lock_parts": list(self.lock_parts),
            "sources": [
                {
                    "source": one.source,
                    "weights": [text(value) for value in one.weights],
                    "tokens": list(one.tokens),
                    "passes": [text(value) for value in one.passes],
                    "new_shards": one.new_shards,
                    "new_bytes": one.new_bytes,
                }
                for one in self.sources
            ],
        }


def _text(value: Fraction | None) -> str | None:
    return None if value is None else fraction_text(value)


def diff_plans(first: Plan, second: Plan, *, tokens_per_gpu_second: int = TOKENS_PER_GPU_SECOND) -> PlanDiff:
    """Return what changes from one plan to another; GPU-hours at the speed given."""
    ours, theirs = ({source.name: source for source in plan.sources} for plan in (first, second))
    opened = [opened_shards(plan) for plan in (first, second)]
    sources = [
        _source(name, ours.get(name), theirs.get(name), opened[0], opened[1])
        for name in sorted(ours.keys() | theirs.keys())
    ]
    changed = [one for one in sources if one.is_change]
    changed.sort(key=lambda one: (-abs(one.tokens[1] - one.tokens[0]), one.source))
    hours = [Fraction(plan.tokens, tokens_per_gpu_second * 3600) for plan in (first, second)]
    return PlanDiff(
        _label(first),
        _label(second),
        (first.tokens, second.tokens),
        (first.steps, second.steps),
        (hours[0], hours[1]),
        tokens_per_gpu_second,
        tuple(changed),
        differing_parts(first, second),
    )


def differing_parts(first: Plan, second: Plan) -> tuple[str, ...]:
    """Return the parts of the lock that differ: why two locks are not the same."""
    ours, theirs = first.lock.parts, second.lock.parts
    return tuple(part for part in sorted(ours.keys() | theirs.keys()) if ours.get(part) != theirs.get(part))


def _label(plan: Plan) -> str:
    return " ".join(part for part in (plan.name, plan.preset, plan.profile) if part)


Opened = Mapping[str, Mapping[str, int]]
"""Size in bytes of each shard opened, by source and identity."""


def opened_shards(plan: Plan) -> dict[str, dict[str, int]]:
    """Return the shards that the stage opens: bytes by identity, by source."""
    found: dict[str, dict[str, int]] = {}
    width = plan.tokenizer.token_width or 4
    shards = plan.shard_identities()
    for source in plan.sources:
        if not source.windows:
            continue
        hashes, tokens, sizes = shards[source.name]
        found[source.name] = {
            hashes[ordinal] or f"{source.name}/{ordinal}": sizes[ordinal] or width * (tokens[ordinal] or 0)
            for ordinal in np.flatnonzero(plan.first_indices(source.name) >= 0).tolist()
        }
    return found


def _source(
    name: str, ours: SourcePlan | None, theirs: SourcePlan | None, before: Opened, after: Opened
) -> SourceDiff:
    already = before.get(name, {})
    new = {shard: size for shard, size in after.get(name, {}).items() if shard not in already}
    return SourceDiff(
        name,
        (ours.weight if ours else None, theirs.weight if theirs else None),
        (ours.tokens if ours else 0, theirs.tokens if theirs else 0),
        (ours.passes if ours else Fraction(0), theirs.passes if theirs else Fraction(0)),
        len(new),
        sum(new.values()),
    )
