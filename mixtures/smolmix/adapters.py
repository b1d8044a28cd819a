"""Windows into what a model is given, a rank's share at a time; for grain and torchtitan, nothing copied.

Step ``s`` is windows ``s * batch_windows`` on; rank r of w takes the r-th of w equal runs of them. Inputs
are a window's first ids, labels its last; positions restart at each document, and the label that would begin
another document is -100 (the rules of smoltrain.windows). Cost: a look-up a step, reads of memory maps.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smoldata.errors import InputError
from smolmix.windows import Tokens, Windows

IGNORED: Final = -100
"""The label that losses leave out (torch's default ``ignore_index``)."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a model is given for B windows; every array is [B, sequence_length]."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]


def model_inputs(tokens: Tokens, eos_id: int) -> Inputs:
    """Return inputs, positions and labels of windows [B, sequence_length + 1]."""
    ids = tokens[:, :-1].astype(np.int64)
    ends = ids == eos_id
    labels = np.where(ends, IGNORED, tokens[:, 1:].astype(np.int64))
    places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    starts = np.zeros_like(ids)
    # A document starts after each end: the last start so far is a running maximum.
    starts[:, 1:] = np.maximum.accumulate(np.where(ends[:, :-1], places[:, 1:], 0), axis=1)
    return Inputs(ids, places - starts, labels)


class RankSteps:
    """One rank's share of every step, as a random-access sequence: grain's ``RandomAccessDataSource``."""

    def __init__(self, windows: Windows, rank: int = 0, world_size: int = 1) -> None:
        """Choose a rank.

        Raises:
            InputError: the ranks don't divide the batch, or there is no such rank.
        """
        batch = windows.plan.batch_windows
        if world_size < 1 or batch % world_size or not 0 <= rank < world_size:
            raise InputError(
                f"rank {rank} of {world_size}: the ranks must divide the batch of {batch} windows, "
                "and count from 0"
            )
        self.windows, self.rank, self.rows = windows, rank, batch // world_size

    def __len__(self) -> int:
        """Return the number of steps in the stage."""
        return self.windows.plan.steps

    def __getitem__(self, step: int) -> dict[str, NDArray[np.int64]]:
        """Return ``ids``, ``positions`` and ``labels`` of a step, [rows, sequence_length] each."""
        made = self.inputs(step)
        return {"ids": made.ids, "positions": made.positions, "labels": made.labels}

    def inputs(self, step: int) -> Inputs:
        """Return this rank's share of a step."""
        if not 0 <= step < len(self):
            raise IndexError(f"step {step:,} is outside the stage; it has 0 to {len(self) - 1:,}")
        first = int(step) * self.windows.plan.batch_windows + self.rank * self.rows
        _, tokens = self.windows.read(np.arange(first, first + self.rows, dtype=np.int64))
        return model_inputs(tokens, self.windows.eos_id)


@dataclass(frozen=True, slots=True)
class TitanRow:
    """What torchtitan's ``TextCollator`` takes: one step of a rank as one line, [rows * sequence_length]."""

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    positions: NDArray[np.int64]


class _TitanSource:
    """A rank's steps as lines."""

    def __init__(self, steps: RankSteps) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, step: int) -> TitanRow:
        made = self.steps.inputs(step)
        return TitanRow(made.ids.reshape(-1), made.labels.reshape(-1), made.positions.reshape(-1))


@dataclass(frozen=True, slots=True)
class TitanWindows:
    """A dataset for torchtitan's ``GrainDataLoader``: its ``DatasetConfig`` protocol."""

    export: str
    """Folder of the export."""
    root: str | None = None
    """Folder that holds ``tokens/``, if the shards were moved."""

    def build(self, *, context: Any, dataset_iteration_policy: Any) -> Any:
        """Return the grain dataset of this rank; shuffling and repeating are refused or left to the plan.

        Raises:
            InputError: the batch or the context length is not the plan's, or shuffling was asked for.
        """
        import grain

        from smolmix.exports import open_export

        policy, windows = dataset_iteration_policy, open_export(Path(self.export), self.root)
        steps = RankSteps(windows, policy.dp_rank, policy.dp_world_size)
        if policy.shuffle:
            raise InputError("the plan is shuffled already: set GrainDataLoader.Config(shuffle=False)")
        length = windows.plan.sequence_length
        wanted, asked = steps.rows * length, context.num_tokens_per_batch
        if (asked, context.max_context_length) != (wanted, length):
            raise InputError(
                f"{asked:,} tokens a batch at a context of {context.max_context_length:,} were asked for; "
                f"the plan gives this rank {steps.rows} windows of {length:,}: {wanted:,} tokens"
            )
        return grain.MapDataset.source(_TitanSource(steps))
