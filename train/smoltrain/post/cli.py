"""``smoltrain post``: plan, run, merge, chat and serve. Nothing heavy is imported before a command runs."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smoltrain.post import asking as ask
from smoltrain.post.cluster_cli import cluster, step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smoltrain.post.recipe import Share

post_app = typer.Typer(no_args_is_help=True, help="Post-training: mid-training, SFT, APO, merge, chat.")
post_app.command()(cluster)
post_app.command()(step)


@post_app.command()
def plan(
    recipe: Annotated[str, typer.Argument(help="mid, sft, apo, or a recipe file of unit: rows.")],
    as_json: ask.JsonOption = False,
) -> None:
    """Print the rows and tokens that a recipe takes of the published subsets; no data is needed.

    Example: smoltrain post plan sft
    """
    import json

    from smoldata.console import table
    from smoltrain.post.recipe import load_rows_recipe, shares

    found = shares(load_rows_recipe(recipe))
    if as_json:
        rows = [
            {
                "subset": one.subset.name,
                "mode": one.subset.mode,
                "weight": str(one.subset.weight),
                "rows": one.rows,
                "taken": one.taken,
                "tokens": None if one.tokens is None else str(one.tokens),
            }
            for one in found
        ]
        print(json.dumps(rows, indent=2))
        return
    cells = []
    for one in found:
        subset = one.subset
        cells.append([subset.name, subset.mode, subset.weight, _count(one.rows), *_sums([one])])
    for mode in dict.fromkeys(one.subset.mode for one in found):
        part = [one for one in found if one.subset.mode == mode]
        cells.append([f"({mode})", mode, "", "", *_sums(part)])
    columns = ["subset", "mode", "weight", "rows", "taken", "M tokens"]
    table(recipe, columns, cells, right=["weight", "rows", "taken", "M tokens"])


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _sums(shares: "Sequence[Share]") -> tuple[str, str]:
    """Return rows taken and million tokens of subsets; unknown if one of them is."""
    rows = None if None in [one.taken for one in shares] else sum(one.taken or 0 for one in shares)
    if None in [one.tokens for one in shares]:
        return _count(rows), "unknown"
    tokens = sum((one.tokens or Fraction(0) for one in shares), Fraction(0))
    return _count(rows), f"{float(tokens / 10**6):,.2f}"


@post_app.command()
def run(
    build: ask.BuildOption = Path("build"),
    base: Annotated[
        Path | None, typer.Option(help="Checkpoint to start from (default: the newest of `make train`).")
    ] = None,
    profile: ask.ProfileOption = "sample",
    preset: ask.PresetOption = "tiny",
    steps: Annotated[int | None, typer.Option(min=2, help="Steps of every phase, not the preset's.")] = None,
    rows: ask.RowsOption = None,
    tokenizer: ask.TokenizerOption = None,
    loss: ask.LossOption = "apo_zero",
    micro_batch: ask.MicroBatchOption = 1,
    lora: Annotated[int | None, typer.Option(min=1, help="Rank of LoRA adapters (default: none).")] = None,
    qlora: Annotated[bool, typer.Option("--qlora", help="With --lora: the base in 4 bits (CUDA).")] = False,
    evaluations: ask.EvaluationsOption = None,
    ruler: Annotated[
        str | None, typer.Option(help="RULER after each step at this length, such as 32k (needs smoleval).")
    ] = None,
    ruler_count: Annotated[int, typer.Option(min=1, help="Prompts a task.")] = 20,
    ruler_tasks: Annotated[str, typer.Option(help="RULER's tasks with commas, or all.")] = "all",
    as_json: ask.JsonOption = False,
) -> None:
    """Mid-train, fine-tune, optimize preferences and merge; go on where an earlier run stopped.

    Example: smoltrain post run --build build
    """
    import json

    from smoldata.console import say

    ask.make_ready(profile, loss)
    from smoltrain.post.adapters import Adapter
    from smoltrain.post.pipeline import Asked, newest_base, posttrain
    from smoltrain.post.ruler import Ruler

    asked = Asked(
        build,
        base or newest_base(build),
        profile,
        preset,
        tuple(evaluations or ()),
        steps=steps,
        rows=rows,
        tokenizer=tokenizer,
        loss=ask.LOSSES[loss],
        adapter=Adapter(lora, 2 * lora, four_bits=qlora) if lora else None,
        validation=ask.validation_of(profile),
        micro_batch=micro_batch,
        ruler=Ruler(ruler, ruler_count, ruler_tasks) if ruler else None,
    )
    facts = posttrain(asked)
    if as_json:
        print(json.dumps({"run": str(asked.run), **facts}, indent=2))
    else:
        _show_measures(facts["measures"])
        say(f"page: {asked.run / 'post.html'}\nmodel: {asked.run / 'merged'}")


def _show_measures(measures: "Mapping[str, Any]") -> None:
    """Print a row a checkpoint and mode: held-out loss, pairs won."""
    from smoldata.console import table

    cells = []
    for name, one in measures.items():
        won = {wins["mode"]: f"{wins['won']} of {wins['pairs']}" for wins in one["wins"]}
        cells += [
            [name, part["mode"], f"{part['loss']:.4f}", won.get(part["mode"], "")] for part in one["heldout"]
        ]
    columns = ["checkpoint", "mode", "held-out loss", "pairs won"]
    table("after each step", columns, cells, right=["held-out loss"])


@post_app.command("merge")
def merge_command(
    parts: Annotated[list[str], typer.Argument(help="folder=weight; no weights: a soup of equal parts.")],
    out: Annotated[Path, typer.Option(help="The result's folder.")],
    engine: Annotated[str, typer.Option(help="stream (ours) or mergekit.")] = "stream",
) -> None:
    """Merge checkpoints by their weighted mean; weights are exact and sum to 1.

    Example: smoltrain post merge runs/soup=0.9 runs/mid=0.1 --out runs/merged
    """
    from typing import Literal, cast

    from smoldata.console import say
    from smoldata.errors import InputError
    from smolmix.literals import parse_share
    from smoltrain.post.merge import Ingredient, merge, soup

    if engine not in {"stream", "mergekit"}:
        raise InputError(f"unknown engine {engine!r}; engines are stream and mergekit")
    weighted = ["=" in part for part in parts]
    if any(weighted) and not all(weighted):
        raise InputError("give every checkpoint a weight (folder=0.9), or none")
    if all(weighted):
        split = [part.rpartition("=") for part in parts]
        ingredients = [Ingredient(Path(folder), parse_share(weight)) for folder, _, weight in split]
    else:
        ingredients = soup([Path(part) for part in parts])
    merge(ingredients, out, engine=cast('Literal["stream", "mergekit"]', engine))
    say(f"wrote {out}")


@post_app.command()
def traces(
    prompts: Annotated[Path, typer.Argument(help="Parquet of conversations without reasoning.")],
    out: Annotated[Path, typer.Option(help="Folder of the traces, in the hub's layout.")],
    model: Annotated[str, typer.Option(help="The teacher's name at its endpoint.")],
    url: Annotated[str, typer.Option(help="OpenAI-compatible endpoint.")] = "http://localhost:8000/v1",
    weak_model: Annotated[str | None, typer.Option(help="A weak model: pairs are made too.")] = None,
    weak_url: Annotated[str | None, typer.Option(help="Its endpoint (default: the teacher's).")] = None,
    key_variable: Annotated[str, typer.Option(help="Environment variable with the key.")] = "OPENAI_API_KEY",
    per_minute: Annotated[float, typer.Option(min=0.1, help="Requests a minute.")] = 600.0,
    at_once: Annotated[int, typer.Option(min=1, help="Requests open at once.")] = 8,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest reply.")] = 8192,
    style: Annotated[
        str, typer.Option(help="native: the teacher thinks; two-turns: asked to think, then to answer.")
    ] = "native",
    temperature: Annotated[float, typer.Option(min=0, help="Of sampling.")] = 0.6,
    limit: Annotated[int | None, typer.Option(min=1, help="Prompts at most.")] = None,
) -> None:
    """Ask a teacher for reasoning; keep traces whose form and answer are right; go on where a run stopped.

    Example: smoltrain post traces rows/SFT/science.parquet --model teacher --out traces
    """
    import json
    import os
    from dataclasses import replace

    from smoltrain.post.trace_sets import make_traces, prompts_of
    from smoltrain.post.traces import Limits, Teacher

    ask.refuse_unknown("style", style, ("native", "two-turns"))
    teacher = Teacher(
        url,
        model,
        max_tokens,
        temperature,
        key=os.environ.get(key_variable, "none"),
        style="native" if style == "native" else "two_turns",
    )
    weak = replace(teacher, url=weak_url or url, model=weak_model) if weak_model else None
    limits = Limits(per_minute, at_once)
    facts = make_traces(prompts_of(prompts, limit), teacher, out, weak=weak, limits=limits)
    print(json.dumps(facts, indent=2))


ModelOption = Annotated[
    Path | None, typer.Option(help="Checkpoint (default: the newest merged one of --build).")
]


@post_app.command()
def chat(
    build: ask.BuildOption = Path("build"),
    model: ModelOption = None,
    thinking: Annotated[bool, typer.Option("--think/--no-think", help="The mode to begin in.")] = True,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply.")] = 256,
) -> None:
    """Talk to a post-trained checkpoint in the terminal, or through a pipe, a line a turn.

    Example: echo "Hello" | smoltrain post chat --no-think
    """
    import sys

    from smoldata.console import out
    from smoltrain.cli import need_torch

    need_torch()
    from smoltrain.post.talk import open_chat, talk

    chat = open_chat(model or newest_merged(build), thinks=thinking, max_new_tokens=max_new_tokens)
    talk(chat, iter(sys.stdin), lambda text: out.print(text, markup=False))


@post_app.command()
def serve(
    build: ask.BuildOption = Path("build"),
    model: ModelOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "localhost",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    thinking: Annotated[bool, typer.Option("--think/--no-think", help="The default mode.")] = True,
) -> None:
    """Serve a post-trained checkpoint behind the OpenAI API, with tool calls as tool_calls.

    Example: smoltrain post serve --port 8000
    """
    from smoltrain.cli import need_torch

    need_torch()
    from smoltrain.post.talk import serve as become_server

    become_server(model or newest_merged(build), host, port, thinks=thinking)


def newest_merged(build: Path) -> Path:
    """Return the newest merged checkpoint of a build folder; raises :class:`InputError` if there is none."""
    from smoldata.errors import InputError

    found = sorted(build.glob("*/post/runs/*/merged/merge.json"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise InputError(f"there is no post-trained model in {build}; make one with `make posttrain`")
    return found[-1].parent
