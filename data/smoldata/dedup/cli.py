"""``smoldata dedup``: built documents of several sources without near-duplicates among them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from smoldata.console import say, table


def dedup_command(
    folders: Annotated[
        list[Path], typer.Argument(help="Built documents, a folder a source; the first named is preferred.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder for the documents that stay.")],
    language: Annotated[
        str, typer.Option("--language", help="FineWeb2 code: how words are split.")
    ] = "eng_Latn",
    bands: Annotated[int, typer.Option("--bands", min=1, help="Bands of a signature.")] = 14,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Values of a band.")] = 8,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Drop near-duplicates within and across sources (MinHash), and list them in removed.parquet.

    Example: smoldata dedup build/hub/documents/fineweb-edu build/hub/documents/dclm --output build/clean
    """
    from smoldata.dedup.across import REMOVED, dedup_sources
    from smoldata.dedup.steps import MinhashSettings

    settings = MinhashSettings(language=language, bands=bands, rows=rows)
    results = dedup_sources(folders, output, settings=settings, workers=workers)
    if as_json:
        print(json.dumps([asdict(result) for result in results], indent=2))
        return
    lines = [(each.source, f"{each.read:,}", f"{each.kept:,}", f"{each.dropped:,}") for each in results]
    table("", ("source", "read", "kept", "dropped"), lines, right=("read", "kept", "dropped"))
    say(f"what was dropped, and for which document: {output / REMOVED}")
