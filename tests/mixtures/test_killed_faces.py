"""Catalog and report: killed while they are written, the old ones stand, and the next run is whole."""

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from smolmix.catalog import CATALOG, VIEWS, write_catalog
from smolmix.cli import app
from smolmix.report import REPORT

KILLED = """
import os, signal, sys
from pathlib import Path
from smolmix import catalog, cli, report

def die(*arguments, **more):
    os.kill(os.getpid(), signal.SIGKILL)

def half(path, data):
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        os.fsync(file.fileno())
    die()

where = sys.argv.pop(1)
if where == "half a catalog":
    catalog._create_lookups = die
else:
    Path.write_bytes = half
cli.main()
"""


def answers(build: Path) -> dict[str, list[tuple[object, ...]]]:
    with duckdb.connect(str(build / CATALOG), read_only=True) as connection:
        connection.execute("SET file_search_path = ?", [str(build)])
        return {view: connection.execute(f"FROM {view} ORDER BY ALL").fetchall() for view in VIEWS}


@pytest.mark.parametrize("where", ["half a catalog", "half a report"])
def test_killed_anywhere_the_next_run_is_whole(catalogued: Path, tmp_path: Path, where: str) -> None:
    build = Path(shutil.copytree(catalogued, tmp_path / "build"))
    wanted = answers(build)
    (build / REPORT).write_text("the old one", "utf-8")
    files = {path for path in build.rglob("*") if path.is_file()} | {build / ".lock"}
    command = [sys.executable, "-c", KILLED, where, "report", "--build", str(build)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert answers(build) == wanted
    assert (build / REPORT).read_text("utf-8") == "the old one"
    assert list(build.rglob("*.tmp-*")), "it was killed while it wrote"
    again = CliRunner().invoke(app, ["report", "--build", str(build)])
    assert again.exit_code == 0, again.output
    assert answers(build) == wanted
    assert (build / REPORT).read_text("utf-8").endswith("</html>\n")
    assert {path for path in build.rglob("*") if path.is_file()} == files


def test_a_leftover_of_the_same_process_number_is_not_built_upon(
    own_build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container every run has the same number: half a database under that name is not opened."""
    monkeypatch.setattr("os.getpid", lambda: 7)
    temporary = own_build / f"{CATALOG}.tmp-7"
    with duckdb.connect(str(temporary)) as connection:
        connection.execute("CREATE SCHEMA store; CREATE TABLE store.stages (x INTEGER)")
    write_catalog(own_build)
    assert len(answers(own_build)["stages"]) == 2
    assert not temporary.exists()
