"""The commands of ``smolmix`` about a run's price and its changes: cost, retract, bundle, contamination."""

import json
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoldata.console import out, say, table
from smoldata.errors import InputError

if TYPE_CHECKING:
    from smolmix.cost import Cost
    from smolmix.plan import Plan

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def add_change_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    for command in (cost, retract, bundle, contamination):
        app.command()(command)


def _number(text: str, option: str) -> Fraction | None:
    try:
        return Fraction(text) if text else None
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"{option} {text} is no number; write 14066, 1.65 or 33/2") from error


def cost(
    stage: Annotated[str, typer.Option(help="A recipe: 1, 2, 3, 32k, 64k, or the path of your own.")] = "3",
    preset: Annotated[str, typer.Option(help="blog or released; the long-context recipes have one.")] = "",
    alone: Annotated[bool, typer.Option("--alone", help="This stage only, not those before it.")] = False,
    gpus: Annotated[int, typer.Option(help="GPUs that train.")] = 384,
    tokens_per_second: Annotated[str, typer.Option(help="A GPU's tokens a second.")] = "",
    tokenize_mb: Annotated[str, typer.Option(help="MB of text that a core tokenizes in a second.")] = "",
    score_tokens: Annotated[str, typer.Option(help="Tokens that a GPU scores in a second.")] = "",
    text_bytes: Annotated[str, typer.Option(help="Bytes of text a token.")] = "",
    budget: Annotated[str, typer.Option(help="Replaces the budget of the stage: 100B, '2000 steps'.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say what a curriculum costs: days, GPU-hours, storage, transfer, tokenizing and scoring. Needs no data.

    Example: smolmix cost --gpus 384 --preset released
    """
    from smolmix.cost import Speeds, cost_of

    speeds = Speeds(
        gpus,
        _number(tokens_per_second, "--tokens-per-second"),
        _number(text_bytes, "--text-bytes"),
        _number(tokenize_mb, "--tokenize-mb"),
        _number(score_tokens, "--score-tokens"),
    )
    plans = _published_plans(stage, preset, budget)
    found = cost_of(plans[-1:] if alone else plans, speeds)
    if as_json:
        out.print_json(json.dumps(found.as_json()))
    else:
        _print_cost(found)


def _published_plans(stage: str, preset: str, budget: str) -> list["Plan"]:
    from smoldata.registry import load_registry
    from smolmix.planner import chain, plan_stage
    from smolmix.recipe import load_recipe
    from smolmix.sources import names_of, supply_from_registry

    recipe = load_recipe(stage)
    names = names_of(one.recipe for one in chain(recipe, preset or None))
    supply = supply_from_registry(recipe, names, load_registry(recipe.registry))
    return plan_stage(recipe, supply, preset=preset or None, profile="full", budget=budget or None)


def _print_cost(found: "Cost") -> None:
    from smolmix.cost import rounded

    columns = ("stage", "tokens", "GPU-hours", "days", "GPUs")
    rows = [
        (one.name, f"{one.tokens:,}", rounded(one.gpu_hours, 0), rounded(one.days), f"{gpus:,}")
        for gpus, listed in ((found.gpus, (*found.stages, found.total)), (384, found.published))
        for one in listed
    ]
    table("Training", columns, rows, right=columns[1:])
    amounts = [
        ("distinct tokens read", rounded(Fraction(found.tokens_needed, 10**9)), "B tokens"),
        ("their token shards: to store, to move once", rounded(Fraction(found.shard_bytes, 10**12), 2), "TB"),
        (
            "all shards of sources of known size",
            rounded(Fraction(found.whole_sources_bytes, 10**12), 2),
            "TB",
        ),
        ("their text: to download, uncompressed", rounded(found.text_bytes / 10**12, 2), "TB"),
        ("tokenizing", rounded(found.tokenizing_core_hours, 0), "core-hours"),
        ("scoring every token once", rounded(found.scoring_gpu_hours, 0), "GPU-hours"),
    ]
    table("Data", ("what", "amount", "unit"), amounts, right=("amount",))
    assumed = [(one.name, rounded(one.value, 2), one.origin) for one in found.assumptions]
    table("Assumed", ("what", "value", "where from"), assumed, right=("value",))
    if found.unknown_sizes:
        print(
            f"{len(found.unknown_sizes)} sources without a published size count as drawn, without repeats: "
            + ", ".join(found.unknown_sizes)
        )


def retract(
    ids: Annotated[
        Path, typer.Argument(help="A file of document ids, one a line: ID, or SOURCE, a tab, ID.")
    ],
    plan: Annotated[Path, typer.Option(help="The plan's folder.")],
    at_step: Annotated[int, typer.Option(min=0, help="Steps of the plan that are done; they stay.")] = 0,
    into: Annotated[
        Path | None,
        typer.Option(help="Folder of the new plan; default: beside the old, PLAN-retracted-STEP."),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on although the training shards lack an id.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take documents out of a plan from a step on (licence, opt-out, contamination), and certify it.

    Says where they were read before, replaces each window that would have held them, writes a new plan with a
    new lock. Past steps stay as they were.

    Example: smolmix retract ids.txt --plan build/sample/plans/stage2-blog --at-step 100
    """
    from smolmix import certificate as written
    from smolmix.plan_files import load_chain
    from smolmix.retract import retract as take_out

    plans, wanted = load_chain(plan), written.read_ids(ids)
    spans, missing = written.find_spans(plans, wanted)
    if missing and not (allow_missing and spans):
        raise InputError(
            f"{len(missing):,} of {len(wanted):,} documents are not in the training shards of {plan}, first "
            f"{str(missing[0])!r}; correct the list, or say --allow-missing if they are known to be absent"
        )
    found = take_out(plans, spans, at_step)
    facts = written.certificate(found, spans, missing)
    here = plan if plan.name else plan.resolve()
    folder = into or here.with_name(f"{here.name}-retracted-{at_step}")
    path = written.write_retracted(found.plan, facts, plan, folder)
    if as_json:
        out.print_json(json.dumps(facts))
    else:
        print(written.certificate_text(facts), end="")
    say(f"wrote {path}, {written.CERTIFICATE} and {written.CERTIFICATE_TEXT} beside it")
    for name, done in _followers(plan, plans[-1]):
        say(
            f"{name} was planned after the old lock: plan it again with `smolmix replan {folder} "
            f"--done {done} --recipe RECIPE --budget BUDGET --into FOLDER`"
        )


def _followers(folder: Path, plan: "Plan") -> list[tuple[str, int]]:
    """Return the plans beside one that follow its lock, and after how many of its steps."""
    from smolmix.plan import load_plan

    found = []
    for path in sorted(folder.resolve().parent.glob("*/plan.json")):
        follows = load_plan(path).follows
        lock, _, steps = follows.lock.partition("@") if follows else ("", "", "")
        if lock == plan.lock.hash:
            found.append((path.parent.name, int(steps) if steps else plan.steps))
    return found


def bundle(
    plan: Annotated[Path, typer.Argument(help="A plan's folder, such as one that replan or retract wrote.")],
    into: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    recipe: Annotated[
        str, typer.Option(help="The recipe to enclose; default: the shipped one of the plan's name.")
    ] = "",
) -> None:
    """Write the hand-off bundle of a plan: what a training job reads.

    Example: smolmix bundle plans/stage2-blog-retracted-100 --into bundles/stage2-blog-retracted-100
    """
    from smolmix.bundle import write_bundle
    from smolmix.plan import load_plan
    from smolmix.recipe import load_recipe

    known = load_recipe(recipe or load_plan(plan).name)
    print(write_bundle(plan, into, recipe=known.text.encode()))


def contamination(
    report: Annotated[Path, typer.Argument(help="A decontamination report (docs/formats.md).")],
    plan: Annotated[list[Path], typer.Option(help="A plan's folder; those before it are shown too.")],
    as_json: AsJson = False,
) -> None:
    """Show what each stage reads of each benchmark: contaminated documents, their tokens, tokens x passes.

    Put the report at build/PROFILE/contamination.parquet to have it in the catalog and on the report page.

    Example: smolmix contamination report.parquet --plan build/sample/plans/stage2-blog
    """
    from smolmix.contamination import HEADS, exposures, read_report, shown
    from smolmix.plan_files import load_chain

    matches = read_report(report)
    chain = {one.lock.hash: one for folder in plan for one in load_chain(folder)}
    found = exposures(list(chain.values()), matches)
    if as_json:
        out.print_json(json.dumps([one.as_json() for one in found]))
    else:
        table("Contamination x passes", HEADS, shown(found), right=HEADS[3:])
