"""The catalog: every view against an independent Polars computation, and what moving or breaking it does."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import smolmix
from smoldata.documents import DOCUMENT_MANIFEST_SCHEMA
from smoldata.errors import IntegrityError
from smoldata.registry import load_registry
from smolmix.catalog import CATALOG, VIEWS, write_catalog
from smolmix.plan import load_plan


@pytest.fixture
def catalog(catalogued: Path) -> Path:
    return catalogued / CATALOG


def ask(catalog: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(catalog), read_only=True) as connection:
        connection.execute("SET file_search_path = ?", [str(catalog.parent)])
        return connection.execute(sql, list(values)).fetchall()


def test_every_view_and_column_is_documented(catalog: Path) -> None:
    views = ask(
        catalog,
        "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'",
    )
    assert {name for name, _ in views} == set(VIEWS)
    assert all(comment for _, comment in views)
    columns = ask(
        catalog,
        "SELECT table_name, column_name FROM duckdb_columns() "
        "WHERE NOT internal AND schema_name = 'main' AND comment IS NULL",
    )
    assert columns == []


def test_every_example_runs_and_gives_rows(catalog: Path) -> None:
    for view, example in ask(catalog, "FROM store.examples"):
        assert f"{view}(" in example or view in example
        assert ask(catalog, example), view


def test_shards_equal_the_manifests(catalog: Path) -> None:
    manifests = pl.concat(
        pl.read_parquet(path) for path in sorted(catalog.parent.glob("*/tokens/*/*/manifest.parquet"))
    )
    wanted = (
        manifests.group_by("source", "split")
        .agg(pl.sum("tokens", "documents", "bytes"))
        .sort("source", "split")
    )
    seen = ask(
        catalog,
        "SELECT source, split, sum(tokens)::BIGINT AS tokens, sum(documents)::BIGINT AS documents, "
        "sum(bytes)::BIGINT AS bytes FROM shards GROUP BY ALL ORDER BY ALL",
    )
    assert seen == wanted.rows()
    for (path,) in ask(catalog, "SELECT path FROM shards"):
        assert (catalog.parent / path).is_file()


def test_sources_equal_the_manifests(catalog: Path) -> None:
    manifests = pl.concat(
        pl.read_parquet(path) for path in sorted(catalog.parent.glob("*/tokens/*/*/manifest.parquet"))
    )
    train = manifests.filter(pl.col("split") == "train")
    wanted = dict(train.group_by("source").agg(pl.sum("tokens")).rows())
    seen = dict(ask(catalog, "SELECT source, train_tokens::BIGINT FROM sources"))
    assert seen == {**wanted, "wiki-mcq-14m": 0}


def test_allocation_and_stages_equal_the_plans(catalog: Path) -> None:
    for path in catalog.parent.glob("*/plans/*/plan.json"):
        plan = json.loads(path.read_text("utf-8"))
        wanted = sorted(
            (one["name"], one["weight"], one["windows"], one["passes"]) for one in plan["sources"]
        )
        sql = "SELECT source, weight, windows, passes_exact FROM allocation WHERE plan = ?"
        assert sorted(ask(catalog, sql, path.parent.name)) == wanted
        sql = "SELECT windows, start_step, lock FROM stages WHERE plan = ?"
        assert ask(catalog, sql, path.parent.name) == [
            (plan["windows"], plan["start_step"], plan["lock"]["hash"])
        ]
    sums = ask(catalog, "SELECT a.plan, sum(a.windows)::BIGINT - any_value(s.windows) AS off, sum(percent) "
                        "FROM allocation a JOIN stages s USING (plan) GROUP BY a.plan")  # fmt: skip
    assert all(off == 0 and percent == pytest.approx(100) for _, off, percent in sums)


def test_exposure_adds_up_over_the_curriculum(catalog: Path) -> None:
    rows = ask(catalog, "SELECT stage, source, passes_before, passes, passes_after FROM exposure")
    after = {(stage, source): last for stage, source, _, _, last in rows}
    for stage, source, before, _, _ in rows:
        if stage == "stage2":
            assert before == pytest.approx(after["stage1", source]) if before is not None else True
    assert any(before for *_, before, _, _ in [row for row in rows if row[0] == "stage2"])


def test_planned_shards_lead_to_files(catalog: Path) -> None:
    rows = ask(catalog, "SELECT path, windows, tokens FROM planned_shards")
    assert rows
    for path, windows, tokens in rows:
        assert (catalog.parent / path).is_file()
        assert windows == tokens // 513


def test_documents_equal_the_sidecars(catalog: Path) -> None:
    seen = ask(catalog, 'SELECT shard, id, "begin", "end" FROM documents')
    wanted = []
    for path in catalog.parent.glob("*/tokens/**/*.docs.parquet"):
        shard = path.relative_to(catalog.parent).as_posix().removesuffix(".docs.parquet")
        wanted += [(shard, *row) for row in pl.read_parquet(path).select("id", "begin", "end").rows()]
    assert sorted(seen) == sorted(wanted)
    per_source = ask(
        catalog,
        "SELECT source, sum(tokens)::BIGINT FROM documents WHERE split = 'train' GROUP BY ALL ORDER BY ALL",
    )
    assert per_source == ask(
        catalog, "SELECT source, train_tokens::BIGINT FROM sources WHERE train_tokens > 0 ORDER BY source"
    )


def test_it_works_in_a_bare_shell_after_a_move_and_holds_no_absolute_path(
    own_build: Path, tmp_path: Path
) -> None:
    write_catalog(own_build)
    moved = own_build.rename(tmp_path / "elsewhere")
    script = (
        "import duckdb; c = duckdb.connect('catalog.duckdb', read_only=True); "
        "print(c.execute('SELECT count(*) FROM documents').fetchall()[0][0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=moved, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 0
    assert str(tmp_path).encode() not in (moved / CATALOG).read_bytes()


def test_a_build_without_data_has_all_views(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path)
    for view in VIEWS:
        assert ask(catalog, f"FROM {view}") == []


def test_a_broken_plan_is_named_and_the_old_catalog_stays(own_build: Path) -> None:
    before = write_catalog(own_build).read_bytes()
    plan = own_build / "sample/plans/stage2-blog/plan.json"
    plan.write_text(plan.read_text("utf-8")[:100], "utf-8")
    with pytest.raises(IntegrityError, match="stage2-blog"):
        write_catalog(own_build)
    assert (own_build / CATALOG).read_bytes() == before
    assert list(own_build.glob("*.tmp-*")) == []


def test_a_broken_manifest_is_named(own_build: Path) -> None:
    manifest = own_build / "sample/tokens/bytes/dclm/manifest.parquet"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    with pytest.raises(IntegrityError, match=r"dclm/manifest\.parquet"):
        write_catalog(own_build)


def test_sources_carry_what_the_registry_says(catalog: Path) -> None:
    columns = "domain, hf_dataset, published_tokens::BIGINT, published_tokenizer"
    sql = f"SELECT {columns} FROM sources WHERE source = ?"  # noqa: S608 - our own names
    known = load_registry().sources["finemath-4plus"]
    assert known.hub
    assert known.size
    wanted = (known.domain, known.hub.dataset, known.size.tokens, known.size.tokenizer)
    assert ask(catalog, sql, "finemath-4plus") == [wanted]
    assert ask(catalog, sql, "wiki-mcq-14m") == [("math", None, None, None)]


def test_staging_equals_the_bundle_and_adds_up(catalog: Path) -> None:
    bundle = pl.read_parquet(catalog.parent / "sample/bundles/stage2-blog/shards.parquet")
    opened = bundle.filter(pl.col("first_step").is_not_null())
    rows = ask(catalog, "SELECT source, ordinal, first_step, bytes, bytes_by_then::BIGINT, path FROM staging")
    assert sorted(row[:4] for row in rows) == sorted(
        opened.select("source", "ordinal", "first_step", "bytes").rows()
    )
    for _, _, step, _, by_then, path in rows:
        assert by_then == opened.filter(pl.col("first_step") <= step)["bytes"].sum()
        assert (catalog.parent / path).is_file()


def test_documents_read_kept_and_dropped_add_up(own_build: Path) -> None:
    folder = own_build / "sample/documents/dclm"
    folder.mkdir(parents=True)
    base = {"format_version": 1, "source": "dclm", "bytes": 1, "text_bytes": 10, "text_characters": 9,
            "xxh3_128": "", "sha256": "", "input_hash": "", "code_version": ""}  # fmt: skip
    rows = [
        base
        | {
            "path": "00000.parquet",
            "documents": 4,
            "read": 7,
            "kept": 4,
            "dropped": [("short", 2), ("empty", 1)],
        },
        base | {"path": "00001.parquet", "documents": 5, "read": 5, "kept": 5, "dropped": []},
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_MANIFEST_SCHEMA), folder / "manifest.parquet")
    catalog = write_catalog(own_build)
    sql = "SELECT files, read::BIGINT, kept::BIGINT, dropped::BIGINT FROM sources WHERE source = 'dclm'"
    assert ask(catalog, sql) == [(2, 12, 9, 3)]


def _read_at(build: Path, plan_name: str, step: int) -> list[tuple[Any, ...]]:
    """Say in Python which documents a step reads: the order function and the sidecars."""
    plan = load_plan(build / "sample/plans" / plan_name)
    shards = pl.read_parquet(build / "sample/plans" / plan_name / "shards.parquet")
    found = []
    for index in range(step * plan.batch_windows, (step + 1) * plan.batch_windows):
        one = plan.at(index)
        (path,) = shards.filter(source=one.source, ordinal=one.shard)["path"]
        first, end = one.window * 513, (one.window + 1) * 513
        for row in pl.read_parquet(build / "sample/plans" / plan_name / f"{path}.docs.parquet").to_dicts():
            if row["begin"] < end and row["end"] > first:
                tokens = min(row["end"], end) - max(row["begin"], first)
                found.append((index, one.source, one.pass_, one.shard, one.window, row["id"], tokens))
    return found


@pytest.mark.parametrize(("plan", "step"), [("stage1-blog", 0), ("stage2-blog", 0), ("stage2-blog", 19)])
def test_docs_at_a_step_equals_the_order_and_the_sidecars(catalog: Path, plan: str, step: int) -> None:
    seen = ask(catalog, "FROM docs_at(?, ?)", plan, step)
    assert seen == _read_at(catalog.parent, plan, step)
    assert sum(row[-1] for row in seen) == 8 * 513


def test_docs_at_with_named_sidecars_reads_those_and_gives_the_same(catalog: Path) -> None:
    whole = ask(catalog, "FROM docs_at('stage2-blog', 3)")
    everything = ask(catalog, "SELECT count(*) FROM documents")
    with duckdb.connect(str(catalog), read_only=True) as connection:
        connection.execute("SET file_search_path = ?", [str(catalog.parent)])
        connection.execute("SET VARIABLE sidecars = sidecars_at('stage2-blog', 3)")
        named = connection.execute("SELECT getvariable('sidecars')").fetchall()[0][0]
        assert all((catalog.parent / path).is_file() for path in named)
        assert connection.execute("FROM docs_at('stage2-blog', 3)").fetchall() == whole
        assert connection.execute("SELECT count(*) FROM documents").fetchall() < everything


def test_steps_of_a_document_are_all_steps_that_read_it(catalog: Path) -> None:
    read: dict[str, list[tuple[int, int]]] = {}
    for step in range(20):
        for index, source, _, _, _, name, _ in _read_at(catalog.parent, "stage2-blog", step):
            if source == "dclm":
                read.setdefault(name, []).append((step, index))
    assert max(map(len, read.values())) > 10
    for name, steps in read.items():
        assert ask(catalog, "SELECT step, sample_index FROM steps_of(?, 'stage2-blog')", name) == steps
    assert ask(catalog, "SELECT DISTINCT split FROM documents WHERE id = '__init__.py'") == [("validation",)]
    assert ask(catalog, "FROM steps_of('__init__.py', 'stage2-blog')") == []


def test_reconciliation_holds_the_presets_beside_the_plan(catalog: Path) -> None:
    sql = "SELECT stage, source, blog, released, planned FROM reconciliation WHERE source IS NOT NULL"
    rows = {(stage, source): tuple(exact) for stage, source, *exact in ask(catalog, sql)}
    for stage, planned in (("stage1", "17/20"), ("stage2", "3/4")):
        exact = [smolmix.weights(stage, preset)["dclm"] for preset in ("blog", "released")]
        assert rows[stage, "dclm"] == (*(f"{one.numerator}/{one.denominator}" for one in exact), planned)
    assert rows["stage1", "finemath-4plus"] == (None, None, "0/1")
    sql = "SELECT sum(planned_percent) FROM reconciliation WHERE source IS NOT NULL GROUP BY plan"
    sums = ask(catalog, sql)
    assert [one for (one,) in sums] == pytest.approx([100, 100])


def test_steps_cover_the_curriculum_without_a_gap(catalog: Path) -> None:
    rows = ask(catalog, "SELECT curriculum_step, first_index, last_index FROM steps ORDER BY 1")
    assert [row[0] for row in rows] == list(range(1, 61))
    assert all(last == first + 7 for _, first, last in rows)
    sql = (
        "SELECT max(tokens_after)::BIGINT - any_value(s.tokens) "
        "FROM steps JOIN stages s USING (plan) GROUP BY plan"
    )
    assert ask(catalog, sql) == [(0,), (0,)]


@pytest.mark.parametrize("plan_name", ["stage1-blog", "stage2-blog"])
def test_what_was_read_before_a_step_is_what_the_order_counts(catalog: Path, plan_name: str) -> None:
    plan = load_plan(catalog.parent / "sample/plans" / plan_name)
    drawn = [plan.at(index).source for index in range(plan.windows)]
    for step in (0, 1, 7, plan.steps, plan.steps + 9):
        read = Counter(drawn[: step * plan.batch_windows])
        seen = ask(catalog, "SELECT source, windows, tokens FROM read_before(?, ?)", plan_name, step)
        assert seen == [
            (one.name, read[one.name], 512 * read[one.name])
            for one in sorted(plan.sources, key=lambda one: (-read[one.name], one.name))
            if one.windows
        ]
    passes = {one.name: one.passes for one in plan.sources if one.windows}
    whole = dict(ask(catalog, "SELECT source, passes FROM read_before(?, 999999)", plan_name))
    assert {name: pytest.approx(float(one or 0)) for name, one in passes.items()} == whole
