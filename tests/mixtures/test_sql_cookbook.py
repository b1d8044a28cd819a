"""docs/sql.md: every query of the cookbook runs, and the table of views names those that exist."""

import re
import shlex
from pathlib import Path

import pytest

from smolmix.catalog import VIEWS
from smolmix.sql_shell import run_query

TEXT = (Path(__file__).parents[2] / "docs" / "sql.md").read_text("utf-8")
COMMANDS = [shlex.split(line[2:]) for line in TEXT.splitlines() if line.startswith("$ smolmix sql ")]


def test_there_are_enough_queries_and_they_use_every_view() -> None:
    assert len(COMMANDS) >= 15
    assert all(any(view in command[-1] for command in COMMANDS) for view in VIEWS)


@pytest.mark.parametrize("command", COMMANDS, ids=[str(number + 1) for number in range(len(COMMANDS))])
def test_every_query_runs_and_gives_rows(catalogued: Path, command: list[str]) -> None:
    # The folder of the tests has other sources: dclm is the one that it reads more than once.
    answer = run_query(catalogued, command[-1].replace("'pes2o'", "'dclm'"))
    assert answer.rows


def test_what_must_add_up_adds_up(catalogued: Path) -> None:
    (query,) = (command[-1] for command in COMMANDS if "planned" in command[-1] and "budget" in command[-1])
    assert [row[3] for row in run_query(catalogued, query).rows] == [0, 0]


def test_the_table_of_views_is_complete() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE) == sorted(
        VIEWS, key=["sources", "documents", "shards", "stages", "allocation", "exposure", "planned_shards",
                    "staging", "timetable", "findings", "reconciliation", "steps", "contamination",
                    "compression", "document_statistics"].index,
    )  # fmt: skip
