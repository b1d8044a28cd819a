"""One order, many trainers: the reference trainer's stream has the plan's digest, ranks and workers aside."""

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from smolmix.adapters import IGNORED, RankSteps
from smolmix.order_digest import Digester, digest_windows, window_hashes
from smolmix.windows import open_windows
from smoltrain.loader import open_loader
from smoltrain.torch_data import BatchDataset

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

STEPS, BATCH = 40, 6


@pytest.mark.parametrize(("workers", "start"), [(0, 0), (1, 17), (2, 0)])
@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_the_reference_trainer_reads_the_plans_stream(
    small_house: "SmallHouse", world: int, workers: int, start: int
) -> None:
    windows = open_windows(small_house.bundle)
    end = start + STEPS
    hashes: dict[int, bytes] = {}
    # Worker processes for one rank, the last, are enough: the others go the same way.
    for rank in range(world):
        loader = open_loader(small_house.bundle, rank=rank, world_size=world, start_step=start)
        processes = workers if rank == world - 1 else 0
        batches = iter(
            torch.utils.data.DataLoader(BatchDataset(loader), batch_size=None, num_workers=processes)
        )
        for step in range(start, end):
            batch = next(batches)
            assert int(batch["step"]) == step
            tokens = np.column_stack([batch["ids"].numpy(), batch["labels"].numpy()[:, -1]])
            first = step * BATCH + rank * (BATCH // world)
            hashes.update(enumerate(window_hashes(tokens), first))
    digester = Digester(start * BATCH, end * BATCH)
    digester.add_hashes(hashes[index] for index in range(start * BATCH, end * BATCH))
    assert digester.tokens_digest() == digest_windows(windows, start * BATCH, end * BATCH).tokens


@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_other_trainers_are_given_what_the_reference_trainer_is(
    small_house: "SmallHouse", world: int
) -> None:
    windows = open_windows(small_house.bundle)
    for rank in range(world):
        steps = RankSteps(windows, rank, world)
        loader = open_loader(small_house.bundle, rank=rank, world_size=world)
        for step in range(0, STEPS, 7):
            ours, theirs = steps.inputs(step), loader.batch(step)
            assert np.array_equal(ours.ids, theirs.ids)
            assert np.array_equal(ours.positions, theirs.positions)
            assert np.array_equal(ours.labels, np.where(theirs.mask, theirs.labels, IGNORED))
