"""The build folder as one DuckDB file: manifests and plans in, documented views out.

Small tables (a row a shard on disk, source, plan or finding) are copied into the catalog. The shard lists of
plans and bundles, and the ``.docs.parquet`` sidecars of single documents, are Parquet already: their views
read them where they lie. Every path inside is relative to the catalog's folder, so the folder can be moved,
and ``duckdb catalog.duckdb`` works in a bare shell that is started there.
Cost: one pass over the manifests and plans; a million shards take about a second, documents are not read.
"""

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import duckdb

from smoldata.errors import IntegrityError
from smoldata.files import atomic_path
from smoldata.registry import Registry, load_registry
from smolmix.contamination import contamination_rows
from smolmix.literals import fraction_text
from smolmix.plan import Plan, load_plan

CATALOG = "catalog.duckdb"
VIEWS = (
    "sources", "documents", "shards", "allocation", "stages",
    "exposure", "planned_shards", "staging", "timetable", "findings",
    "reconciliation", "steps", "contamination", "compression",
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
_PLAN_FORMAT = 1
_NO_SIDECARS = """SELECT NULL::VARCHAR AS path, NULL::VARCHAR AS id, NULL::BIGINT AS "begin",
  NULL::BIGINT AS "end", NULL::VARCHAR AS file, NULL::BIGINT AS "row" WHERE false"""
_SIDECARS = """SELECT
  replace(regexp_extract(filename, '([^/]+/tokens/.*)[.]docs[.]parquet$', 1), '\\', '/') AS path,
  id, "begin", "end", file, "row"
FROM read_parquet(coalesce(getvariable('sidecars'), %{sidecars}), filename = true)"""


_SHARD_LISTS: dict[str, list[tuple[str, str]]] = {
    "planned_shards": [
        *(
            (name, "VARCHAR")
            for name in ("profile", "plan", "source", "written", "path", "xxh3_128", "sha256")
        ),
        *((name, "BIGINT") for name in ("ordinal", "tokens", "documents", "bytes", "windows")),
        ("virtual", "BOOLEAN"),
    ],
    "staging": [
        *((name, "VARCHAR") for name in ("profile", "plan", "source", "written", "path", "sha256")),
        *((name, "BIGINT") for name in ("ordinal", "bytes", "tokens", "first_step")),
    ],
    "timetable": [
        *((name, "VARCHAR") for name in ("profile", "plan", "source", "path", "lock")),
        *((name, "BIGINT") for name in ("nodes", "node", "ordinal", "bytes", "pass")),
        *((name, "BIGINT") for name in ("fetch_step", "first_step", "last_step")),
    ],
}
"""Columns of a shard list when there is none."""


class _SqlTemplate(Template):
    delimiter = "%"


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
        duckdb.connect(str(temporary)) as connection,
    ):
        connection.execute("SET file_search_path = ?", [str(build)])
        connection.execute("BEGIN")  # one transaction: a commit a statement would take most of the time
        connection.execute(_sql("tables"))
        for profile in sorted(one for one in build.glob("*") if one.is_dir()):
            _load_documents(connection, profile)
            _load_shards(connection, profile)
            for plan in sorted(profile.glob("plans/*/plan.json")):
                _load_plan(connection, profile.name, plan)
        _load_registry(connection, registry or load_registry())
        _create_shard_lists(connection, build)
        _create_sidecars(connection, build)
        _create_views(connection)
        plans = [load_plan(path) for path in sorted(build.glob("*/plans/*/plan.json"))]
        _load_reconciliation(connection, build, plans)
        _insert(connection, "contamination", contamination_rows(build))
        _create_lookups(connection, plans)
        connection.execute("COMMIT")
    return path


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
        connection.execute(f"COMMENT ON VIEW {name} IS {_quoted(description)}")
        connection.execute("INSERT INTO store.examples VALUES (?, ?)", [name, example])


def _create_lookups(connection: duckdb.DuckDBPyConnection, plans: Sequence[Plan]) -> None:
    """Add the order of every plan and what is asked of it: ``order_at``, ``docs_at``, ``steps_of``."""
    from smolmix.order_sql import install_order_macros

    install_order_macros(connection, [plan for plan in plans if plan.windows])
    connection.execute(_sql("lookups"))
    for name, (kind, description, example) in LOOKUPS.items():
        connection.execute(f"COMMENT ON {kind} {name} IS {_quoted(description)}")
        connection.execute("INSERT INTO store.examples VALUES (?, ?)", [name, example])


def _load_reconciliation(connection: duckdb.DuckDBPyConnection, build: Path, plans: Sequence[Plan]) -> None:
    """Add the shares of the blog and of the released files beside those planned and consumed."""
    from smolmix.plan_files import plan_label
    from smolmix.recipe import load_recipe, shipped_recipes
    from smolmix.reconcile import reconcile

    recipes = {
        name: load_recipe(name) for name in shipped_recipes() if any(plan.name == name for plan in plans)
    }
    for plan in plans:
        label = (plan.profile, plan_label(plan), plan.name)
        ledger = find_ledger(build / plan.profile, plan.lock.hash)
        shares = reconcile([plan], {plan.name: ledger} if ledger else None, recipes=recipes).shares
        total = sum(one.consumed or 0 for one in shares if one.source is not None)
        rows = []
        for one in shares:
            exact = (one.blog, one.released, one.planned)
            texts = [None if share is None else fraction_text(share) for share in exact]
            percents = [None if share is None else float(100 * share) for share in exact]
            drawn = None if one.consumed is None or not total else float(Fraction(100 * one.consumed, total))
            counts = (one.windows, one.tokens, one.tokenized, one.consumed)
            rows.append((*label, one.domain, one.source, *texts, *percents, drawn, *counts))
        _insert(connection, "reconciliation", rows)


def find_ledger(profile: Path, lock: str) -> Path | None:
    """Return the ledger of that plan's run which consumed most (docs/formats.md, "Run"); None: no run."""
    found: list[tuple[int, str, Path]] = []
    for path in sorted(profile.glob("runs/*/run.json")):
        segments = sorted(path.parent.glob("ledger/steps-*.parquet"))
        if segments and json.loads(path.read_text("utf-8"))["settings"]["lock"] == lock:
            found.append(
                (int(segments[-1].stem.rpartition("-")[2]), path.parent.name, path.parent / "ledger")
            )
    return max(found)[2] if found else None


def _create_sidecars(connection: duckdb.DuckDBPyConnection, build: Path) -> None:
    """Add the sidecars that exist as one view; DuckDB refuses a pattern that matches no file."""
    patterns = [
        f"{profile.name}/tokens/*/*/{part}*.docs.parquet"
        for profile in sorted(one for one in build.glob("*") if one.is_dir())
        for part in ("", "validation/")
    ]
    found = [pattern for pattern in patterns if any(build.glob(pattern))]
    listed = "[" + ", ".join(map(_quoted, found)) + "]"
    body = _SqlTemplate(_SIDECARS).substitute(sidecars=listed) if found else _NO_SIDECARS
    connection.execute(f"CREATE VIEW store.sidecars AS {body}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _load_documents(connection: duckdb.DuckDBPyConnection, profile: Path) -> None:
    _insert_parquet(
        connection,
        "INSERT INTO store.documents SELECT ?, source, count(*), sum(read), sum(kept), "
        "sum(coalesce(list_sum(map_values(dropped)), 0)), sum(text_bytes), sum(text_characters) "
        "FROM read_parquet(?) GROUP BY source",
        profile,
        sorted(profile.glob("documents/*/manifest.parquet")),
    )


def _load_shards(connection: duckdb.DuckDBPyConnection, profile: Path) -> None:
    _insert_parquet(
        connection,
        "INSERT INTO store.shards SELECT ?, tokenizer, source, split, "
        "regexp_extract(filename, '([^/]+/tokens/[^/]+/[^/]+/)manifest[.]parquet$', 1) || path, "
        "bytes, tokens, documents, text_bytes, text_characters, xxh3_128, sha256, "
        "eos_id, token_width, vocab_size "
        "FROM read_parquet(?, filename = true)",
        profile,
        sorted(profile.glob("tokens/*/*/manifest.parquet")),
    )


def _insert_parquet(
    connection: duckdb.DuckDBPyConnection, sql: str, profile: Path, files: list[Path]
) -> None:
    """Insert many Parquet files with one statement; if that fails, find out which file it is."""
    if not files:
        return
    try:
        connection.execute(sql, [profile.name, [str(path) for path in files]])
    except duckdb.Error as error:
        for path in files:
            _readable(path)
        raise IntegrityError(
            f"the manifests under {files[0].parents[1]} cannot be read together ({error}); "
            "delete the one that is named and run the same command again"
        ) from error


def _create_shard_lists(connection: duckdb.DuckDBPyConnection, build: Path) -> None:
    """Add the shard lists of plans and bundles as they lie: a million rows are not copied.

    One SELECT a file, with its profile and plan as constants, so that a question to one plan opens one file.
    """
    # `written`, and `path` from it: a look-up joins first and rewrites the few paths that are left.
    path = "path AS written, CASE WHEN path LIKE '../../%' THEN {profile} || path[6:] ELSE path END AS path"
    plan = f"source, ordinal, {path}, tokens, documents, bytes, windows, xxh3_128, sha256, virtual"
    bundle = f"source, ordinal, {path}, bytes, tokens, sha256, first_step"
    visits = (
        "nodes, node, source, ordinal, {profile} || path[3:] AS path, bytes, pass, "
        "fetch_step, first_step, last_step, lock"
    )
    for view, pattern, columns in (
        ("planned_shards", "*/plans/*/shards.parquet", plan),
        ("staging", "*/bundles/*/shards.parquet", bundle),
        ("timetable", "*/staging/*.parquet", visits),
    ):
        parts = [
            f"SELECT {_quoted(profile)} AS profile, {_quoted(folder)} AS plan, "  # noqa: S608 - quoted
            f"{columns.format(profile=_quoted(profile))} "
            f"FROM read_parquet({_quoted(file.relative_to(build).as_posix())})"
            for file in sorted(build.glob(pattern))
            if _readable(file)
            for where in [file.relative_to(build)]
            for profile, folder in [(where.parts[0], where.parts[2].removesuffix(".parquet"))]
        ]
        empty = ", ".join(f"NULL::{kind} AS {name}" for name, kind in _SHARD_LISTS[view])
        body = " UNION ALL ".join(parts) or f"SELECT {empty} WHERE false"
        connection.execute(f"CREATE VIEW store.{view} AS {body}")


def _readable(manifest: Path) -> str:
    """Return the path for DuckDB, after a look at the Parquet footer so that an error names the file."""
    import pyarrow.parquet as pq

    try:
        pq.ParquetFile(manifest).close()
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"{manifest} cannot be read as Parquet ({error}); delete it and run the same command again"
        ) from error
    return str(manifest)


def read_plan(path: Path) -> dict[str, Any]:
    """Return ``plan.json`` as a dictionary; refuse a file that is broken or of another format."""
    try:
        plan: dict[str, Any] = json.loads(Path(path).read_text("utf-8"))
        version = plan["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{path} cannot be read as a plan ({error}); run `make mixture` again"
        ) from error
    if version != _PLAN_FORMAT:
        raise IntegrityError(
            f"{path} has format_version {version}, this code reads {_PLAN_FORMAT}; run `make mixture` again"
        )
    return plan


def _load_plan(connection: duckdb.DuckDBPyConnection, profile: str, path: Path) -> None:
    plan, name = read_plan(path), path.parent.name
    stage = _stage_row(plan)
    _insert(connection, "stages", [(profile, name, *stage)])
    _insert(connection, "allocation", [(profile, name, *row) for row in _allocation_rows(plan)])
    _insert(
        connection,
        "findings",
        [
            (profile, name, one["severity"], one["code"], one["source"], one["message"], one["fix"])
            for one in plan["findings"]
        ],
    )


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows of text and numbers in one statement (one a row takes 5 ms each)."""
    if rows:
        marks = ", ".join(f"({', '.join('?' * len(rows[0]))})" for _ in rows)
        values = [value for row in rows for value in row]
        connection.execute(f"INSERT INTO store.{table} VALUES {marks}", values)  # noqa: S608 - our own names


def _stage_row(plan: dict[str, Any]) -> tuple[Any, ...]:
    budget, tokenizer, follows = plan["budget"], plan["tokenizer"], plan["follows"] or {}
    plain = ("name", "preset", "unit", "sequence_length", "batch_windows", "steps", "windows", "tokens")
    return (
        *(plan[key] for key in plain),
        plan["start_step"],
        *(budget[key] for key in ("asked", "asked_tokens", "remainder_tokens", "why")),
        follows.get("name"),
        follows.get("lock"),
        plan["seed"],
        plan["validation_share"],
        tokenizer["name"],
        tokenizer["sha256"],
        plan["prefix_bound"],
        plan["lock"]["hash"],
    )


def _allocation_rows(plan: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for one in plan["sources"]:
        yield (
            plan["name"],
            plan["preset"],
            *(one[key] for key in ("name", "domain", "group", "status", "published_weight", "weight")),
            float(100 * Fraction(one["weight"])),
            *(one[key] for key in ("windows", "tokens", "shards", "capacity_windows", "offset_windows")),
            *(one[key] for key in ("held_back_windows", "first_shard_offset", "passes_before", "passes")),
            _decimal(one["passes_before"]),
            _decimal(one["passes"]),
        )


def _decimal(text: str | None) -> float | None:
    return None if text is None else float(Fraction(text))


def _load_registry(connection: duckdb.DuckDBPyConnection, registry: Registry) -> None:
    rows = []
    for one in registry.sources.values():
        dataset = (one.hub.dataset, one.hub.config, one.hub.revision) if one.hub else (None, None, None)
        size = (one.size.tokens, one.size.tokenizer, one.size.confidence) if one.size else (None, None, None)
        rows.append((one.name, one.domain, one.group, *dataset, one.licence, one.language, *size))
    _insert(connection, "registry", rows)
