"""``smoldata statistics``: arguments in, tables and pictures written, a table or JSON out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from smoldata.console import say, table
from smoldata.errors import SourceError


def statistics_command(
    source: Annotated[list[str] | None, typer.Option("--source", help="Again for more; none: all.")] = None,
    profile: Annotated[str, typer.Option("--profile", help="sample or hub.")] = "sample",
    build: Annotated[Path, typer.Option("--build", help="Build folder.")] = Path("build"),
    figures: Annotated[Path | None, typer.Option(help="Write the pictures (SVG) into this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count documents, bytes, characters, languages, licences, lengths, scores and drops of built sources.

    Example: smoldata statistics --source fineweb-edu
    Example: smoldata statistics --figures figures
    """
    from smoldata.statistics.tables import read_statistics

    documents = build / profile / "documents"
    built = sorted(path.parent.name for path in documents.glob("*/manifest.parquet"))
    if not built:
        raise SourceError(f"no documents in {documents}; run `smoldata build`")
    tables = {name: read_statistics(documents / name) for name in source or built}
    if as_json:
        rows = [row for one in tables.values() for row in one.to_dicts()]
        print(json.dumps(rows, ensure_ascii=False))
    else:
        _show(tables)
    if figures is not None:
        from smoldata.files import write_atomic
        from smoldata.statistics.figures import profile_figures

        drawn = profile_figures(documents)
        for name, svg in drawn.items():
            write_atomic(figures / f"{name}.svg", svg + "\n")
        say(f"{len(drawn)} pictures in {figures}")


def _show(tables: Mapping[str, object]) -> None:
    from smoldata.statistics.summary import summaries

    rows = [
        (
            one.source,
            f"{one.read:,}",
            f"{one.documents:,}",
            f"{one.text_bytes / 1e6:,.2f}",
            one.length,
            ", ".join(one.languages[:3]) + (" …" if len(one.languages) > 3 else ""),  # noqa: PLR2004
            ", ".join(f"{name} {part:.0%}" for name, part in one.drops[:3]),
        )
        for one in summaries(tables)
    ]
    columns = ("source", "read", "kept", "MB", "median length", "languages", "dropped, by reason")
    table(f"{len(rows)} sources", columns, rows, right=("read", "kept", "MB", "median length"))
