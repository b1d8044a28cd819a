"""What a plan must say about its sources and its budget."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Final

from smolmix.findings import NOTHING_TO_DO, Finding
from smolmix.groups import Node
from smolmix.literals import decimal_text
from smolmix.plan import BudgetPlan, SourcePlan
from smolmix.recipe import Recipe
from smolmix.supply import Supply

MANY_PASSES: Final = Fraction(4)
"""Repeats up to here cost little (Muennighoff et al. 2023, arXiv 2305.16264)."""


def absent_sources(root: Node, sizes: Mapping[str, Any], recipe: Recipe) -> list[Finding]:
    """Return a finding for each source without a training window, with the weight that others took over."""
    absent = {leaf.name: leaf for leaf in root.leaves() if _is_empty(sizes.get(leaf.name, ()))}
    return [_absent(absent[name], root, absent, sizes, recipe) for name in sorted(absent)]


def _is_empty(windows: Any) -> bool:
    return windows is not None and (not len(windows) or int(windows.sum()) == 0)


def _absent(
    leaf: Node, root: Node, absent: Mapping[str, Node], sizes: Mapping[str, Any], recipe: Recipe
) -> Finding:
    has_shards = len(sizes.get(leaf.name, ())) > 0
    why = f"has no shard of {recipe.sequence_length + 1} tokens" if has_shards else "has no training shards"
    # The nearest group above with something left takes the weight over.
    groups = root.find(leaf.name)[:-1]
    heir = next(g for g in reversed(groups) if any(one.name not in absent for one in g.leaves()))
    return Finding(
        "absent-source",
        "warning",
        leaf.name,
        f"{leaf.name} {why}; its {decimal_text(leaf.weight * 100, 4)} % went to the present sources of "
        f"{'/'.join(heir.path) or 'all groups'}, in the proportion of their weights",
        "build documents and tokens for it, or point the registry at text of your own",
    )


def about_budget(budget: BudgetPlan, steps: int, recipe: Recipe) -> list[Finding]:
    """Return the finding that names the tokens which whole steps leave of the budget."""
    if budget.remainder_tokens == 0:
        return []
    step = recipe.sequence_length * recipe.batch_windows
    return [
        Finding(
            "budget-remainder",
            "info",
            None,
            f"{budget.asked} is {budget.asked_tokens:,} tokens: {steps:,} steps of {step:,} tokens leave "
            f"{budget.remainder_tokens:,} tokens",
            NOTHING_TO_DO,
        )
    ]


def about_sources(sources: Iterable[SourcePlan], supply: Supply) -> list[Finding]:
    """Return the findings on counts, passes and sizes, source by source."""
    found: list[Finding] = []
    for source in sources:
        if source.name in supply.sources:
            found += supply.sources[source.name].findings
        found += _counts(source)
    return found


def _counts(source: SourcePlan) -> list[Finding]:
    found = []
    if source.weight > 0 and source.windows == 0:
        found.append(
            Finding(
                "starved-source",
                "warning",
                source.name,
                f"{source.name} has weight {decimal_text(source.weight * 100)} % but 0 windows",
                "raise the budget or the weight, or remove the source",
            )
        )
    if source.passes is not None and source.passes_before is not None:
        passes = source.passes_before + source.passes
        if source.windows and passes > MANY_PASSES:
            found.append(
                Finding(
                    "many-passes",
                    "warning",
                    source.name,
                    f"{source.name} will have been read {decimal_text(passes, 2)} times after this stage "
                    f"({decimal_text(source.passes, 2)} in it); beyond {MANY_PASSES} passes repeats pay less",
                    "lower its weight, set `max_passes`, or find more text for it",
                )
            )
    if source.held_back_windows:
        found.append(
            Finding(
                "held-back",
                "info",
                source.name,
                f"{source.name}: {source.held_back_windows:,} unread windows of a shard opened at another "
                "sequence length wait for the next pass",
                NOTHING_TO_DO,
            )
        )
    return found
