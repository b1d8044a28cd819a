"""Every view of the catalog, whole, against Polars over the files of the build folder."""

import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal
from tests.mixtures.polars_views import AHEAD, COMPUTED, CONSUMED_STEPS, MATCHES, NODES

from smoldata.documents import DOCUMENT_MANIFEST_SCHEMA, DOCUMENT_SCHEMA
from smoldata.statistics.tables import of_files
from smolmix.catalog import CATALOG, VIEWS, write_catalog
from smolmix.catalog_rows import find_ledger
from smolmix.contamination import REPORT, Match, write_report
from smolmix.plan import load_plan
from smolmix.staging import shard_sizes
from smolmix.staging import timetable as timetable_of
from smolmix.staging_lists import shard_names, write_timetable


def _write_documents(build: Path) -> None:
    folder = build / "sample/documents/dclm"
    folder.mkdir(parents=True)
    base = {"format_version": 1, "source": "dclm", "bytes": 1, "text_bytes": 10, "text_characters": 9,
            "xxh3_128": "", "sha256": "", "input_hash": "", "code_version": ""}  # fmt: skip
    rows = [
        base
        | {"path": "00000.parquet", "documents": 4, "read": 7, "kept": 4, "dropped": [("a", 2), ("b", 1)]},
        base | {"path": "00001.parquet", "documents": 5, "read": 5, "kept": 5, "dropped": []},
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_MANIFEST_SCHEMA), folder / "manifest.parquet")
    texts = [path.read_text("utf-8") for path in sorted(Path(json.__file__).parent.glob("*.py"))]
    documents = [
        {
            "id": str(n),
            "text": text,
            "source": "dclm",
            "language": "en",
            "scores": [("size", len(text) / 1e4)],
        }
        for n, text in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(documents, schema=DOCUMENT_SCHEMA), build / "texts.parquet")
    of_files("dclm", [build / "texts.parquet"]).write_parquet(folder / "statistics.parquet")


def _write_run(build: Path, name: str, steps: int, lock: str | None = None) -> None:
    """Write what a trainer leaves: run.json and a ledger in two segments."""
    plan = load_plan(build / "sample/plans/stage2-blog")
    run = build / "sample/runs" / name
    (run / "ledger").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"settings": {"lock": lock or plan.lock.hash}}), "utf-8")
    for first, end in ((0, 3), (3, steps)):
        samples = [plan.at(index) for index in range(first * plan.batch_windows, end * plan.batch_windows)]
        table = {
            "step": np.repeat(np.arange(first, end), plan.batch_windows),
            "index": np.arange(first * plan.batch_windows, end * plan.batch_windows),
            "source": [one.source for one in samples],
            "pass": [one.pass_ for one in samples],
            "shard": [one.shard for one in samples],
            "window": [one.window for one in samples],
        }
        pq.write_table(pa.table(table), run / "ledger" / f"steps-{first:07d}-{end:07d}.parquet")


@pytest.fixture(scope="module")
def build(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a build folder with documents, a bundle, two runs of stage 2 and a run of another plan."""
    from smolmix.bundle import write_bundle
    from smolmix.nanotron import Launch

    build = Path(shutil.copytree(built, tmp_path_factory.mktemp("views") / "build"))
    _write_documents(build)
    for name, steps in (("short", 4), ("long", CONSUMED_STEPS)):
        _write_run(build, name, steps)
    _write_run(build, "other", 9, "f" * 64)
    sample = build / "sample"
    write_bundle(
        sample / "plans/stage2-blog",
        sample / "bundles/stage2-blog",
        recipe=b"x",
        launch=Launch(model="debug"),
    )
    plan = load_plan(sample / "plans/stage2-blog")
    visits = timetable_of(plan, shard_sizes(sample / "plans/stage2-blog", plan), nodes=NODES, ahead=AHEAD)
    names = shard_names(sample / "plans/stage2-blog", plan)
    write_timetable(visits, names, sample / "staging/stage2-blog.parquet", plan.lock.hash)
    write_report([Match(*one) for one in MATCHES], sample / REPORT)
    write_catalog(build)
    return build


def view(build: Path, name: str) -> pl.DataFrame:
    with duckdb.connect(str(build / CATALOG), read_only=True) as connection:
        connection.execute("SET file_search_path = ?", [str(build)])
        return pl.DataFrame(connection.sql(f"SELECT * FROM {name}").to_arrow_table())  # noqa: S608 - our names


def compare(seen: pl.DataFrame, wanted: pl.DataFrame, key: list[str]) -> None:
    """Compare every column and row; integers may be of any width, so they are compared as numbers."""
    assert sorted(seen.columns) == sorted(wanted.columns)
    assert wanted.height
    sides = []
    for frame in (seen, wanted.select(seen.columns)):
        numbers = [pl.col(name).cast(pl.Float64) for name, kind in frame.schema.items() if kind.is_numeric()]
        sides.append(frame.with_columns(numbers).sort(key, nulls_last=True))
    nothing = [name for name in seen.columns if wanted[name].dtype == pl.Null]
    assert_frame_equal(sides[0].drop(nothing), sides[1].drop(nothing), rel_tol=1e-12)
    assert all(sides[0][name].is_null().all() for name in nothing)


def test_every_view_is_compared() -> None:
    assert set(COMPUTED) == set(VIEWS)


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_equals_polars_over_the_files(build: Path, name: str) -> None:
    compute, key = COMPUTED[name]
    compare(view(build, name), compute(build), key)


def test_the_run_that_came_furthest_is_the_one_reconciled(build: Path) -> None:
    lock = json.loads((build / "sample/plans/stage2-blog/plan.json").read_text("utf-8"))["lock"]["hash"]
    assert find_ledger(build / "sample", lock) == build / "sample/runs/long/ledger"
    assert find_ledger(build / "sample", "e" * 64) is None
    consumed = view(build, "reconciliation").filter(pl.col("source").is_null(), plan="stage2-blog")[
        "consumed"
    ]
    assert consumed.sum() == 8 * CONSUMED_STEPS
