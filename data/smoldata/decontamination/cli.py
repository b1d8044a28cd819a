"""``smoldata decontaminate``: arguments in, the search in :mod:`.run`, a table or JSON out."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from smoldata.console import say, table


def decontaminate_command(
    benchmarks: Annotated[
        list[Path], typer.Option("--benchmarks", help="Folder (or file) of evaluation sets; again for more.")
    ],
    build: Annotated[Path, typer.Option("--build", help="Build folder.")] = Path("build"),
    profile: Annotated[str, typer.Option("--profile", help="sample or hub.")] = "sample",
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Source; again for more; none: all.")
    ] = None,
    words: Annotated[int, typer.Option(min=8, max=32, help="n of the n-grams.")] = 13,
    least_share: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of an item that a document must also hold (Qwen2.5-Math: 0.6)."
        ),
    ] = 0.0,
    tokenizer: Annotated[
        Path | None, typer.Option(help="tokenizer.json that counts matched tokens; none: words are counted.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search finished documents for items of evaluation sets; list what is found, change nothing.

    Example: smoldata decontaminate --build build --benchmarks evaluation-sets
    """
    from smoldata.decontamination.index import Rules
    from smoldata.decontamination.run import decontaminate

    rules = Rules(words=words, least_share=least_share)
    found = decontaminate(
        build / profile, benchmarks, rules=rules, sources=source, tokenizer=tokenizer, workers=workers
    )
    if as_json:
        shown = dataclasses.asdict(found) | {"listing": str(found.listing), "report": str(found.report)}
        print(json.dumps(shown, ensure_ascii=False))
        return
    rows = [
        (line.benchmark, line.source, f"{line.documents:,}", f"{line.items:,}", f"{line.matched_tokens:,}",
         f"{line.most_share:.0%}")
        for line in found.lines
    ]  # fmt: skip
    columns = ("benchmark", "source", "documents", "items", "matched tokens", "largest share")
    table(f"{found.contaminated:,} of {found.documents:,} documents", columns, rows, right=columns[2:])
    if found.missing:
        listed = ", ".join(f"{count:,} of {name}" for name, count in found.missing.items())
        say(f"items too short or too common to look for: {listed}")
    say(f"spans: {found.listing}; report: {found.report}")
