"""A consumption ledger against the plan that it should follow, window for window: how many steps were read.

Reads a Parquet file or a folder of segments (docs/formats.md, "Consumption ledger") a row group at a time.
Cost: that of the plan's look-ups, under a microsecond a window; constant memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.errors import InputError, IntegrityError
from smolmix.plan import Plan

_COLUMNS: Final = ("step", "index", "source", "pass", "shard", "window")


def steps_consumed(ledger: Path, plan: Plan) -> int:
    """Return how many steps of the plan a ledger holds, all of them the plan's own first ones.

    Raises:
        InputError: there is no ledger, it cannot be read, or it ends within a step.
        IntegrityError: a row is not what the plan says; the message names it.
    """
    windows = 0
    for table in _tables(ledger):
        first, windows = windows, windows + table.num_rows
        if windows > plan.windows:
            raise InputError(
                f"{ledger} has more windows than plan {plan.name!r}, which has {plan.windows:,}; is it the "
                "ledger of another stage?"
            )
        _compare(ledger, plan, table, first)
    steps, rest = divmod(windows, plan.batch_windows)
    if rest or not steps:
        raise InputError(
            f"{ledger} has {windows:,} windows, which is not a whole number of steps of "
            f"{plan.batch_windows:,}; let the run write its last segment first"
        )
    return steps


def _tables(ledger: Path) -> Iterator[Any]:
    files = sorted(ledger.glob("steps-*.parquet")) if ledger.is_dir() else [ledger]
    if not files:
        raise InputError(f"{ledger} holds no ledger segment (steps-*.parquet)")
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for number in range(file.num_row_groups):
                    yield file.read_row_group(number, columns=list(_COLUMNS))
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot read the ledger {path}: {_told(path, error)}") from error


def _told(path: Path, error: Exception) -> str:
    what = error if path.exists() else "there is no such file"
    return f"{what}; give a run's ledger/ folder or one of its segments"


def _compare(ledger: Path, plan: Plan, table: Any, first: int) -> None:
    """Compare rows with the plan's samples from ``first`` on."""
    if table.column_names != list(_COLUMNS):
        raise InputError(f"{ledger} has the columns {table.column_names}; a ledger has {list(_COLUMNS)}")
    index = np.arange(first, first + table.num_rows, dtype=np.int64)
    samples = plan.at_many(index)
    planned = {
        "step": index // plan.batch_windows,
        "index": index,
        "source": np.array(samples.names, dtype=object)[samples.source],
        "pass": samples.pass_,
        "shard": samples.shard,
        "window": samples.window,
    }
    for name, wanted in planned.items():
        seen = table.column(name).to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(seen != wanted)
        if wrong.size:
            row = int(wrong[0])
            raise IntegrityError(
                f"{ledger}: sample {first + row:,} has {name} {seen[row]}, plan {plan.name!r} says "
                f"{wanted[row]}; the run did not follow this plan, so what it has seen cannot be told from it"
            )
