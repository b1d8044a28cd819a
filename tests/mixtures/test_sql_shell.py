"""The SQL shell: whole answers in three formats, and errors that name the candidates."""

import csv
import io
import json
from pathlib import Path

import pytest

from smoldata.errors import InputError
from smolmix.catalog import CATALOG, LOOKUPS, VIEWS
from smolmix.sql_shell import list_views, print_query, print_views, run_query

QUERY = "SELECT stage, source, weight, windows FROM allocation ORDER BY stage, source"


@pytest.fixture
def build(catalogued: Path) -> Path:
    return catalogued


def test_the_three_formats_hold_the_same_rows(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = run_query(build, QUERY)
    print_query(build, QUERY, "json")
    records = json.loads(capsys.readouterr().out)
    assert [tuple(one.values()) for one in records] == list(answer.rows)
    print_query(build, QUERY, "csv")
    lines = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert lines == [list(answer.columns), *([str(cell) for cell in row] for row in answer.rows)]
    print_query(build, QUERY)
    table = capsys.readouterr().out
    assert all(str(row[1]) in table and str(row[2]) in table for row in answer.rows)
    assert table.endswith("8 rows\n")


def test_a_table_cuts_nothing(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "é" * 300 + "汉" * 50
    print_query(build, f"SELECT '{long}' AS long, 1234567 AS number")
    out = capsys.readouterr().out
    assert long in out
    assert "1,234,567" in out


def test_documents_are_read_through_the_relative_paths(build: Path) -> None:
    assert run_query(build, "SELECT count(*) > 20 FROM documents").rows == ((True,),)


def test_views_are_listed_with_examples_that_run(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    views = list_views(build)
    assert {view.name for view in views} == {*VIEWS, *LOOKUPS}
    for view in views:
        assert run_query(build, view.example).rows
    print_views(build)
    out = capsys.readouterr().out
    assert all(f"{view.name}\n  {view.description}" in out for view in views)


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("SELECT weigth FROM allocation", '"weight"'),
        ("FROM sourcs", '"sources"'),
        ("SELEC 1", "syntax error"),
        ("DROP TABLE store.shards", "read-only"),
    ],
)
def test_errors_are_one_line_with_candidates(build: Path, sql: str, wanted: str) -> None:
    with pytest.raises(InputError) as caught:
        run_query(build, sql)
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_catalog_and_a_broken_catalog_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make mixture STAGE=2"):
        run_query(tmp_path, "SELECT 1")
    (tmp_path / CATALOG).write_bytes(b"not a database" * 1000)
    with pytest.raises(InputError, match="cannot be opened"):
        run_query(tmp_path, "SELECT 1")


def test_numbers_are_aligned_to_the_right_and_nothing_else(build: Path) -> None:
    query = "SELECT 1 AS a, 2.5::DOUBLE AS b, 1.5 AS c, 3::HUGEINT AS d, 4::UTINYINT AS e, [1] AS f, 'x' AS g"
    assert run_query(build, query).numeric == ("a", "b", "c", "d", "e")
