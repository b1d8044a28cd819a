"""The commands of ``smolmix`` of the planner: reconcile, diff, replan, init, schema, prove."""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from smoldata.console import out, say, table
from smoldata.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from smolmix.plan import Plan
    from smolmix.planner import Profile

PlanFolder = Annotated[Path, typer.Argument(help="A plan's folder, such as build/full/plans/stage3-blog.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def add_planner_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    for command in (reconcile, diff, init, schema, prove):
        app.command()(command)
    app.command("replan")(replan_command)


def reconcile(
    plan: PlanFolder,
    ledger: Annotated[
        list[str] | None, typer.Option(help="STAGE=FILE: what a run consumed; may be repeated.")
    ] = None,
    sources: Annotated[bool, typer.Option("--sources", help="Every source, not only the domains.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show blog, released, planned, tokenized and consumed side by side, for a plan and all that it follows.

    Fails if a ledger is not what the plan's order gives.

    Example: smolmix reconcile build/full/plans/stage3-blog --ledger stage3=ledger.parquet
    """
    from smolmix.plan_files import load_chain
    from smolmix.reconcile import reconcile as compare

    found = compare(load_chain(plan), _ledgers(ledger or []))
    if as_json:
        out.print_json(json.dumps(found.as_json()))
    else:
        shown = [share for share in found.shares if sources or share.source is None]
        columns = (
            "stage",
            "domain",
            "source",
            "blog %",
            "released %",
            "planned %",
            "tokens",
            "tokenized",
            "consumed",
        )
        rows = [
            (
                share.stage,
                share.domain,
                share.source,
                *(_percent(value) for value in (share.blog, share.released, share.planned)),
                f"{share.tokens:,}",
                _number(share.tokenized),
                _number(share.consumed),
            )
            for share in shown
        ]
        table("Shares of each stage", columns, rows, right=columns[3:])
        facts = [
            (fact.stage or "all", fact.what, fact.blog, fact.released, fact.planned) for fact in found.facts
        ]
        table("Numbers of each stage", ("stage", "what", "blog", "released", "planned"), facts)
    for verdict in found.verdicts:
        if not verdict.exact:
            raise IntegrityError(
                f"the ledger of {verdict.stage} has {verdict.consumed:,} windows that are not the plan's "
                f"first {verdict.consumed:,}: a source is off by {float(verdict.worst_drift):.2f} windows, "
                f"at most {float(verdict.bound):.2f} is proved; `smoltrain ledger check` finds the window"
            )
        say(f"{verdict.stage}: the {verdict.consumed:,} windows consumed are the plan's, source by source")


def _ledgers(given: list[str]) -> dict[str, Path]:
    pairs = [text.partition("=") for text in given]
    for name, equals, file in pairs:
        if not (name and equals and file):
            raise InputError(
                f"--ledger {name}{equals}{file}: write STAGE=FILE, such as stage2=ledger.parquet"
            )
    return {name: Path(file) for name, _, file in pairs}


def _percent(value: Fraction | None) -> str:
    return "" if value is None else f"{float(value * 100):.4f}"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def diff(
    first: PlanFolder,
    second: PlanFolder,
    speed: Annotated[
        int, typer.Option(min=0, help="Tokens a second and GPU; 0: that of SmolLM3's own run.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Show what changes from one plan to another: weights, tokens, passes, shards to fetch, GPU-hours.

    Example: smolmix diff build/full/plans/stage2-blog build/full/plans/stage2-released
    """
    from smolmix.plan import load_plan
    from smolmix.plan_diff import TOKENS_PER_GPU_SECOND, diff_plans

    found = diff_plans(
        load_plan(first), load_plan(second), tokens_per_gpu_second=speed or TOKENS_PER_GPU_SECOND
    )
    if as_json:
        out.print_json(json.dumps(found.as_json()))
        return
    if not found.lock_parts:
        print(f"{found.first} and {found.second} are the same plan: their locks are equal")
        return
    columns = (
        "source",
        "weight %",
        "-> %",
        "tokens",
        "-> tokens",
        "passes",
        "-> passes",
        "new shards",
        "new GB",
    )
    rows = [
        (
            one.source,
            *(_percent(value) for value in one.weights),
            *(_number(value) for value in one.tokens),
            *("" if value is None else f"{float(value):.3f}" for value in one.passes),
            one.new_shards,
            f"{one.new_bytes / 1e9:,.1f}",
        )
        for one in found.sources
    ]
    table(f"{found.first} -> {found.second}", columns, rows, right=columns[1:])
    hours = [f"{float(value):,.0f}" for value in found.gpu_hours]
    print(f"tokens     {found.tokens[0]:,} -> {found.tokens[1]:,}")
    print(f"GPU-hours  {hours[0]} -> {hours[1]} at {found.tokens_per_gpu_second:,} tokens a second and GPU")
    print(f"lock parts that differ: {', '.join(found.lock_parts)}")


def replan_command(
    plan: PlanFolder,
    recipe: Annotated[Path, typer.Option(help="The recipe of the rest.")],
    into: Annotated[Path, typer.Option(help="Folder of the new plan, beside the old one.")],
    done: Annotated[
        int, typer.Option("--done", "--at-step", min=0, help="Steps done; 0: those of the ledger.")
    ] = 0,
    preset: Annotated[str, typer.Option(help="Preset of the recipe.")] = "",
    budget: Annotated[str, typer.Option(help="Default: as many tokens as the plan had left.")] = "",
    ledger: Annotated[
        Path | None,
        typer.Option(help="What the run consumed (a file or a run's ledger/): must be those steps."),
    ] = None,
) -> None:
    """Plan the rest of a run with other weights: every source goes on where the steps done have left it.

    Retracted documents stay out. The new plan lies beside the old one, which it follows.

    Example: smolmix replan plans/stage2-blog --done 100 --recipe new.yaml --into plans/new
    """
    from smoldata.registry import load_registry
    from smolmix.plan_files import load_chain, write_plan
    from smolmix.plan_lint import examined
    from smolmix.recipe import load_recipe
    from smolmix.replan import replan
    from smolmix.retract import carry
    from smolmix.sources import supply_for

    plans, new = load_chain(plan), load_recipe(recipe)
    done = _steps_done(plans[-1], done, ledger)
    if into.resolve().parent != plan.resolve().parent or into.resolve() == plan.resolve():
        raise InputError(f"--into {into} must lie beside {plan}: a plan finds the one that it follows there")
    supply = supply_for(plans[-1], new, [*(s.name for p in plans for s in p.sources)], into)
    profile = cast("Profile", plans[-1].profile)
    rest = replan(plans, done, new, supply, preset=preset or None, profile=profile, budget=budget or None)
    rest = examined(carry(plans, rest), load_registry(new.registry), new.forbidden_licences)
    print(f"wrote {write_plan(rest, into)}: {rest.steps:,} steps after step {rest.start_step:,}")


def _steps_done(plan: "Plan", asked: int, ledger: Path | None) -> int:
    if ledger is None and not asked:
        raise InputError("say how many steps are done (--done), or give the run's --ledger")
    if ledger is None:
        return asked
    from smolmix.consumed import steps_consumed

    seen = steps_consumed(ledger, plan)
    if asked not in {0, seen}:
        raise IntegrityError(
            f"{ledger} is not the ledger of the first {asked:,} steps: it has {seen:,}, and what was seen "
            f"would be read again; leave --done away to go on after step {seen:,}"
        )
    return seen


def init(
    name: Annotated[str, typer.Argument(help="Name of the new recipe; NAME.yaml is written.")],
    tokenizer: Annotated[str, typer.Option(help="A shipped tokenizer's name.")] = "llama-3.2",
    budget: Annotated[str, typer.Option(help="100B, 1.1T, '2000 steps'.")] = "10B",
    seq: Annotated[int, typer.Option(min=1, help="Tokens a window.")] = 4096,
    batch: Annotated[int, typer.Option(min=1, help="Windows a step.")] = 576,
    source: Annotated[list[str] | None, typer.Option(help="A source; may be repeated.")] = None,
    folder: Annotated[Path, typer.Option(help="Where to write it.")] = Path(),
) -> None:
    """Write a recipe to start from; it can be planned as it stands.

    Example: smolmix init my-mixture --budget 100B --source fineweb-edu --source stack-edu-Python
    """
    from smoldata.files import write_atomic
    from smolmix.new_recipe import new_recipe
    from smolmix.recipe import read_recipe

    path = folder / f"{name}.yaml"
    if path.exists():
        raise InputError(f"{path} exists; choose another name, or remove it first")
    text = new_recipe(
        name,
        tokenizer=tokenizer,
        budget=budget,
        sequence_length=seq,
        batch_windows=batch,
        sources=source or (),
    )
    read_recipe(text, path)
    write_atomic(path, text)
    print(f"wrote {path}; plan it with: make mixture RECIPE={path} PROFILE=full")


def schema() -> None:
    """Print the JSON schema of recipes, for editors.

    Example: smolmix schema > mixtures/recipe.schema.json
    """
    from smolmix.new_recipe import recipe_schema

    print(json.dumps(recipe_schema(), indent=2, sort_keys=True))


def prove(
    plan: Annotated[
        Path | None, typer.Argument(help="A plan's folder; none: every shipped recipe at full size.")
    ] = None,
    positions: Annotated[
        int, typer.Option(min=1, help="Positions at which the bound is checked; all of a shorter stage.")
    ] = 10**7,
    as_json: AsJson = False,
) -> None:
    """Check a plan's promises against its order: weights, counts, prefix bound, both directions.

    Without a plan all shipped recipes and presets are planned at their published size, and checked.

    Example: smolmix prove build/sample/plans/stage2-blog
    """
    from smolmix.plan import load_plan
    from smolmix.prove import prove as check

    plans = [load_plan(plan)] if plan else _shipped_plans()
    found = [check(one, positions) for one in plans]
    if as_json:
        out.print_json(json.dumps([one.as_json() for one in found]))
        return
    columns = ("plan", "windows", "sources", "positions", "worst drift", "of", "proved", "round trips")
    rows = [
        (
            one.plan,
            f"{one.windows:,}",
            one.sources,
            f"{one.positions:,}",
            f"{float(one.worst):.4f}",
            one.worst_source,
            f"{float(one.bound):.4f}",
            f"{one.round_trips:,}",
        )
        for one in found
    ]
    right = tuple(name for name in columns if name not in {"plan", "of"})
    table("Drift from the exact share at any step, in windows", columns, rows, right=right)
    print("weights sum to 1, counts to the windows, each within 1 of weight x windows; both directions agree")


def _shipped_plans() -> Iterator["Plan"]:
    from smoldata.registry import load_registry
    from smolmix.planner import chain, plan_stage
    from smolmix.recipe import load_recipe, shipped_recipes
    from smolmix.sources import names_of, supply_from_registry

    for name in shipped_recipes():
        recipe = load_recipe(name)
        names = names_of(stage.recipe for stage in chain(recipe))
        supply = supply_from_registry(recipe, names, load_registry(recipe.registry))
        for preset in recipe.presets:
            yield plan_stage(recipe, supply, preset=preset.name, profile="full")[-1]
