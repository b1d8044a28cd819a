"""Blog | released | planned | tokenized | consumed, side by side, for every source, domain and stage.

In: plans, the recipes they were made from, and consumption ledgers. Out: exact shares and a verdict a stage:
what was consumed must lie within the plan's proved bound of every weight at that prefix, and be the
very counts that the order gives. Cost: one group-by over each ledger.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.errors import InputError
from smolmix.literals import decimal_text, fraction_text
from smolmix.plan import Plan
from smolmix.recipe import Preset, Recipe, load_recipe, shipped_recipes

BLOG_DECAY: Final = Fraction(1, 10)
"""The SmolLM3 blog post: "a linear decay to 0 in the final 10% training steps"."""


@dataclass(frozen=True, slots=True)
class Share:
    """A source or a domain in a stage; shares are of the stage, None where there is no such column."""

    stage: str
    domain: str
    source: str | None
    """None for the sum of a domain."""
    blog: Fraction | None
    released: Fraction | None
    planned: Fraction
    windows: int
    tokens: int
    tokenized: int | None
    """Training tokens at hand; None: unknown."""
    consumed: int | None
    """Windows in the ledger; None without one."""
    drift: Fraction | None
    """``consumed - planned * all windows consumed``, in windows."""

    def as_json(self) -> dict[str, Any]:
        """Return the row with fractions as text."""
        exact = ("blog", "released", "planned", "drift")
        values = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: fraction_text(value) if name in exact and value is not None else value
            for name, value in values.items()
        }


@dataclass(frozen=True, slots=True)
class Fact:
    """A number of a stage (or of all), in three columns; None where there is none."""

    stage: str | None
    what: str
    blog: str | None
    released: str | None
    planned: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether what was consumed is what was planned."""

    stage: str
    consumed: int
    """Windows in the ledger."""
    worst_drift: Fraction
    bound: Fraction
    """Proved for every prefix: see ``weight_bound`` in docs/formats.md."""
    exact: bool
    """Every source's count is the one that the order gives for this many windows."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The whole comparison."""

    shares: tuple[Share, ...]
    facts: tuple[Fact, ...]
    verdicts: tuple[Verdict, ...]

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON holds it."""
        return {
            "shares": [share.as_json() for share in self.shares],
            "facts": [{name: getattr(fact, name) for name in fact.__slots__} for fact in self.facts],
            "verdicts": [
                {
                    "stage": one.stage,
                    "consumed": one.consumed,
                    "worst_drift": fraction_text(one.worst_drift),
                    "bound": fraction_text(one.bound),
                    "exact": one.exact,
                }
                for one in self.verdicts
            ],
        }


def reconcile(
    plans: Sequence[Plan],
    ledgers: Mapping[str, Path] | None = None,
    recipes: Mapping[str, Recipe] | None = None,
) -> Reconciliation:
    """Compare plans with the presets of their recipes and with ledgers; both are looked up by stage name.

    Recipes default to the shipped ones.

    Raises:
        InputError: a ledger cannot be read, is of another stage, or names a source that the plan has not.
    """
    known = recipes or {name: load_recipe(name) for name in shipped_recipes()}
    shares: list[Share] = []
    verdicts: list[Verdict] = []
    for plan in plans:
        ledger = (ledgers or {}).get(plan.name)
        consumed = read_consumed(ledger, plan) if ledger else None
        shares += _shares(plan, known.get(plan.name), consumed)
        if consumed is not None:
            verdicts.append(_verdict(plan, consumed))
    stages = [(plan, known.get(plan.name)) for plan in plans]
    return Reconciliation(tuple(shares), tuple(_facts(stages)), tuple(verdicts))


def read_consumed(ledger: Path, plan: Plan) -> dict[str, int]:
    """Return the windows of each source in a ledger (docs/formats.md, "Consumption ledger")."""
    try:
        table = pq.read_table(ledger, columns=["source"])
    except (OSError, pa.ArrowException) as error:
        what = error if Path(ledger).exists() else "there is no such file"
        raise InputError(
            f"cannot read the ledger {ledger}: {what}; give a run's ledger/ folder or one of its segments"
        ) from error
    counted = table.group_by("source").aggregate([([], "count_all")]).to_pydict()
    found = dict(zip(counted["source"], counted["count_all"], strict=True))
    if unknown := sorted(found.keys() - {source.name for source in plan.sources}):
        raise InputError(f"{ledger} has the source {unknown[0]!r}, which plan {plan.name!r} has not")
    if sum(found.values()) > plan.windows:
        raise InputError(
            f"{ledger} has {sum(found.values()):,} windows, plan {plan.name!r} has {plan.windows:,}; "
            "is it the ledger of another stage?"
        )
    return {source.name: found.get(source.name, 0) for source in plan.sources}


def _preset(recipe: Recipe | None, name: str) -> Preset | None:
    return next((preset for preset in recipe.presets if preset.name == name), None) if recipe else None


def _column(preset: Preset | None) -> Mapping[str, Fraction]:
    return preset.tree.weights() if preset else {}


def _shares(plan: Plan, recipe: Recipe | None, consumed: Mapping[str, int] | None) -> list[Share]:
    blog, released = (_column(_preset(recipe, name)) for name in ("blog", "released"))
    tokenized = plan.shard_tokens()
    total = sum(consumed.values()) if consumed is not None else 0
    rows = []
    for source in plan.sources:
        drawn = None if consumed is None else consumed[source.name]
        rows.append(
            Share(
                plan.name,
                source.domain,
                source.name,
                blog.get(source.name),
                released.get(source.name),
                source.weight,
                source.windows,
                source.tokens,
                tokenized.get(source.name, 0),
                drawn,
                None if drawn is None else drawn - source.weight * total,
            )
        )
    domains = sorted({row.domain for row in rows})
    return [_sum(plan.name, domain, [r for r in rows if r.domain == domain]) for domain in domains] + rows


def _sum(stage: str, domain: str, rows: Sequence[Share]) -> Share:
    return Share(
        stage,
        domain,
        None,
        _added(row.blog for row in rows),
        _added(row.released for row in rows),
        sum((row.planned for row in rows), Fraction(0)),
        sum(row.windows for row in rows),
        sum(row.tokens for row in rows),
        None if any(row.tokenized is None for row in rows) else sum(row.tokenized or 0 for row in rows),
        None if any(row.consumed is None for row in rows) else sum(row.consumed or 0 for row in rows),
        _added(row.drift for row in rows),
    )


def _added(values: Iterable[Fraction | None]) -> Fraction | None:
    listed = list(values)
    if any(value is None for value in listed):
        return None
    return sum((value for value in listed if value is not None), Fraction(0))


def _verdict(plan: Plan, consumed: Mapping[str, int]) -> Verdict:
    total = sum(consumed.values())
    drifts = [abs(consumed[source.name] - source.weight * total) for source in plan.sources]
    expected = plan.order.drawn_before(total)
    return Verdict(plan.name, total, max(drifts), plan.weight_bound, expected == dict(consumed))


def _facts(stages: Sequence[tuple[Plan, Recipe | None]]) -> list[Fact]:
    facts: list[Fact] = []
    for plan, recipe in stages:
        if recipe is None:
            continue
        blog, released = _preset(recipe, "blog"), _preset(recipe, "released")
        facts.append(_fact(plan, "sum of the weights as written", _total(blog), _total(released), "1"))
        tokens, steps = zip(_budget(blog, recipe), _budget(released, recipe), strict=True)
        facts.append(_fact(plan, "tokens", *(f"{n:,}" if n else None for n in tokens), f"{plan.tokens:,}"))
        facts.append(_fact(plan, "steps", *(f"{n:,}" if n else None for n in steps), f"{plan.steps:,}"))
    return facts + _decay(stages)


def _fact(plan: Plan, what: str, *columns: str | None) -> Fact:
    blog, released, planned = columns
    return Fact(plan.name, what, blog, released, planned)


def _total(preset: Preset | None) -> str | None:
    return decimal_text(preset.tree.total, 7) if preset else None


def _budget(preset: Preset | None, recipe: Recipe) -> tuple[int, int]:
    """Return the tokens asked for and the whole steps; zeros without such a preset."""
    if preset is None:
        return 0, 0
    tokens = preset.budget.tokens(recipe.sequence_length, recipe.batch_windows)
    return tokens, tokens // (recipe.sequence_length * recipe.batch_windows)


def _decay(stages: Sequence[tuple[Plan, Recipe | None]]) -> list[Fact]:
    """Return what share of the pretraining steps the decay (stage 3) is."""
    three = [(plan, recipe) for plan, recipe in stages if plan.name in {"stage1", "stage2", "stage3"}]
    if len(three) != 3 or any(recipe is None for _, recipe in three):  # noqa: PLR2004 - the three stages
        return []
    released = [_budget(_preset(recipe, "released"), recipe)[1] for _, recipe in three if recipe]
    columns = (_last_of(released), _last_of([plan.steps for plan, _ in three]))
    return [Fact(None, "decay (stage 3) of all steps", f"{decimal_text(BLOG_DECAY * 100, 2)} %", *columns)]


def _last_of(steps: Sequence[int]) -> str:
    share = decimal_text(Fraction(steps[-1], sum(steps)) * 100, 2)
    return f"{steps[-1]:,} of {sum(steps):,} ({share} %)"
