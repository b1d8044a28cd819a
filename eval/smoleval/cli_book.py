"""smoleval scores: the book of a build. Nothing heavy is imported before the command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoleval.cli_options import BUILD, Build, Json, Profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoleval.book import Entry


def scores(
    build: Build = BUILD,
    also: Annotated[list[Path] | None, typer.Option("--scores", help="A further folder of scores.")] = None,
    checkpoint: Annotated[
        str, typer.Option(help="Checkpoints with this in their name (default: of each run the last).")
    ] = "",
    page: Annotated[bool, typer.Option("--page", help="Write the page, build/scores.html.")] = False,
    sql: Annotated[str, typer.Option(help="Ask the tables scores, history, published, benchmarks.")] = "",
    as_json: Json = False,
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


def items(
    out: Annotated[Path, typer.Argument(help="Folder for a file of items a benchmark.")],
    tasks: Annotated[str, typer.Option(help="Suites, names or patterns with commas.")] = "base",
    profile: Profile = "hub",
    build: Build = BUILD,
) -> None:
    """Write the items of tasks for the decontamination of training data.

    Example: smoleval items benchmarks --tasks base && smoldata decontaminate --benchmarks benchmarks
    """
    from smoldata.console import say
    from smoleval.contamination import write_items
    from smoleval.data import load_data
    from smoleval.definition import select
    from smoleval.engine import profile_of

    rows, left = {}, []
    for task in select(tasks.split(",")):
        where = profile_of(task, profile)
        if where is None or where == "generated":  # RULER's texts are made, or the user's own
            left.append(task.name)
        else:
            found = load_data(task, where, build / "eval" / "packages").rows
            rows[task.name] = [row for part in found.values() for row in part]
    for path in write_items(rows, out):
        say(f"{path}: {len(rows[next(name for name in rows if file_of(name) == path.name)]):,} items")
    if left:
        say(f"left out, no rows in the profile {profile}: {', '.join(left)}")


def file_of(task: str) -> str:
    """Return the name of a task's file of items."""
    from smoleval.contamination import file_name

    return f"{file_name(task)}.jsonl"


def watch(
    run: Annotated[Path, typer.Argument(help="The folder of a run (smoltrain's, or nanotron's).")],
    tasks: Annotated[
        str, typer.Option(help="heldout, tasks or suites, ruler:<folder of prompts>; with commas.")
    ] = "heldout",
    every: Annotated[int, typer.Option(min=1, help="Only checkpoints whose step is a multiple.")] = 1,
    once: Annotated[bool, typer.Option("--once", help="Score what is there, and end.")] = False,
    slurm: Annotated[bool, typer.Option("--slurm", help="Submit a Slurm job for each checkpoint.")] = False,
    sbatch_option: Annotated[
        list[str] | None, typer.Option(help="Of sbatch, such as --gpus=1; may be given again.")
    ] = None,
    run_option: Annotated[
        list[str] | None, typer.Option(help="Of `smoleval run`, such as --limit=100; may be given again.")
    ] = None,
    heldout_option: Annotated[
        list[str] | None, typer.Option(help="Of `smoleval heldout`, such as --max-tokens=4096; again.")
    ] = None,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 30.0,
    only: Annotated[str, typer.Option(help="Only the checkpoint of this name.")] = "",
    page: Annotated[bool, typer.Option(help="Write build/scores.html after new scores.")] = True,
    build: Build = BUILD,
) -> None:
    """Score a run's checkpoints as they appear; killed and started again, nothing is scored twice.

    Example: smoleval watch build/sample/runs/<run> --tasks heldout,base --run-option=--profile=offline
    """
    from smoldata.errors import EXIT_FAILED
    from smoleval import watch as watching
    from smoleval.book import read_book

    names = tuple(name.strip() for name in tasks.split(",") if name.strip())
    watched = watching.Watched(
        run, build, names, every, only, tuple(run_option or ()), tuple(heldout_option or ())
    )
    watching.check(watched)

    def write() -> None:
        if page and (entries := read_book(build)):
            from smoleval.page import write_page

            write_page(build, entries)

    jobs = watching.Slurm(tuple(sbatch_option or ())) if slurm else None
    if once:
        failed: set[str] = set()
        watching.look(watched, failed, jobs)
        write()
        well = not failed
    else:
        well = watching.follow(watched, poll, write, jobs, lambda: watching.has_ended(run))
    if not well:
        raise typer.Exit(EXIT_FAILED)
