"""Several processes of one host as one trainer: torch's FSDP2 (``fully_shard``), NCCL on GPUs, gloo on CPUs.

``torchrun --nproc-per-node N -m smoltrain train ...`` starts N processes that find each other by the
environment. Weights, gradients and moments are split over them; each reads its own rows of every batch, so
that the global order is that of one process. What a checkpoint holds are whole tensors: any number of
processes goes on from it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed
from torch.distributed.tensor import DTensor, distribute_tensor


@dataclass(frozen=True, slots=True)
class World:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Return whether this process writes files and lines."""
        return self.rank == 0

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of ``value`` over all processes; changes it in place."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            distributed.barrier()


def here(environment: Mapping[str, str] = os.environ) -> World:
    """Return what torchrun says in the environment; one process without it."""
    return World(
        int(environment.get("RANK", "0")),
        int(environment.get("WORLD_SIZE", "1")),
        int(environment.get("LOCAL_RANK", "0")),
    )


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that torchrun started; alone, do nothing."""
    world = here()
    if world.size == 1:
        yield world
        return
    if device == "cuda":
        torch.cuda.set_device(world.local_rank)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield world
    finally:
        distributed.destroy_process_group()


def shard(root: Any, layers: Any, *, bf16: bool) -> None:
    """Split a model's weights over the processes by layers; ``bf16``: compute in it, reduce in float32."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    policy = (
        MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        if bf16
        else MixedPrecisionPolicy()
    )
    for layer in layers:
        fully_shard(layer, mp_policy=policy)
    fully_shard(root, mp_policy=policy)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor that may be split over processes as one; all of them must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
    """Return this process's part of ``tensor``, split and placed as ``template`` is."""
    tensor = tensor.to(template.device)
    if not isinstance(template, DTensor) or tensor.dim() == 0:
        return tensor
    return distribute_tensor(tensor, template.device_mesh, template.placements, src_data_rank=None)
