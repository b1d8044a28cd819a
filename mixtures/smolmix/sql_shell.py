"""Questions to the catalog: one SQL statement in, a table, CSV or JSON out; read-only.

``make sql Q="select ..."`` runs a query, ``make sql`` lists the views with an example each. The catalog is
opened read-only, so a query can change nothing in it. Cost: DuckDB's own, plus 50 ms to open.
"""

import csv
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import duckdb

from smoldata.errors import InputError
from smolmix.catalog import CATALOG

Format = Literal["table", "json", "csv"]
_CANDIDATES = re.compile(r"(Candidate bindings|Did you mean|Candidate functions)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gave."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    numeric: tuple[str, ...]
    """Columns of numbers, which a table aligns to the right."""


@dataclass(frozen=True, slots=True)
class View:
    """A view or a function of the catalog and how to use it."""

    name: str
    description: str
    example: str


def run_query(build: Path, sql: str) -> Answer:
    """Run SQL on ``build/catalog.duckdb``; an :class:`InputError` carries DuckDB's candidates."""
    with _open(build) as connection:
        try:
            cursor = connection.execute(sql)
            description = cursor.description or []
            rows = cursor.fetchall()
        except duckdb.Error as error:
            raise InputError(_one_line(error)) from error
    columns = tuple(str(one[0]) for one in description)
    numeric = tuple(str(one[0]) for one in description if _is_number(str(one[1])))
    return Answer(columns, tuple(tuple(row) for row in rows), numeric)


def list_views(build: Path) -> list[View]:
    """Return the views, then the functions: each with what it gives and a query that runs."""
    answer = run_query(
        build,
        "SELECT view_name, comment, example FROM store.examples JOIN ("
        "SELECT view_name, comment, 0 AS kind FROM duckdb_views() "
        "WHERE NOT internal AND schema_name = 'main' UNION ALL "
        "SELECT function_name, any_value(comment), 1 FROM duckdb_functions() WHERE NOT internal GROUP BY ALL"
        ") USING (view_name) ORDER BY kind, view_name",
    )
    return [View(*row) for row in answer.rows]


def print_query(build: Path, sql: str, output: Format = "table") -> None:
    """Run a query and print the answer to standard output: nothing is cut, whatever its width."""
    answer = run_query(build, sql)
    if output == "json":
        records = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        print(json.dumps(records, indent=2, ensure_ascii=False, default=_plain))
    elif output == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows(answer.rows)
    else:
        _print_table(answer.columns, [[_cell(one) for one in row] for row in answer.rows], answer.numeric)
        print(f"{len(answer.rows):,} {'row' if len(answer.rows) == 1 else 'rows'}")


def print_views(build: Path, output: Format = "table") -> None:
    """Print the views with one line and one example each."""
    views = list_views(build)
    if output == "json":
        print(
            json.dumps([{"view": one.name, "what": one.description, "example": one.example} for one in views])
        )
        return
    for view in views:
        quoted = view.example.replace('"', '\\"')
        print(f'{view.name}\n  {view.description}\n  make sql Q="{quoted}"')


def _open(build: Path) -> duckdb.DuckDBPyConnection:
    path = Path(build) / CATALOG
    if not path.is_file():
        raise InputError(f"{path} does not exist; run `make mixture STAGE=2` first")
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        raise InputError(f"{path} cannot be opened ({_one_line(error)}); run `make mixture` again") from error
    connection.execute("SET file_search_path = ?", [str(Path(build))])
    return connection


def _one_line(error: duckdb.Error) -> str:
    """Keep DuckDB's first line and its candidates; drop the echo of the query."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [lines[0]] if lines else ["the query failed"]
    kept += [line for line in lines[1:] if _CANDIDATES.search(line)]
    return "; ".join(kept)


def _is_number(type_name: str) -> bool:
    pattern = r"U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER|DOUBLE|FLOAT|DECIMAL\(.*\)"
    return re.fullmatch(pattern, type_name) is not None


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _plain(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else str(value)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    """Print as wide as the content is, so that no cell is cut or wrapped."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=box.ASCII2 if not sys.stdout.isatty() else box.ROUNDED, header_style="bold")
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    widths = [max(len(cell) for cell in (name, *(row[i] for row in rows))) for i, name in enumerate(columns)]
    console = Console(highlight=False, markup=False, width=max(20, 2 * sum(widths) + 3 * len(widths) + 1))
    console.print(grid)
