"""smoleval scores: the book of a build. Nothing heavy is imported before the command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoleval.book import Entry


def scores(
    build: Annotated[Path, typer.Option(help="The build folder.")] = Path("build"),
    also: Annotated[list[Path] | None, typer.Option("--scores", help="A further folder of scores.")] = None,
    checkpoint: Annotated[
        str, typer.Option(help="Checkpoints with this in their name [default: of each run the last].")
    ] = "",
    page: Annotated[bool, typer.Option("--page", help="Write the page, build/scores.html.")] = False,
    sql: Annotated[str, typer.Option(help="Ask the tables scores, history, published, benchmarks.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Print every checkpoint's scores beside the published figures, with 95 % intervals and win rates.

    Example: smoleval scores --build build --page
    """
    import json

    from smoldata.console import say
    from smoleval import book

    entries = book.read_book(build, also or [])
    if not entries:
        from smoldata.errors import InputError

        raise InputError(f"no scores in {build}; make some with `make eval`")
    if page:
        from smoleval.page import write_page

        say(f"page: {write_page(build, entries)}")
    if sql:
        _answer(entries, sql, as_json=as_json)
        return
    shown = book.newest_of_each_run(entries, checkpoint)
    if as_json:
        print(json.dumps(book.as_json(shown), indent=2))
        return
    _print(shown)


def _print(shown: "Sequence[Entry]") -> None:
    from smoldata.console import say, table
    from smoleval.scoretable import grids, others

    for grid in grids(shown):
        name = {"base": "base", "no_think": "without thinking", "think": "thinking"}[grid.mode]
        table(
            f"{name}: per cent, [95 % interval]; published to the right",
            grid.heads,
            grid.rows,
            grid.heads[1:],
        )
        for note in grid.notes:
            say(note)
    heads, rows = others(shown)
    if rows:
        table("no published figure", heads, rows, right=heads[4:7])


def _answer(entries: "Sequence[Entry]", sql: str, *, as_json: bool) -> None:
    import json

    import duckdb

    from smoldata.console import table
    from smoldata.errors import InputError
    from smoleval.book import connect

    try:
        result = connect(entries).execute(sql)
        heads = [column[0] for column in result.description or []]
        rows = result.fetchall()
    except duckdb.Error as error:
        raise InputError(f"{error}; tables: scores, history, published, benchmarks") from error
    if as_json:
        print(json.dumps([dict(zip(heads, row, strict=True)) for row in rows], indent=2, default=str))
    else:
        table("", heads, rows)
