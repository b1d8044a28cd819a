"""A rank's steps as a torch dataset that can be saved and resumed at any step, with any number of workers.

``DataLoader`` or torchdata's ``StatefulDataLoader`` of ``StatefulSteps(windows, rank, world_size)``, with
``batch_size=None``, gives ``({"input", "positions"}, labels)`` a step, as torchtitan's trainers take it.
Worker i of n makes steps i, i + n, …; the loader takes from its workers in turn, so that steps arrive in
order. Single windows, map-style: ``smolmix.windows.Windows`` is a dataset as it is.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from smoldata.errors import InputError
from smolmix.adapters import RankSteps
from smolmix.windows import Windows

Step = tuple[dict[str, torch.Tensor], torch.Tensor]


class StatefulSteps(IterableDataset[Step]):
    """Steps of a rank; ``state_dict`` and ``load_state_dict`` say and set the next one."""

    def __init__(self, windows: Windows, rank: int = 0, world_size: int = 1, start_step: int = 0) -> None:
        """Begin at a step of the stage."""
        self._steps = RankSteps(windows, rank, world_size)
        self._start = start_step
        self._next: int | None = None
        if not 0 <= start_step <= len(self._steps):
            raise InputError(f"start step {start_step} is outside the stage: it has {len(self._steps)} steps")

    def __len__(self) -> int:
        """Return the number of steps from the start step on."""
        return len(self._steps) - self._start

    def __iter__(self) -> Iterator[Step]:
        """Yield this worker's steps, from where the state says; after the end, from the start step."""
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        step = self._start + first if self._next is None else self._next
        while step < len(self._steps):
            made = self._steps.inputs(step)
            step += stride
            self._next = step
            inputs = {"input": torch.from_numpy(made.ids), "positions": torch.from_numpy(made.positions)}
            yield inputs, torch.from_numpy(made.labels)
        self._next = None

    def state_dict(self) -> dict[str, Any]:
        """Return the next step of this worker and what it belongs to."""
        plan = self._steps.windows.plan
        return {"next_step": self._next, "lock": plan.lock.hash}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken.

        Raises:
            InputError: the state is of another plan.
        """
        lock = self._steps.windows.plan.lock.hash
        if state["lock"] != lock:
            raise InputError(
                f"the state is of plan {state['lock'][:12]}, this is {lock[:12]}; not the same order"
            )
        self._next = state["next_step"]
