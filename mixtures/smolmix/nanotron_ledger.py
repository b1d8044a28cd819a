"""What nanotron reads of each folder over several launches, and what it records of that: not the same.

At bc1f5a61 a launch trains the last stage of its file. The sampler starts at sample 0 of that stage's blend,
but the record of consumed tokens takes the blend's samples from the *global* step on (``trainer.py``,
``update_consumption_metrics``), so from the second stage on it counts samples that were not read. A later
stage starts each folder, known by its path alone, at ``recorded tokens // sequence length``: what was
recorded in excess is skipped, what is missing is read again; a folder under another path starts at 0. Past a
folder's last window it stops with an IndexError. Compared on 2026-11-22 with nanotron's own get_dataloader,
blend, sampler and checkpoint metadata (``make test-nanotron``). Cost: 3 microseconds a sample up to the last
stage's global end.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from smoldata.errors import InputError
from smolmix.nanotron_blend import blend_blocks, normalised
from smolmix.permutation import I64


@dataclass(frozen=True, slots=True)
class StageRun:
    """One launch: the steps of a stage and the folders that it blends."""

    name: str
    steps: int
    folders: tuple[str, ...]
    weights: tuple[float, ...]
    sequence_length: int


def source_of(folder: str) -> str:
    """Return the source that a folder of shards is of: the last part of its path."""
    return folder.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class FolderLedger:
    """A folder in one stage; counts are windows of the stage's length."""

    folder: str
    offset: int
    """Windows at its beginning that the stage leaves out: what nanotron takes for read."""
    read: int
    """Windows that the stage reads (those of a folder that stands twice are counted twice)."""
    recorded: int
    """Windows that nanotron writes down as read."""
    repeated: int | None
    """Windows read that had been read before; None after a change of length, when no window is the same."""
    skipped: int | None
    """Windows before the first one read that no stage has read; None after a change of length."""
    runs_out: int | None
    """Sample of the stage (from 0) at which nanotron stops with an IndexError; None: it holds enough."""


@dataclass(frozen=True, slots=True)
class StageLedger:
    """One stage as nanotron runs it."""

    name: str
    folders: tuple[FolderLedger, ...]
    """Each path once, in the order of the file."""
    refused: bool
    """Its checkpoint cannot be loaded: the record's sum is not the tokens trained (a folder stands twice)."""

    @property
    def runs_out(self) -> tuple[str, int] | None:
        """The folder that ends the stage and the sample at which it does; None: the stage is read whole."""
        ends = [(one.runs_out, one.folder) for one in self.folders if one.runs_out is not None]
        return None if not ends else min(ends)[::-1]


def simulate(
    stages: Sequence[StageRun], batch_windows: int, held: Mapping[str, int] | None = None
) -> list[StageLedger]:
    """Return what each stage reads and records; ``held`` are the windows of folders that are known.

    The stages are launched one after the other, each resuming from the one before; the list ends early with a
    stage that stops, or whose checkpoint cannot be loaded. ``held`` is counted at each stage's length, so it
    must not be given for stages of several lengths.

    Raises:
        InputError: ``held`` with several lengths, or weights that nanotron refuses.
    """
    if held and len({stage.sequence_length for stage in stages}) > 1:
        raise InputError("windows held by folders are of one sequence length; simulate each length alone")
    ends = list(accumulate(stage.steps * batch_windows for stage in stages))
    tokens: dict[str, int] = {}
    spans: dict[tuple[str, int], list[tuple[int, int]]] = {}
    found: list[StageLedger] = []
    for stage, end in zip(stages, ends, strict=True):
        ledger = _stage(stage, end, stage.steps * batch_windows, tokens, spans, held or {})
        found.append(ledger)
        if ledger.refused or ledger.runs_out:
            break
        for one in ledger.folders:
            tokens[one.folder] = tokens.get(one.folder, 0) + one.recorded * stage.sequence_length
            spans.setdefault((one.folder, stage.sequence_length), []).append(
                (one.offset, one.offset + one.read)
            )
    return found


def _stage(
    stage: StageRun,
    end: int,
    samples: int,
    tokens: Mapping[str, int],
    spans: Mapping[tuple[str, int], list[tuple[int, int]]],
    held: Mapping[str, int],
) -> StageLedger:
    length = stage.sequence_length
    offsets = [tokens.get(folder, 0) // length for folder in stage.folders]
    limits = [held.get(folder) for folder in stage.folders]
    seen = _walk(
        stage.weights, samples, end, [_left(one, off) for one, off in zip(limits, offsets, strict=True)]
    )
    recorded = seen.at_end - seen.at_start
    # The record is keyed by path: of a folder that stands twice the second entry overwrites the first.
    rows: dict[str, FolderLedger] = {}
    for number, folder in enumerate(stage.folders):
        before = rows.get(folder)
        read = int(seen.read[number])
        other_length = any(path == folder and seq != length for path, seq in spans)
        earlier = spans.get((folder, length), [])
        gone = None if other_length else _overlap(earlier, offsets[number], offsets[number] + read)
        if gone is not None and before is not None:
            gone += min(read, before.read)
        rows[folder] = FolderLedger(
            folder,
            offsets[number],
            read + (before.read if before else 0),
            int(recorded[number]),
            gone if before is None or before.repeated is None or gone is None else before.repeated + gone,
            None if other_length else offsets[number] - _overlap(earlier, 0, offsets[number]),
            _earliest(seen.stops.get(number), before.runs_out if before else None),
        )
    return StageLedger(stage.name, tuple(rows.values()), len(rows) < len(stage.folders))


def _left(held: int | None, offset: int) -> int | None:
    return None if held is None else max(0, held - offset)


def _earliest(*samples: int | None) -> int | None:
    return min((one for one in samples if one is not None), default=None)


def _overlap(spans: Sequence[tuple[int, int]], begin: int, end: int) -> int:
    """Return how many of the windows ``begin`` to ``end`` (exclusive) lie in any of the spans."""
    total, reached = 0, begin
    for first, last in sorted(spans):
        low, high = max(first, reached), min(last, end)
        if low < high:
            total, reached = total + high - low, high
    return total


@dataclass(slots=True)
class _Walk:
    """Counts by folder after some prefixes of a stage's blend."""

    read: I64
    """After the stage's samples: what the sampler takes."""
    at_start: I64
    """After the samples of all stages before: where the record begins."""
    at_end: I64
    """After those of this one too."""
    stops: dict[int, int]
    """Sample at which a folder is asked for a window that it does not hold."""


def _walk(weights: Sequence[float], samples: int, end: int, limits: Sequence[int | None]) -> _Walk:
    """Walk one blend up to the global end of the stage."""
    nothing = np.zeros(len(weights), np.int64)
    seen = _Walk(nothing, nothing, nothing, {})
    for first, folder, counts in _counted(weights, end):
        for name, point in (("read", samples), ("at_start", end - samples), ("at_end", end)):
            if first < point <= first + folder.size:
                here = np.bincount(folder[: point - first], minlength=len(weights))
                setattr(seen, name, counts + here)
        for number, limit in enumerate(limits):
            if limit is None or number in seen.stops or first >= samples:
                continue
            hits = np.flatnonzero(folder[: samples - first] == number)
            if counts[number] + hits.size > limit:
                seen.stops[number] = first + int(hits[limit - int(counts[number])])
    return seen


def _counted(weights: Sequence[float], samples: int) -> Iterator[tuple[int, NDArray[np.int16], I64]]:
    """Yield (first sample, folders of a block, counts before it)."""
    first, counts = 0, np.zeros(len(weights), np.int64)
    for block in blend_blocks(weights, samples):
        yield first, block.folder, counts
        first, counts = first + block.folder.size, block.counts


def read_path_asks(
    stage: StageRun, total_steps: int, batch_windows: int, held: Mapping[str, int]
) -> dict[str, int]:
    """Return the folders at which nanotron's own check stops a launch with ``dataset_read_path``.

    It asks for ``int(train_steps * windows a step * share)`` windows in each folder, in floats, with the
    steps of *all* stages: a folder of a short last stage must hold what the whole run would draw at that
    weight. The values are those numbers.
    """
    asked = {
        folder: int(total_steps * batch_windows * share)
        for folder, share in zip(stage.folders, normalised(stage.weights), strict=True)
    }
    return {folder: windows for folder, windows in asked.items() if windows > held.get(folder, windows)}
