"""``smoltrain traces``: files of conversations in, ChatML token shards of a source out."""

from pathlib import Path
from typing import Annotated

import typer


def traces(
    files: Annotated[list[Path], typer.Argument(help="JSON lines or Parquet with `messages`.")],
    source: Annotated[str, typer.Option(help="Name of the source, as the recipe has it.")],
    tokens: Annotated[
        Path, typer.Option(help="Folder of the tokenizer's shards, such as build/hub/tokens/llama-3.2.")
    ],
    validation: Annotated[
        str, typer.Option(help="Share of conversations held out, as the recipe has it.")
    ] = "1/200",
    tokenizer: Annotated[str, typer.Option(help="Name of a shipped tokenizer.")] = "llama-3.2",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Render conversations in ChatML and write them as token shards for mid-training.

    Example: smoltrain traces traces.jsonl --source OpenThoughts3_1.2M --tokens build/hub/tokens/llama-3.2
    """
    import json
    from dataclasses import asdict
    from fractions import Fraction

    from smoldata.console import say
    from smoldata.errors import InputError
    from smoltok.tokenizer import resolve
    from smoltrain.traces import write_shards

    try:
        share = Fraction(validation)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"--validation {validation}: write a share such as 1/200") from error
    report = write_shards(
        files, source=source, tokens=tokens, tokenizer=resolve(tokenizer), validation_share=share
    )
    if as_json:
        print(json.dumps(asdict(report), indent=2))
        return
    dropped = "".join(f", {count:,} dropped ({reason})" for reason, count in sorted(report.dropped.items()))
    say(
        f"{source}: {report.read:,} conversations read, {report.kept:,} kept{dropped}; "
        f"{report.tokens:,} tokens in {report.shards} shards"
    )
