"""Plans into DuckDB tables and macros that give the same order as :mod:`smolmix.order`, in plain integer SQL.

``order_at('stage2-blog', first, amount)``, ``order_of_step('stage2-blog', step)`` and ``order_index(...)``
then work in a bare DuckDB shell. Stored are the tree (one row a plan) and the shards that the stage opens
(one row each and pass), never the samples. Cost: 0.1 s a plan, about a second a million opened shards;
a batch of 576 takes some 50 ms.
"""

from collections.abc import Collection, Iterable, Iterator
from importlib import resources
from typing import Any, Final

import numpy as np
import pyarrow as pa

from smolmix.permutation import I64, STEP_A, STEP_B, derive_array, mix32, mix32_array, permute_many
from smolmix.plan import Plan
from smolmix.plan_files import plan_label
from smolmix.replacements import Replacement
from smolmix.sequence import _SHARDS_TAG as SHARDS_TAG
from smolmix.sequence import Sequence
from smolmix.tree import Leaf, Split, Tree, paths

_OPENED: Final = pa.schema(
    [
        ("number", pa.int32()),
        ("pass", pa.int32()),  # a source has fewer than 2**31 passes
        ("slot", pa.int64()),
        ("shard", pa.uint32()),  # and fewer than 2**32 shards: smolmix.sequence
        ("windows", pa.int64()),
    ]
)
"""The table ``orders.opened``."""
_ROWS_AT_A_TIME: Final = 2**20
"""Shards of the passes computed together, where a pass has fewer."""
_FEW_SHARDS: Final = 2**10


def install_order_macros(connection: Any, plans: Iterable[Plan]) -> None:
    """Create the schema ``orders`` and the ``order_*`` macros in a writable DuckDB connection, and fill them.

    A plan is called by the name of its folder, such as ``stage2-blog``, in its profile. On a file, do it in
    one transaction: a commit a statement takes most of the time.
    """
    sql = (resources.files("smolmix") / "sql" / "order.sql").read_text("utf-8")
    connection.execute(sql)
    for plan in plans:
        add_plan(connection, plan)


def add_plan(connection: Any, plan: Plan) -> None:
    """Add one plan's tree and shards to the tables that :func:`install_order_macros` made."""
    label = (plan.profile, plan_label(plan))
    order = plan.order
    assert order.tree is not None, "a plan has windows"
    rows, depth = _tree_rows(order.tree)
    stage = (*label, plan.windows, plan.batch_windows, plan.steps, plan.start_step, depth, rows)
    connection.execute("INSERT INTO orders.stages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", stage)
    used = [sequence for sequence in order.sequences.values() if sequence.count]
    (first,) = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM orders.sources").fetchone()
    splits = paths(order.tree)
    places = [
        (
            number,
            *label,
            s.name,
            s.start,
            s.count,
            s.capacity if s.sizes is not None else None,
            *s.key,
            _path_rows(splits[s.name]),
        )
        for number, s in enumerate(used, first)
    ]
    # One statement: one a row takes 4 ms each.
    marks = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * len(places))
    values = [value for place in places for value in place]
    connection.execute(f"INSERT INTO orders.sources VALUES {marks}", values)  # noqa: S608 - only marks
    known = [(number, sequence) for number, sequence in enumerate(used, first) if sequence.sizes is not None]
    batches = (batch for number, sequence in known for batch in _opened(sequence, number))
    connection.register("opened_shards", pa.RecordBatchReader.from_batches(_OPENED, batches))
    connection.execute("INSERT INTO orders.opened FROM opened_shards")
    connection.unregister("opened_shards")
    if plan.changes is not None:
        _add_replacements(connection, label, plan.changes.replacements)


def _add_replacements(connection: Any, label: tuple[str, str], rows: Collection[Replacement]) -> None:
    names = ("index", "source", "pass_", "shard", "window")
    table = pa.table({name: [getattr(row, name) for row in rows] for name in names})
    connection.register("put_in", table)
    connection.execute("INSERT INTO orders.replacements SELECT ?, ?, * FROM put_in", label)
    connection.unregister("put_in")


def _tree_rows(root: Tree) -> tuple[list[dict[str, Any]], int]:
    """Return the nodes of the tree, numbered from 1 in breadth-first order, and its depth."""
    level, rows, depth, used = [root], [], 0, 1
    while level:
        below: list[Tree] = []
        for node in level:
            if isinstance(node, Leaf):
                rows.append(_row(node.name, node.count))
            else:
                rows.append(_row(None, node.count, node.left.count, used + 1, used + 2))
                used += 2
                below += [node.left, node.right]
        level, depth = below, depth + 1
    return rows, depth


def _row(
    source: str | None,
    windows: int,
    left_windows: int | None = None,
    left: int | None = None,
    right: int | None = None,
) -> dict[str, Any]:
    names = ("source", "windows", "left_windows", "left_node", "right_node")
    return dict(zip(names, (source, windows, left_windows, left, right), strict=True))


def _path_rows(splits: Iterable[tuple[Split, bool]]) -> list[dict[str, Any]]:
    """Return the splits from a leaf up to the root."""
    return [{"windows": s.count, "left_windows": s.left.count, "is_left": is_left} for s, is_left in splits]


def _opened(sequence: Sequence, number: int) -> Iterator[pa.RecordBatch]:
    """Yield the shards that the stage opens, in reading order.

    Passes are computed many at a time: a large budget over little text has hundreds of thousands.
    """
    assert sequence.sizes is not None, "a source of known size"
    first, end = sequence.start, sequence.start + sequence.count
    last = (end - 1) // sequence.capacity
    together = max(_ROWS_AT_A_TIME // sequence.sizes.size, 1)
    for begin in range(first // sequence.capacity, last + 1, together):
        passes = np.arange(begin, min(begin + together, last + 1), dtype=np.int64)
        shards = _opening_orders(sequence, passes)
        sizes = sequence.sizes[shards]
        begins = np.cumsum(sizes, axis=1) - sizes
        numbers = begins + passes[:, None] * sequence.capacity
        opened = (sizes > 0) & (numbers < end) & (numbers + sizes > first)
        which = np.broadcast_to(passes[:, None], shards.shape)[opened]
        columns = (np.full(which.size, number), which, begins[opened], shards[opened], sizes[opened])
        arrays = [pa.array(column, type=kind) for column, kind in zip(columns, _OPENED.types, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=_OPENED)


def _opening_orders(sequence: Sequence, passes: I64) -> I64:
    """Return the opening order of each pass, a row a pass: :meth:`Sequence.table` for many passes at once."""
    assert sequence.sizes is not None, "a source of known size"
    shards = sequence.sizes.size
    if passes.size == 1 or shards > _FEW_SHARDS:  # of large sources, stages of a curriculum share the tables
        return np.stack([sequence.table(int(pass_)).shards for pass_ in passes])
    lane_a, lane_b = derive_array(sequence.key, passes)
    tag_a, tag_b = mix32(SHARDS_TAG + STEP_A), mix32(SHARDS_TAG + STEP_B)
    lanes = (mix32_array(lane_a ^ np.uint32(tag_a)), mix32_array(lane_b ^ np.uint32(tag_b)))
    which, ordinals = np.divmod(np.arange(passes.size * shards, dtype=np.int64), shards)
    count = np.full(passes.size, shards, np.int64)
    return permute_many(lanes, count, which, ordinals).reshape(passes.size, shards)
