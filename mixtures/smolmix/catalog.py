"""The build folder as one DuckDB file: manifests and plans in, documented views out.

Small tables (a row a shard on disk, source, plan or finding) are copied into the catalog. The shard lists of
plans and bundles, and the ``.docs.parquet`` sidecars of single documents, are Parquet already: their views
read them where they lie. Every path inside is relative to the catalog's folder, so the folder can be moved,
and ``duckdb catalog.duckdb`` works in a bare shell that is started there.
Cost: one pass over the manifests and plans; a million shards take about a second, documents are not read.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import duckdb

from smoldata.files import atomic_path
from smoldata.registry import Registry, load_registry
from smolmix.catalog_files import create_shard_lists, create_sidecars, load_documents, load_shards, quoted
from smolmix.catalog_rows import insert, load_plan_rows, load_reconciliation, load_registry_rows
from smolmix.contamination import contamination_rows
from smolmix.plan import Plan, load_plan

CATALOG = "catalog.duckdb"
VIEWS = (
    "sources", "documents", "shards", "allocation", "stages",
    "exposure", "planned_shards", "staging", "timetable", "findings",
    "reconciliation", "steps", "contamination", "compression",
    "document_statistics",
)  # fmt: skip
LOOKUPS = {
    "docs_at": (
        "MACRO TABLE",
        "The documents that a step of a stage (from 0) reads, with the tokens of each: docs_at(plan, step).",
        "SELECT source, id, tokens FROM docs_at('stage2-blog', 0)",
    ),
    "sidecars_at": (
        "MACRO",
        "The sidecars that a step needs; after SET VARIABLE sidecars = sidecars_at(...) no others are read.",
        "SELECT len(sidecars_at('stage2-blog', 0)) AS files",
    ),
    "steps_of": (
        "MACRO TABLE",
        "The steps at which a stage reads a document: steps_of(document id, plan).",
        "SELECT step, pass FROM steps_of((SELECT min(id) FROM docs_at('stage2-blog', 0)), 'stage2-blog')",
    ),
    "read_before": (
        "MACRO TABLE",
        "What a stage has read of each source before a step, exactly: read_before(plan, step).",
        "SELECT source, windows, tokens, passes FROM read_before('stage2-blog', 100)",
    ),
    "passes_of": (
        "MACRO TABLE",
        "The first and the last step of each pass over a source; passes count over stages: passes_of(plan).",
        "SELECT source, pass, first_step, last_step, whole FROM passes_of('stage2-blog')",
    ),
    "order_at": (
        "MACRO TABLE",
        "The windows that a stage reads from a sample index on: order_at(plan, first index, how many).",
        "SELECT * FROM order_at('stage2-blog', 0, 8)",
    ),
    "order_of_step": (
        "MACRO TABLE",
        "The windows that a step of a stage (from 0) reads: order_of_step(plan, step).",
        "SELECT * FROM order_of_step('stage2-blog', 0)",
    ),
}
"""Functions of the catalog: kind, what they answer, an example."""


def write_catalog(build: Path, registry: Registry | None = None) -> Path:
    """Write ``build/catalog.duckdb`` from what the build folder holds, whole or not at all; return its path.

    ``registry`` says what is published about the sources (None: the one that ships). Raises
    :class:`IntegrityError` for a plan or manifest that cannot be read, naming it.
    """
    build = Path(build)
    path = build / CATALOG
    with (
        atomic_path(path) as temporary,
        _disk_refusals(temporary),
        _empty(temporary),
        duckdb.connect(str(temporary)) as connection,
    ):
        connection.execute("SET file_search_path = ?", [str(build)])
        connection.execute("BEGIN")  # one transaction: a commit a statement would take most of the time
        connection.execute(_sql("tables"))
        for profile in sorted(one for one in build.glob("*") if one.is_dir()):
            load_documents(connection, profile)
            load_shards(connection, profile)
            for plan in sorted(profile.glob("plans/*/plan.json")):
                load_plan_rows(connection, profile.name, plan)
        load_registry_rows(connection, registry or load_registry())
        create_shard_lists(connection, build)
        create_sidecars(connection, build)
        _create_views(connection)
        plans = [load_plan(path) for path in sorted(build.glob("*/plans/*/plan.json"))]
        load_reconciliation(connection, build, plans)
        insert(connection, "contamination", contamination_rows(build))
        _create_lookups(connection, plans)
        connection.execute("COMMIT")
    return path


@contextmanager
def _empty(temporary: Path) -> Iterator[None]:
    """Start from nothing: a killed run of the same process number (usual in containers) left its file."""
    for path in (temporary, Path(f"{temporary}.wal")):
        path.unlink(missing_ok=True)
    yield


@contextmanager
def _disk_refusals(temporary: Path) -> Iterator[None]:
    """Raise what DuckDB says of a full disk as the system error that it was; leave no log of its own."""
    try:
        yield
    except duckdb.Error as error:
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number)) from error
        raise
    finally:
        Path(f"{temporary}.wal").unlink(missing_ok=True)


def _sql(name: str) -> str:
    return (resources.files("smolmix") / "sql" / f"{name}.sql").read_text("utf-8")


def describe(sql: str) -> tuple[str, str]:
    """Return the description and the example query that open a view's SQL file."""
    first, second, *_ = sql.splitlines()
    return first.removeprefix("-- "), second.removeprefix("-- example: ")


def _create_views(connection: duckdb.DuckDBPyConnection) -> None:
    for name in VIEWS:
        sql = _sql(name)
        description, example = describe(sql)
        connection.execute(sql)
        connection.execute(f"COMMENT ON VIEW {name} IS {quoted(description)}")
        connection.execute("INSERT INTO store.examples VALUES (?, ?)", [name, example])


def _create_lookups(connection: duckdb.DuckDBPyConnection, plans: Sequence[Plan]) -> None:
    """Add the order of every plan and what is asked of it: ``order_at``, ``docs_at``, ``steps_of``."""
    from smolmix.order_sql import install_order_macros

    install_order_macros(connection, [plan for plan in plans if plan.windows])
    connection.execute(_sql("lookups"))
    for name, (kind, description, example) in LOOKUPS.items():
        connection.execute(f"COMMENT ON {kind} {name} IS {quoted(description)}")
        connection.execute("INSERT INTO store.examples VALUES (?, ?)", [name, example])
