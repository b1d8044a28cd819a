"""A staging timetable as files and lists: Parquet for SQL, commands for s5cmd, names for rsync.

Paths are those of the plan's shard list without the leading ``..``: below the store's prefix on one side and
below the node's folder on the other. Only the ``.ds`` files are listed: they are what a trainer reads.
"""

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from smoldata.errors import InputError
from smoldata.files import atomic_path
from smolmix.literals import fraction_text
from smolmix.plan import Plan
from smolmix.shard_table import read_columns
from smolmix.staging import NodeDisk, Timetable
from smolmix.windows import below_root

FORMAT_VERSION = 1


def shard_names(folder: Path, plan: Plan) -> dict[str, list[str | None]]:
    """Return each shard's path below the root by source; None: a virtual shard."""
    column = read_columns(folder / "shards.parquet", ["path"]).column("path").to_pylist()
    names = [None if path is None else below_root(path) for path in column]
    ends = np.cumsum([0, *(source.shards for source in plan.sources)]).tolist()
    return {one.name: names[b:e] for one, b, e in zip(plan.sources, ends, ends[1:], strict=False)}


def fetches(
    found: Timetable, names: dict[str, list[str | None]], node: int, first: int, end: int
) -> list[str]:
    """Return the shards that a node fetches in steps ``first`` to ``end`` - 1, in the order of need."""
    rows = np.flatnonzero((found.node == node) & (found.fetch_step >= first) & (found.fetch_step < end))
    return _names(found, names, rows[np.argsort(found.first_step[rows], kind="stable")])


def removals(
    found: Timetable, names: dict[str, list[str | None]], node: int, first: int, end: int
) -> list[str]:
    """Return the shards that a node may remove after steps ``first`` to ``end`` - 1."""
    rows = np.flatnonzero((found.node == node) & (found.last_step >= first) & (found.last_step < end))
    return _names(found, names, rows[np.argsort(found.last_step[rows], kind="stable")])


def _names(found: Timetable, names: dict[str, list[str | None]], rows: Any) -> list[str]:
    listed = []
    for source, shard in zip(found.source[rows].tolist(), found.shard[rows].tolist(), strict=True):
        name = names[found.names[source]][shard]
        if name is None:
            raise InputError(
                f"{found.names[source]} has virtual shards (planned without data): there is no file to list; "
                "drop --s5cmd, --rsync, --evict, or use a bundle of a profile with data"
            )
        listed.append(name)
    return listed


def s5cmd_lines(paths: list[str], url: str, into: str) -> Iterator[str]:
    """Yield what ``s5cmd run`` reads: one copy a line; ``-n``, ``-s``: a file of the same size is kept."""
    for path in paths:
        there, here = (shlex.quote(f"{one.rstrip('/')}/{path}") for one in (url, into))
        yield f"cp -n -s {there} {here}"


def as_json(found: Timetable, seen: list[NodeDisk], disk_bytes: int) -> dict[str, Any]:
    """Return the timetable's summary as plain values; a share is ``p/q`` of the budget."""
    return {
        "format_version": FORMAT_VERSION,
        "nodes": found.nodes,
        "steps": found.steps,
        "ahead": found.ahead,
        "disk_bytes": disk_bytes,
        "unsized_sources": list(found.unsized),
        "disks": [
            asdict(one) | {"peak_share": fraction_text(Fraction(one.peak_bytes, disk_bytes))} for one in seen
        ],
    }


def write_timetable(found: Timetable, names: dict[str, list[str | None]], path: Path, lock: str) -> Path:
    """Write the visits as Parquet, one row each, to ``<profile>/staging/PLAN.parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pairs = zip(found.source.tolist(), found.shard.tolist(), strict=True)
    listed = [names[found.names[source]][shard] for source, shard in pairs]
    table = pa.table(
        {
            "nodes": pa.repeat(pa.scalar(found.nodes, pa.int64()), len(found)),
            "node": found.node,
            "source": pa.DictionaryArray.from_arrays(pa.array(found.source), pa.array(found.names)).cast(
                "string"
            ),
            "ordinal": found.shard,
            "path": pa.array([None if one is None else f"../{one}" for one in listed], pa.string()),
            "bytes": found.bytes,
            "pass": found.pass_,
            "fetch_step": found.fetch_step,
            "first_step": found.first_step,
            "last_step": found.last_step,
            "lock": pa.repeat(pa.scalar(lock), len(found)),
        },
        metadata={"format_version": str(FORMAT_VERSION), "unsized": json.dumps(found.unsized)},
    )
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return path
