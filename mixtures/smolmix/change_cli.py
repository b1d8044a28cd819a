"""The commands of ``smolmix`` about a run's price and its changes: cost, retract, contamination."""

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from smoldata.console import out, table
from smoldata.errors import InputError

if TYPE_CHECKING:
    from smolmix.cost import Cost
    from smolmix.plan import Plan

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def add_change_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    for command in (cost,):
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
