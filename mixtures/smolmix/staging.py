"""A plan into a staging timetable: which shard must be on which node from which step to which.

A node reads an equal run of each batch. A visit of a shard to a node begins ``ahead`` steps before the node's
first window of it and ends with the last of the pass; visits that touch are one. Everything follows from the
order: the windows of an opened shard are a run of the source's sequence, so its first and last step on each
node are found from the two ends of the run, looked at four times as far while a node is not met there.
Cost: a few look-ups a node and opened shard, never more than the stage's windows; about 200 bytes a
visit while they are made. Stage 2 at full size on 48 nodes: 75,600 visits in 0.8 s.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smoldata.errors import InputError
from smolmix.order import Order
from smolmix.permutation import I64
from smolmix.plan import Plan
from smolmix.sequence import Sequence

_ENDS: Final = 2
"""Windows a node looked at from each end of a run at first."""
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Timetable:
    """Visits as columns, sorted by (node, fetch step, source, shard)."""

    nodes: int
    steps: int
    ahead: int
    names: tuple[str, ...]
    """Source names, sorted."""
    unsized: tuple[str, ...]
    """Sources that are drawn from but whose size is unknown: they are not in the timetable."""
    node: I64
    source: I64
    """Position in ``names``."""
    shard: I64
    """Ordinal in the source."""
    pass_: I64
    """The pass in which the visit begins."""
    bytes: I64
    fetch_step: I64
    """``ahead`` steps before the first, or 0: the shard takes room from here on."""
    first_step: I64
    last_step: I64
    """After this step the shard may be removed."""

    def __len__(self) -> int:
        """Return the number of visits."""
        return int(self.node.size)


@dataclass(frozen=True, slots=True)
class NodeDisk:
    """What one node's disk must hold and fetch."""

    node: int
    visits: int
    shards: int
    fetched_bytes: int
    peak_bytes: int
    peak_step: int
    """The first step at which the peak is reached."""


def timetable(plan: Plan, sizes: dict[str, I64], *, nodes: int, ahead: int = 0) -> Timetable:
    """Return the visits of every shard to every node.

    ``sizes`` are the bytes of each shard by source, in ordinal order. Raises :class:`InputError` if the nodes
    cannot share the batch equally.
    """
    if nodes < 1 or plan.batch_windows % nodes:
        fitting = [n for n in range(1, plan.batch_windows + 1) if plan.batch_windows % n == 0]
        raise InputError(
            f"{nodes} nodes cannot share a batch of {plan.batch_windows} windows equally; "
            f"use one of {', '.join(map(str, fitting))}"
        )
    if ahead < 0:
        raise InputError(f"--ahead {ahead}: a shard cannot be fetched after it is needed; use 0 or more")
    order, parts, unsized = plan.order, [], []
    for number, name in enumerate(order.names):
        sequence = order.sequences[name]
        if sequence.count and sequence.sizes is None:
            unsized.append(name)
        elif sequence.count:
            visits = _source_visits(order, sequence, plan.batch_windows, nodes)
            visits = _with_put_in(visits, order.put_in(name), plan.batch_windows, nodes)
            node, shard, pass_, first, last = _merged(visits, ahead)
            parts.append((node, np.full(node.size, number), shard, pass_, sizes[name][shard], first, last))
    empty = np.zeros((7, 0), np.int64)
    columns = [np.concatenate([empty[at], *(part[at] for part in parts)]) for at in range(7)]
    node, source, shard, pass_, size, first, last = columns
    fetch = np.maximum(first - ahead, 0)
    by_time = np.lexsort((shard, source, fetch, node))
    ordered = [one[by_time] for one in (node, source, shard, pass_, size, fetch, first, last)]
    return Timetable(nodes, plan.steps, ahead, order.names, tuple(unsized), *ordered)


def _openings(sequence: Sequence) -> tuple[I64, I64, I64, I64]:
    """Return (pass, shard, first window, window after the last) of each shard that the stage opens."""
    found = []
    for pass_ in range(
        sequence.start // sequence.capacity, (sequence.start + sequence.count - 1) // sequence.capacity + 1
    ):
        table = sequence.table(pass_)
        assert sequence.sizes is not None, "only sized sources have tables"
        begin = table.begins + (pass_ * sequence.capacity - sequence.start)
        end = np.minimum(begin + sequence.sizes[table.shards], sequence.count)
        begin = np.maximum(begin, 0)
        opened = begin < end
        found.append((np.full(int(opened.sum()), pass_), table.shards[opened], begin[opened], end[opened]))
    passes, shards, begins, ends = (np.concatenate(column) for column in zip(*found, strict=True))
    return passes, shards, begins, ends


def _source_visits(order: Order, sequence: Sequence, batch: int, nodes: int) -> list[I64]:
    """Return (node, shard, pass, first step, last step) of every opened shard on every node that reads it."""
    passes, shards, begins, ends = _openings(sequence)
    pending, reach, parts = np.arange(begins.size), _ENDS * nodes, []
    while pending.size:
        unsettled = []
        for rows in _blocks(np.minimum((ends - begins)[pending], 2 * reach)):
            runs = pending[rows]
            seen = _scan(order, sequence.name, begins[runs], ends[runs], batch, nodes, reach)
            again = _unsettled(seen, begins[runs], ends[runs], nodes, reach)
            keep = ~again[seen.run]
            run = runs[seen.run[keep]]
            parts.append([seen.node[keep], shards[run], passes[run], seen.first[keep], seen.last[keep]])
            unsettled.append(runs[again])
        pending, reach = np.concatenate(unsettled), 4 * reach
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _with_put_in(
    visits: list[I64], put_in: Collection[tuple[int, int, int, int]], batch: int, nodes: int
) -> list[I64]:
    """Add a visit for each window that a retraction put in; the planned ones stay, at most too many."""
    if not put_in:
        return visits
    index, pass_, shard, _ = np.array(sorted(put_in), np.int64).T
    step, within = np.divmod(index, batch)
    more = (within // (batch // nodes), shard, pass_, step, step)
    return [np.concatenate(both) for both in zip(visits, more, strict=True)]


def _blocks(lengths: I64) -> Iterator[slice]:
    """Cut rows into runs of about a million windows, at least one row each."""
    ends = np.cumsum(lengths)
    begin = 0
    while begin < lengths.size:
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + _BLOCK, "right")))
        yield slice(begin, end)
        begin = end


@dataclass(frozen=True, slots=True)
class _Seen:
    """For each run and node met: the first and last step, and the windows at which these are."""

    run: I64
    node: I64
    first: I64
    last: I64
    first_window: I64
    last_window: I64


def _scan(order: Order, name: str, begins: I64, ends: I64, batch: int, nodes: int, reach: int) -> _Seen:
    """Look at the first and the last ``reach`` windows of each run."""
    lengths = np.minimum(ends - begins, 2 * reach)
    run = np.repeat(np.arange(begins.size), lengths)
    place = np.arange(run.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    window = np.where(place < reach, begins[run] + place, ends[run] - lengths[run] + place)
    step, within = np.divmod(order.indices_of_drawn(name, window), batch)
    key = run * nodes + within // (batch // nodes)
    met, head = np.unique(key, return_index=True)
    tail = key.size - 1 - np.unique(key[::-1], return_index=True)[1]
    return _Seen(met // nodes, met % nodes, step[head], step[tail], window[head], window[tail])


def _unsettled(seen: _Seen, begins: I64, ends: I64, nodes: int, reach: int) -> NDArray[np.bool_]:
    """Return the runs of which some node's first or last window may lie between the two ends looked at."""
    in_head = seen.first_window < begins[seen.run] + reach
    in_tail = seen.last_window >= ends[seen.run] - reach
    settled = np.bincount(seen.run, in_head & in_tail, begins.size)
    result: NDArray[np.bool_] = (ends - begins > 2 * reach) & (settled < nodes)
    return result


def _merged(visits: list[I64], ahead: int) -> tuple[I64, I64, I64, I64, I64]:
    """Join visits of a shard to a node when the next is fetched before the one before has ended."""
    node, shard, pass_, first, last = visits
    by_place = np.lexsort((first, shard, node))
    node, shard, pass_, first, last = (one[by_place] for one in (node, shard, pass_, first, last))
    same = (node[1:] == node[:-1]) & (shard[1:] == shard[:-1])
    # The last step so far at each place: a later visit may end before an earlier one.
    floor = np.cumsum(np.concatenate([[0], ~same])) * (int(last.max()) + 1)
    last = np.maximum.accumulate(floor + last) - floor
    new = np.concatenate([[True], ~(same & (first[1:] - ahead <= last[:-1] + 1))])
    ends = np.concatenate([np.flatnonzero(new)[1:] - 1, [new.size - 1]])
    return node[new], shard[new], pass_[new], first[new], last[ends]


def disks(found: Timetable) -> list[NodeDisk]:
    """Return what each node's disk must hold, from the visits alone."""
    return [_disk(found, node) for node in range(found.nodes)]


def _disk(found: Timetable, node: int) -> NodeDisk:
    rows = found.node == node
    size = found.bytes[rows]
    step = np.concatenate([found.fetch_step[rows], found.last_step[rows] + 1])
    change = np.concatenate([size, -size])
    by_step, inverse = np.unique(step, return_inverse=True)
    total = np.zeros(by_step.size, np.int64)
    np.add.at(total, inverse, change)
    held = np.cumsum(total)
    peak = int(held.argmax()) if held.size else 0
    shards = np.unique(found.source[rows] << 32 | found.shard[rows]).size
    top, when = (int(held[peak]), int(by_step[peak])) if held.size else (0, 0)
    return NodeDisk(node, int(rows.sum()), shards, int(size.sum()), top, when)


def check_disk(found: Timetable, disk_bytes: int) -> list[NodeDisk]:
    """Return the nodes' disks.

    Raises:
        InputError: a node would have to hold more than ``disk_bytes``; the message says how much.
    """
    seen = disks(found)
    worst = max(seen, key=lambda one: one.peak_bytes)
    if worst.peak_bytes > disk_bytes:
        less = " or fetch less far ahead (--ahead)," if found.ahead else ""
        raise InputError(
            f"node {worst.node} must hold {worst.peak_bytes:,} bytes at step {worst.peak_step:,}, "
            f"--disk allows {disk_bytes:,}; give {worst.peak_bytes:,},{less} or use smaller shards"
        )
    return seen


def parse_bytes(text: str) -> int:
    """Return a size such as ``2T``, ``1.5 TB``, ``800GiB`` or ``123456``, exactly.

    Raises:
        InputError: it is no size, or not a whole number of bytes.
    """
    import re

    found = re.fullmatch(
        r"(\d+(?:\.\d+)?)\s*(?:([KMGTP])(i?))?B?", text.strip().replace(",", ""), re.IGNORECASE
    )
    if found:
        number, unit, binary = found.groups()
        power = "KMGTP".index(unit.upper()) + 1 if unit else 0
        value = Fraction(number) * (1024 if binary else 1000) ** power
        if value.denominator == 1 and value > 0:
            return int(value)
    raise InputError(f"{text!r} is not a size in whole bytes; write 2T, 1.5TB, 800GiB or 123456")


def shard_sizes(folder: Path, plan: Plan) -> dict[str, I64]:
    """Return the bytes of each shard by source from a bundle's or plan's list; virtual: by their tokens."""
    from smolmix.shard_table import read_columns

    table = read_columns(folder / "shards.parquet", ["bytes", "tokens"])
    width = plan.tokenizer.token_width or 4
    size: NDArray[Any] = table.column("bytes").fill_null(-1).to_numpy()
    tokens = table.column("tokens").fill_null(0).to_numpy()
    size = np.where(size < 0, tokens * width, size)
    ends = np.cumsum([0, *(source.shards for source in plan.sources)]).tolist()
    return {one.name: size[b:e] for one, b, e in zip(plan.sources, ends, ends[1:], strict=False)}
