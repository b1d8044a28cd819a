"""Documents of a source and their manifest -> counts by language, licence, length, score and drop: one table.

Every row is a sum over documents, so tables of parts add up to the table of the whole (:func:`merged`). Bins
do not depend on the data: lengths double from one to the next; scores stand in steps of 1/20 up to 8, and
double beyond. Polars reads the files as a stream. Cost: what reading the Parquet files costs.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from smoldata.errors import SourceError
from smoldata.files import atomic_path, xxh3_128
from smoldata.merge import MANIFEST, read_manifest

STATISTICS: Final = "statistics.parquet"
FORMAT_VERSION: Final = "1"
SCORE_STEPS: Final = 20
"""Bins of a score for each unit."""
LAST_STEP: Final = 8
"""From here on the bins of a score double."""
_MOST: Final = 2.0**62
SCHEMA: Final[dict[str, Any]] = {
    "source": pl.String,
    "kind": pl.String,
    "name": pl.String,
    "low": pl.Float64,
    "high": pl.Float64,
    "documents": pl.Int64,
    "text_bytes": pl.Int64,
    "text_characters": pl.Int64,
}
_KEYS: Final = ("source", "kind", "name", "low", "high")
_SUMS: Final = ("documents", "text_bytes", "text_characters")


def write_statistics(folder: Path) -> Path:
    """Write ``statistics.parquet`` of a source's folder, unless it is up to date; return its path.

    Raises:
        SourceError: there is no manifest.
    """
    path = folder / STATISTICS
    if not is_fresh(folder):
        table = statistics(folder)
        proof = {"format_version": FORMAT_VERSION, "manifest_xxh3_128": xxh3_128(folder / MANIFEST)}
        with atomic_path(path) as temporary:
            table.write_parquet(temporary, metadata=proof)
    return path


def is_fresh(folder: Path) -> bool:
    """Tell whether a source's statistics are of its manifest as it is now."""
    path, manifest = folder / STATISTICS, folder / MANIFEST
    if not path.is_file() or not manifest.is_file():
        return False
    found = pl.read_parquet_metadata(path)
    is_known = found.get("format_version") == FORMAT_VERSION
    return is_known and found.get("manifest_xxh3_128") == xxh3_128(manifest)


def read_statistics(folder: Path) -> pl.DataFrame:
    """Return the table of a source's folder; computed and written if it is not up to date."""
    return pl.read_parquet(write_statistics(folder))


def statistics(folder: Path) -> pl.DataFrame:
    """Compute the table of a source's folder.

    Raises:
        SourceError: there is no manifest.
    """
    rows = read_manifest(folder)
    if not rows:
        raise SourceError(f"no documents at {folder} ({MANIFEST} is missing); run `smoldata build`")
    source = rows[0]["source"]
    drops = [(reason, count) for row in rows for reason, count in row["dropped"]]
    read = [("read", sum(row["read"] for row in rows)), ("kept", sum(row["kept"] for row in rows))]
    counted = pl.concat([_counts(source, "funnel", read), _counts(source, "drop", drops)])
    return merged([counted, of_files(source, [folder / row["path"] for row in rows])])


def _counts(source: str, kind: str, rows: Sequence[tuple[str, int]]) -> pl.DataFrame:
    names, counts = [name for name, _ in rows], [count for _, count in rows]
    schema = {"name": pl.String, "documents": pl.Int64}
    frame = pl.DataFrame({"name": names, "documents": counts}, schema=schema)
    return _shaped(frame.lazy(), source, kind).collect()


def of_files(source: str, files: Sequence[Path]) -> pl.DataFrame:
    """Return the rows that the documents themselves give."""
    documents = pl.scan_parquet([str(path) for path in files]).select(
        "language",
        "license",
        "scores",
        text_bytes=pl.col("text").str.len_bytes().cast(pl.Int64),
        text_characters=pl.col("text").str.len_chars().cast(pl.Int64),
    )
    scores = documents.with_columns(pl.col("scores").map.entries()).explode("scores").unnest("scores")
    scores = scores.filter(pl.col("key").is_not_null())
    doubled = _power(pl.col("text_characters"))
    frames = [
        _shaped(documents, source, "total", pl.lit("")),
        _shaped(documents, source, "language", pl.col("language")),
        _shaped(documents, source, "licence", pl.col("license")),
        _shaped(documents, source, "length", pl.lit("characters"), doubled, 2 * doubled),
        _shaped(scores, source, "score", pl.col("key"), *score_bin(pl.col("value"))),
    ]
    return pl.concat(pl.collect_all(frames, engine="streaming"))


def _power(number: pl.Expr) -> pl.Expr:
    """Return the largest power of two that is not above a whole number, exactly; 1 for less than 1."""
    return pl.lit(2.0).pow(63 - number.clip(1).bitwise_leading_zeros().cast(pl.Int64))


def score_bin(value: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Return the bin that holds a score: ``low <= value < high``; both null for what is no number."""
    number = pl.when(value.is_finite()).then(value)
    size = _power(number.abs().clip(LAST_STEP, _MOST).cast(pl.Int64))
    step = (number * SCORE_STEPS).floor()
    far = number.abs() >= LAST_STEP
    # Of a negative number far out, the bin's ends change places.
    low = pl.when(far & (number > 0)).then(size).when(far).then(-2 * size).otherwise(step / SCORE_STEPS)
    high = pl.when(far & (number > 0)).then(2 * size).when(far).then(-size)
    return low, high.otherwise((step + 1) / SCORE_STEPS)


def _shaped(
    frame: pl.LazyFrame,
    source: str,
    kind: str,
    name: pl.Expr | None = None,
    low: pl.Expr | None = None,
    high: pl.Expr | None = None,
) -> pl.LazyFrame:
    """Return sums by name and bin in the columns of the table."""
    nothing = pl.lit(None, pl.Float64)
    given = frame.collect_schema()
    missing = {column: pl.lit(column == "documents", pl.Int64) for column in _SUMS if column not in given}
    ready = frame.with_columns(
        source=pl.lit(source),
        kind=pl.lit(kind),
        name=pl.col("name") if name is None else name.fill_null(""),
        low=nothing if low is None else low,
        high=nothing if high is None else high,
        **missing,
    )
    sums = ready.group_by(_KEYS).agg(pl.col(_SUMS).cast(pl.Int64).sum())
    return sums.select(pl.col(column).cast(kind_) for column, kind_ in SCHEMA.items())


def merged(tables: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the table of several together: the same, whatever the parts and their order."""
    whole = pl.concat(list(tables))
    return whole.group_by(_KEYS).agg(pl.col(_SUMS).sum()).select(list(SCHEMA)).sort(_KEYS, nulls_last=True)
