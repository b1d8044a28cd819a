"""Parquet of the build folder into the catalog: manifests are copied, shard lists and sidecars read in place.

Cost: one statement for all manifests of a profile; shard lists and sidecars are views, whatever their size.
"""

from pathlib import Path
from string import Template

import duckdb

from smoldata.errors import IntegrityError

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


def load_documents(connection: duckdb.DuckDBPyConnection, profile: Path) -> None:
    """Add what document manifests and statistics of a profile say. Raises IntegrityError."""
    _insert_parquet(
        connection,
        "INSERT INTO store.documents SELECT ?, source, count(*), sum(read), sum(kept), "
        "sum(coalesce(list_sum(map_values(dropped)), 0)), sum(text_bytes), sum(text_characters) "
        "FROM read_parquet(?) GROUP BY source",
        profile,
        sorted(profile.glob("documents/*/manifest.parquet")),
    )
    _insert_parquet(
        connection,
        "INSERT INTO store.document_statistics "
        "SELECT ?, source, kind, name, low, high, documents, text_bytes, text_characters "
        "FROM read_parquet(?)",
        profile,
        sorted(profile.glob("documents/*/statistics.parquet")),
    )


def load_shards(connection: duckdb.DuckDBPyConnection, profile: Path) -> None:
    """Add a row a shard from the token manifests of a profile. Raises IntegrityError."""
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


def create_shard_lists(connection: duckdb.DuckDBPyConnection, build: Path) -> None:
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
            f"SELECT {quoted(profile)} AS profile, {quoted(folder)} AS plan, "  # noqa: S608 - quoted
            f"{columns.format(profile=quoted(profile))} "
            f"FROM read_parquet({quoted(file.relative_to(build).as_posix())})"
            for file in sorted(build.glob(pattern))
            if _readable(file)
            for where in [file.relative_to(build)]
            for profile, folder in [(where.parts[0], where.parts[2].removesuffix(".parquet"))]
        ]
        empty = ", ".join(f"NULL::{kind} AS {name}" for name, kind in _SHARD_LISTS[view])
        body = " UNION ALL ".join(parts) or f"SELECT {empty} WHERE false"
        connection.execute(f"CREATE VIEW store.{view} AS {body}")


def create_sidecars(connection: duckdb.DuckDBPyConnection, build: Path) -> None:
    """Add the sidecars that exist as one view; DuckDB refuses a pattern that matches no file."""
    patterns = [
        f"{profile.name}/tokens/*/*/{part}*.docs.parquet"
        for profile in sorted(one for one in build.glob("*") if one.is_dir())
        for part in ("", "validation/")
    ]
    found = [pattern for pattern in patterns if any(build.glob(pattern))]
    listed = "[" + ", ".join(map(quoted, found)) + "]"
    body = _SqlTemplate(_SIDECARS).substitute(sidecars=listed) if found else _NO_SIDECARS
    connection.execute(f"CREATE VIEW store.sidecars AS {body}")


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


def quoted(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
