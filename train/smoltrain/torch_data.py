"""The loader as a torch ``IterableDataset``: whole batches, the same order for any number of workers.

Worker i of n makes steps i, i + n, i + 2n, …; a ``DataLoader(dataset, batch_size=None, num_workers=n)`` takes
from its workers in turn, so that steps arrive in order.
"""

from collections.abc import Iterator

import torch
from torch.utils.data import IterableDataset, get_worker_info

from smoltrain.loader import Batch, Loader

TensorBatch = dict[str, torch.Tensor]


class BatchDataset(IterableDataset[TensorBatch]):
    """A loader's batches as tensors: ``ids``, ``positions``, ``labels``, ``mask``, ``step``."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __len__(self) -> int:
        """Return the number of steps left in the stage."""
        return len(self._loader)

    def __iter__(self) -> Iterator[TensorBatch]:
        """Yield this worker's batches in order."""
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for step in range(self._loader.start_step + first, self._loader.bundle.steps, stride):
            yield to_tensors(self._loader.batch(step))


def to_tensors(batch: Batch) -> TensorBatch:
    """Return a batch as tensors that share its memory; ``positions`` become int64 as models expect."""
    return {
        "ids": torch.from_numpy(batch.ids),
        "positions": torch.from_numpy(batch.positions).long(),
        "labels": torch.from_numpy(batch.labels),
        "mask": torch.from_numpy(batch.mask),
        "step": torch.tensor(batch.step),
    }
