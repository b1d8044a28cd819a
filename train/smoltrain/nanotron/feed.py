"""The plan's batches as nanotron's trainer takes them: its extension point for custom dataloaders, filled.

``DistributedTrainer.train`` takes a mapping of stage name to an iterable of micro-batches: ``input_ids``,
``position_ids``, ``label_ids`` and ``label_mask``, where a rank holds what its place in the pipeline and
in the context-parallel group needs. After each step it asks ``.dataset`` how many tokens every folder has
given, and keeps the answer in its checkpoints; here that is the plan's exact count a source.

A rank of the data-parallel group takes its run of the global batch, micro-batch after micro-batch; what was
handed over is remembered until :meth:`Feed.taken` is asked for it. Cost: that of :mod:`smoltrain.loader`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from smoldata.errors import InputError
from smoltrain.bundle import Bundle, Places
from smoltrain.loader import Batch, Loader

MicroBatch = dict[str, Any]
Pointer = Callable[[int], Any]
"""Makes nanotron's placeholder for what another rank of the pipeline holds, from that rank."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a process sits among nanotron's process groups."""

    dp_rank: int = 0
    dp_size: int = 1
    cp_rank: int = 0
    cp_size: int = 1
    pp_rank: int = 0
    input_pp_rank: int = 0
    output_pp_rank: int = 0


class Feed:
    """Micro-batches of one rank's loader; ``dataset`` is itself, as nanotron asks it.

    ``consumed``: tokens that each source gave in the stage before the loader's first step.
    """

    def __init__(
        self,
        loader: Loader,
        seat: Seat,
        *,
        micro_batch: int,
        pointer: Pointer,
        consumed: dict[str, int] | None = None,
    ) -> None:
        bundle = loader.bundle
        check_shares(bundle, seat, micro_batch)
        self._bundle, self._seat, self._micro_batch, self._pointer = bundle, seat, micro_batch, pointer
        self._loader, self._whole = loader, Loader(bundle)
        self._step = loader.start_step
        self._consumed = dict.fromkeys(bundle.sources, 0) | (consumed or {})
        self._taken: list[Places] = []
        self._labels = 0

    @property
    def labels(self) -> int:
        """Return the labels that count in this rank's share of the step last handed over."""
        return self._labels

    @property
    def step(self) -> int:
        """Return the step of the stage that is due: one more than nanotron has reported done."""
        return self._step

    @property
    def dataset(self) -> "Feed":
        """Return what nanotron asks for consumed tokens."""
        return self

    def __len__(self) -> int:
        """Return the number of micro-batches that are left in the stage."""
        return len(self._loader) * (self._bundle.batch_windows // self._seat.dp_size // self._micro_batch)

    def __iter__(self) -> Iterator[MicroBatch]:
        """Yield this rank's micro-batches to the end of the stage."""
        for batch in self._loader:
            self._labels = int(batch.mask.sum())
            for first in range(0, len(batch.ids), self._micro_batch):
                rows = slice(first, first + self._micro_batch)
                self._taken.append(batch.places.rows(rows))
                yield self._micro(batch, rows)

    def _micro(self, batch: Batch, rows: slice) -> MicroBatch:
        seat = self._seat
        share = batch.ids.shape[1] // seat.cp_size
        here = slice(seat.cp_rank * share, (seat.cp_rank + 1) * share)
        micro: MicroBatch = {
            "input_ids": self._pointer(seat.input_pp_rank),
            "position_ids": self._pointer(seat.input_pp_rank),
            "label_ids": self._pointer(seat.output_pp_rank),
            "label_mask": self._pointer(seat.output_pp_rank),
        }
        if seat.pp_rank == seat.input_pp_rank:
            # Positions are of the whole window: a context-parallel rank finds all documents in them.
            micro["input_ids"] = batch.ids[rows, here]
            micro["position_ids"] = batch.positions[rows].astype(np.int64)
        if seat.pp_rank == seat.output_pp_rank:
            micro |= {"label_ids": batch.labels[rows, here], "label_mask": batch.mask[rows, here]}
        return micro

    def taken(self) -> list[Places]:
        """Return what was handed over since the last call, one element a micro-batch, and forget it."""
        taken, self._taken = self._taken, []
        return taken

    def update_consumption_metrics(self, start_idx: int, end_idx: int, sequence_length: int) -> None:
        """Count the global batch of the step just done; nanotron's own arguments count another blend."""
        del start_idx, end_idx
        drawn = np.bincount(self._whole.places(self._step).source, minlength=len(self._bundle.sources))
        for name, windows in zip(self._bundle.sources, drawn.tolist(), strict=True):
            self._consumed[name] += windows * sequence_length
        self._step += 1

    def get_consumption_stats(self) -> dict[str, dict[str, int]]:
        """Return the tokens that each source has given in this stage."""
        return {name: {"tokens": tokens} for name, tokens in self._consumed.items() if tokens}


def consumed_before(bundle: Bundle, step: int) -> dict[str, int]:
    """Return the tokens that each source gave in the stage's first ``step`` steps, by the order's sums."""
    drawn = bundle.plan.order.drawn_before(step * bundle.batch_windows)
    return {name: drawn[name] * bundle.sequence_length for name in bundle.sources if drawn.get(name)}


def check_shares(bundle: Bundle, seat: Seat, micro_batch: int) -> None:
    """Raise :class:`InputError` if the ranks cannot share a batch or a window evenly."""
    each = bundle.batch_windows // seat.dp_size
    if bundle.batch_windows % seat.dp_size or each % micro_batch:
        raise InputError(
            f"{seat.dp_size} data-parallel ranks with micro-batches of {micro_batch} do not share "
            f"{bundle.batch_windows} windows a step evenly; dp x micro batch must divide it"
        )
    if bundle.sequence_length % seat.cp_size:
        raise InputError(
            f"{seat.cp_size} context-parallel ranks do not divide {bundle.sequence_length} tokens evenly"
        )
