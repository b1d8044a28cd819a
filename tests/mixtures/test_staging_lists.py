"""The lists of a staging timetable: a walk along them keeps every shard there, within the disk."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from smoldata.errors import InputError
from smolmix.catalog import write_catalog
from smolmix.cli import app
from smolmix.plan import load_plan
from smolmix.staging import disks, shard_sizes, timetable
from smolmix.staging_lists import fetches, removals, s5cmd_lines, shard_names, write_timetable
from smolmix.windows import below_root

PLAN, BUNDLE = "sample/plans/stage2-blog", "sample/bundles/stage2-blog"


def run(*words: str) -> str:
    """Return what a command prints on standard output."""
    done = CliRunner().invoke(app, ["staging", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("ahead", [0, 3])
def test_fetching_and_removing_by_the_lists_is_enough(catalogued: Path, ahead: int) -> None:
    plan, folder = load_plan(catalogued / PLAN), catalogued / BUNDLE
    names, sizes = shard_names(folder, plan), shard_sizes(folder, plan)
    found = timetable(plan, sizes, nodes=2, ahead=ahead)
    place = {name: (source, at) for source, listed in names.items() for at, name in enumerate(listed)}
    peaks = {one.node: one.peak_bytes for one in disks(found)}
    for node in range(2):
        there: set[str] = set()
        for step in range(plan.steps):
            there |= set(fetches(found, names, node, step, step + 1))
            held = sum(int(sizes[place[name][0]][place[name][1]]) for name in there)
            assert held <= peaks[node]
            samples = plan.at_many(range(step * 8 + node * 4, step * 8 + node * 4 + 4))
            for row in range(4):
                at = samples.sample(row)
                assert names[at.source][at.shard] in there
            there -= set(removals(found, names, node, step, step + 1))
        assert not there


def test_the_command_lists_what_is_on_disk(catalogued: Path) -> None:
    words = ("--bundle", str(catalogued / BUNDLE), "--nodes", "2", "--disk", "1G")
    paths = run(*words, "--rsync").split()
    assert paths
    assert all((catalogued / "sample" / path).is_file() for path in paths)
    copies = [shlex.split(line) for line in run(*words, "--s5cmd", "s3://b/p/", "--into", "/d").splitlines()]
    assert [(words[0], words[-2], words[-1]) for words in copies] == [
        ("cp", f"s3://b/p/{path}", f"/d/{path}") for path in paths
    ]
    early = run(*words, "--ahead", "0", "--rsync", "--to", "1").split()
    late = run(*words, "--ahead", "0", "--rsync", "--from", "1").split()
    assert early
    assert sorted(early + late) == sorted(run(*words, "--ahead", "0", "--rsync").split())
    assert run(*words, "--ahead", "0", "--evict").split()


def test_the_summary_has_exact_shares(catalogued: Path) -> None:
    words = ("--plan", str(catalogued / PLAN), "--nodes", "2", "--disk", "1G")
    facts: dict[str, Any] = json.loads(run(*words, "--json"))
    assert (facts["nodes"], facts["steps"], facts["disk_bytes"]) == (2, 20, 10**9)
    for one in facts["disks"]:
        p, q = map(int, one["peak_share"].split("/"))
        assert p * 10**9 == one["peak_bytes"] * q
    assert "GB at most" in run(*words)
    peak = max(one["peak_bytes"] for one in facts["disks"])
    with pytest.raises(InputError, match=f"must hold {peak:,} bytes"):
        run(*words[:-1], str(peak - 1))
    run(*words[:-1], str(peak))
    for more in (("--node", "2"), ("--rsync", "--json"), ("--evict", "--s5cmd", "s3://b")):
        with pytest.raises(InputError):
            run(*words, *more)


def test_the_parquet_file_has_the_visits(catalogued: Path, tmp_path: Path) -> None:
    plan, folder = load_plan(catalogued / PLAN), catalogued / PLAN
    found = timetable(plan, shard_sizes(folder, plan), nodes=2, ahead=1)
    path = write_timetable(found, shard_names(folder, plan), tmp_path / "staging/a.parquet", "f" * 32)
    first = path.read_bytes()
    assert write_timetable(found, shard_names(folder, plan), path, "f" * 32).read_bytes() == first
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == len(found)
    for row in rows:
        assert (catalogued / "sample/staging" / row["path"]).resolve().stat().st_size == row["bytes"]
        assert row["fetch_step"] <= row["first_step"] <= row["last_step"] < plan.steps
        assert (row["nodes"], row["lock"]) == (2, "f" * 32)
    assert sum(row["bytes"] for row in rows) == sum(one.fetched_bytes for one in disks(found))


def test_names_are_quoted_and_virtual_shards_refused(catalogued: Path) -> None:
    (line,) = s5cmd_lines(["tokens/a b/0'.ds"], "s3://b", "/d")
    assert shlex.split(line)[-2:] == ["s3://b/tokens/a b/0'.ds", "/d/tokens/a b/0'.ds"]
    assert below_root("../../tokens/x/0.ds") == "tokens/x/0.ds"
    plan = load_plan(catalogued / PLAN)
    found = timetable(plan, shard_sizes(catalogued / PLAN, plan), nodes=1)
    none: dict[str, list[str | None]] = {name: [None] * 9 for name in found.names}
    with pytest.raises(InputError, match="virtual shards"):
        fetches(found, none, 0, 0, 20)


def test_the_catalog_shows_a_saved_timetable_until_the_plan_changes(catalogued: Path, tmp_path: Path) -> None:
    build = Path(shutil.copytree(catalogued, tmp_path / "build"))
    run("--bundle", str(build / BUNDLE), "--nodes", "2", "--disk", "1G", "--ahead", "2", "--save")
    saved = build / "sample/staging/stage2-blog.parquet"
    query = "SELECT node, path, bytes, first_step FROM timetable"
    with duckdb.connect(str(write_catalog(build)), read_only=True) as connection:
        connection.execute("SET file_search_path = ?", [str(build)])
        rows = connection.execute(query).fetchall()
    assert len(rows) == pq.read_metadata(saved).num_rows > 0
    assert all((build / path).stat().st_size == size for _, path, size, _ in rows)
    table = pq.read_table(saved)
    lock = table.column_names.index("lock")
    pq.write_table(table.set_column(lock, "lock", pa.repeat(pa.scalar("0" * 32), len(table))), saved)
    with duckdb.connect(str(write_catalog(build)), read_only=True) as connection:
        connection.execute("SET file_search_path = ?", [str(build)])
        assert connection.execute(query).fetchall() == []
