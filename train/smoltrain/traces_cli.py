"""``smoltrain traces``: conversations in, ChatML token shards out; of files, or of a recipe's sources."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from smoltrain.traces import Report


def traces(
    files: Annotated[
        list[Path] | None, typer.Argument(help="JSON lines or Parquet with `messages`; none with --recipe.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Name of the source, as the recipe has it.")] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(help="Folder of the tokenizer's shards: build/hub/tokens/llama-3.2."),
    ] = None,
    validation: Annotated[
        str, typer.Option(help="Share of conversations held out, as the recipe has it.")
    ] = "1/200",
    tokenizer: Annotated[str, typer.Option(help="Name of a shipped tokenizer.")] = "llama-3.2",
    recipe: Annotated[
        str | None, typer.Option(help="Render all conversations of this recipe instead: mid, or a path.")
    ] = None,
    profile: Annotated[str, typer.Option(help="With --recipe: sample (offline) or hub.")] = "sample",
    build: Annotated[Path, typer.Option(help="With --recipe: the build folder.")] = Path("build"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a large download.")] = False,
    limit_bytes: Annotated[int, typer.Option(min=0, help="A trial: text bytes of each source; 0: all.")] = 0,
    limit_tokens: Annotated[int, typer.Option(min=0, help="A trial: tokens, about; 0: all.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Render conversations in ChatML and write them as token shards for mid-training.

    Examples: smoltrain traces traces.jsonl --source OpenThoughts3_1.2M --tokens build/hub/tokens/llama-3.2

    smoltrain traces --recipe mid --profile hub --limit-tokens 1000000
    """
    from smoldata.errors import InputError

    if recipe is not None and not (files or source or tokens):
        from smolmix.build import Request, parse_profile
        from smoltrain.trace_sources import render_recipe

        request = Request(
            recipe,
            profile=parse_profile(profile),
            build=build,
            assume_yes=yes,
            limit_bytes=limit_bytes or None,
            limit_tokens=limit_tokens or None,
        )
        for report in render_recipe(request):
            _show(report, as_json=as_json)
        return
    if recipe is not None or not files or source is None or tokens is None:
        raise InputError("give files with --source and --tokens, or --recipe alone")
    _show(_of_files(files, source, tokens, tokenizer, validation), as_json=as_json)


def _of_files(files: list[Path], source: str, tokens: Path, tokenizer: str, validation: str) -> "Report":
    from fractions import Fraction

    from smoldata.errors import InputError
    from smoltok.tokenizer import resolve
    from smoltrain.traces import write_shards

    try:
        share = Fraction(validation)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"--validation {validation}: write a share such as 1/200") from error
    return write_shards(
        files, source=source, tokens=tokens, tokenizer=resolve(tokenizer), validation_share=share
    )


def _show(report: "Report", *, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from smoldata.console import say

    if as_json:
        print(json.dumps(asdict(report)))
        return
    if not report.files:
        say(f"{report.source}: {report.tokens:,} tokens in {report.shards} shards, as they were")
        return
    dropped = "".join(f", {count:,} dropped ({reason})" for reason, count in sorted(report.dropped.items()))
    say(
        f"{report.source}: {report.read:,} conversations read, {report.kept:,} kept{dropped}; "
        f"{report.tokens:,} tokens in {report.shards} shards"
    )
