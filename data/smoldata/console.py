"""What people see: progress bars on a terminal, plain lines elsewhere; tables; errors with an exit code.

Progress and messages go to standard error, results to standard output, so that ``--json`` can be piped.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from smoldata.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, SmolError, StorageError

_LINE_EVERY_SECONDS = 5.0

out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """Print a line for the person at the terminal (standard error)."""
    err.print(message, soft_wrap=True, markup=False)


@contextmanager
def progress(label: str, total: int, *, width: int = 28) -> Iterator[Callable[[int, str], None]]:
    """Show progress over ``total`` units; the yielded function takes (units done more, what is being done).

    A bar on a terminal, after ``width`` characters of text; elsewhere a plain line at most every five
    seconds, and one at the end.
    """
    with _bar(label, total, width) if err.is_terminal else _lines(label, total) as advance:
        yield advance


@contextmanager
def _bar(label: str, total: int, width: int) -> Iterator[Callable[[int, str], None]]:
    columns = (
        TextColumn(f"{{task.description:<{width}.{width}}}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(label, total=total)

        def advance(amount: int, what: str = "") -> None:
            bar.update(task, advance=amount, description=f"{label} {what}")

        yield advance


@contextmanager
def _lines(label: str, total: int) -> Iterator[Callable[[int, str], None]]:
    done, last, start = 0, time.monotonic(), time.monotonic()

    def advance(amount: int, what: str = "") -> None:
        nonlocal done, last
        done += amount
        now = time.monotonic()
        if now - last >= _LINE_EVERY_SECONDS and done < total:
            last = now
            say(f"{label}: {done:,} of {total:,} ({now - start:.0f} s) {what}".rstrip())

    yield advance
    say(f"{label}: {done:,} of {total:,} in {time.monotonic() - start:.1f} s")


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()
) -> None:
    """Print a table to standard output; the columns named in ``right`` are right-aligned.

    Without a terminal the width follows the content, so that nothing is cut in a log file.
    """
    grid = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*("" if cell is None else str(cell) for cell in row))
    (out if out.is_terminal else Console(highlight=False, width=240)).print(grid)


def run_command(app: Callable[..., Any]) -> None:
    """Run a typer app and exit: errors of ours and the system's become one line and an exit code.

    Usage errors keep typer's message and exit code 2. ``SMOL_TRACEBACK=1`` shows tracebacks all the same.
    """
    import typer

    # typer exports BadParameter only; its second base is the base of all usage errors.
    usage_error = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])
    try:
        code = app(standalone_mode=False)  # typer turns KeyboardInterrupt into code 130
    except typer.Abort:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILED
    except usage_error as error:
        error.show()
        code = EXIT_USAGE
    except SmolError as error:
        if os.environ.get("SMOL_TRACEBACK"):
            raise
        say(f"error: {error}")
        code = error.exit_code
    except OSError as error:  # a place that can't be written, a disk that is full
        if os.environ.get("SMOL_TRACEBACK"):
            raise
        say(f"error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        code = StorageError.exit_code
    if code == EXIT_INTERRUPTED:
        say("interrupted: finished files are kept; run the same command again to go on")
    sys.exit(code if isinstance(code, int) else EXIT_OK)
