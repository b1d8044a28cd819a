"""A model and its optimizer on a device: gradients of micro-batches in, one update a step out.

On a CPU: float32, sdpa, nothing compiled: the same bits on every run. On CUDA: bf16 with float32 masters
(:mod:`smoltrain.masters`; with several processes FSDP's own), variable-length attention, layers compiled one
by one (one compilation serves all that are alike), fused AdamW, Liger's loss.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from smoltrain.attention import VARLEN, Documents, choose, documents_of
from smoltrain.hyperparameters import Optimizer
from smoltrain.loader import Batch
from smoltrain.loss import IGNORED
from smoltrain.masters import Masters
from smoltrain.model import LossModel
from smoltrain.parallel import World, shard, whole

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Compute:
    """How a run is computed; another value may change its last bits."""

    device: str
    precision: Precision
    attention: str = "auto"
    compiled: bool = False
    recompute: bool = False
    """Keep only each layer's input and compute the layer again in the backward pass: slower by a third."""
    deterministic: bool = False
    """The same bits on every run, on a GPU too."""

    @staticmethod
    def best(device: str = "auto") -> "Compute":
        """Return what suits ``device``; ``auto``: the GPU if there is one."""
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        cuda = torch.device(device).type == "cuda"
        return Compute(device, "bfloat16" if cuda else "float32", compiled=cuda, deterministic=not cuda)


class Engine:
    """A model in training on one device, or this process's part of one.

    ``weights`` are what the optimizer changes and checkpoints hold, in float32, by their names in the model.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        compute: Compute,
        learning_rate: float,
        *,
        world: World | None = None,
        decay_embeddings: bool = False,
        document_masks: bool = True,
    ) -> None:
        self._world = world or World()
        cuda = compute.device == "cuda"
        self.device = torch.device("cuda", self._world.local_rank) if cuda else torch.device(compute.device)
        self._document_masks = document_masks
        with self.device:
            self.model = build()
        causal: Any = self.model
        kind = choose(compute.attention, self.device)
        causal.set_attn_implementation(kind)
        self._line = kind == VARLEN
        if compute.recompute:
            causal.activation_checkpointing_enable({"use_reentrant": False})
        causal.train()
        self._loss = LossModel(self.model)
        self._masters: Masters | None = None
        bf16 = compute.precision == "bfloat16"
        if compute.compiled:
            compile_layers(causal)
        if self._world.size > 1:
            shard(self._loss, causal.model.layers, bf16=bf16)
        elif bf16:
            self._masters = Masters(self.model)
        self.weights: dict[str, torch.Tensor] = (
            dict(self.model.named_parameters()) if self._masters is None else self._masters.named
        )
        self.optimizer = build_optimizer(self.weights, learning_rate, decay_embeddings=decay_embeddings)

    def publish(self) -> None:
        """Take over ``weights`` that were changed from outside."""
        if self._masters is not None:
            self._masters.publish()

    def count(self, batch: Batch) -> int:
        """Return the labels of the global batch, of which this process has its share."""
        labels = int(batch.mask.sum()) if self._document_masks else batch.mask.size
        if self._world.size == 1:
            return max(1, labels)
        return max(1, int(self._world.sum(torch.tensor(labels, device=self.device))))

    def backward(self, batch: Batch, micro_batch: int, labels: int) -> torch.Tensor:
        """Add the gradient of the global batch's mean loss over ``labels``; return the loss."""
        total, masks = torch.zeros((), dtype=torch.float32, device=self.device), self._document_masks
        for begin in range(0, len(batch.ids), micro_batch):
            part = batch.rows(slice(begin, begin + micro_batch))
            loss = self._loss(*arguments(part, self.device, line=self._line, apart=masks))
            # FSDP takes the mean over processes; the sum of their shares is what is wanted.
            (loss * (self._world.size / labels)).backward()
            total += loss.detach().float()
        return self._world.sum(total) / labels

    def evaluate(self, batch: Batch) -> tuple[float, int]:
        """Return the summed loss of ``batch`` in nats with documents kept apart, and its labels."""
        return evaluated(self._loss, batch, self.device, line=self._line)

    def update(self, rate: float) -> torch.Tensor:
        """Clip the gradients, take one step of the optimizer with ``rate``; return the norm before it."""
        norm = whole(nn.utils.clip_grad_norm_(self.weights.values(), Optimizer().clip_grad))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if self._masters is None:
            self.optimizer.zero_grad(set_to_none=True)
        else:
            self._masters.publish()
        return norm


def arguments(
    batch: Batch, device: torch.device, *, line: bool, apart: bool = True
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Documents | None]:
    """Return a batch as :class:`LossModel` takes it; ``line``: its rows as one line of documents.

    Not ``apart``: every row is one document, and no label is masked.
    """
    positions, labels = batch.positions, batch.labels
    if apart:
        labels = np.where(batch.mask, labels, IGNORED)
    else:
        positions = np.broadcast_to(np.arange(positions.shape[1], dtype=np.int32), positions.shape).copy()
    return (
        torch.from_numpy(batch.ids).to(device, non_blocking=True),
        torch.from_numpy(positions).long().to(device, non_blocking=True),
        torch.from_numpy(labels).to(device, non_blocking=True),
        documents_of(positions, device) if line else None,
    )


def evaluated(loss: nn.Module, batch: Batch, device: torch.device, *, line: bool) -> tuple[float, int]:
    """Return the summed loss of ``batch`` in nats with documents kept apart, and its labels."""
    with torch.no_grad():
        nats = loss(*arguments(batch, device, line=line))
    return float(nats), int(batch.mask.sum())


def compile_layers(model: Any) -> None:
    """Compile every layer and the last norm in place; layers that are alike share one compilation."""
    recompute_cheap_things()
    for layer in model.model.layers:
        layer.compile()
    model.model.norm.compile()


def recompute_cheap_things() -> None:
    """Tell torch's partitioner to compute activations and norms again in the backward pass, not to keep them.

    At 3B that is a third of what a layer keeps, for one more pointwise kernel: it lets two windows of 4,096
    fit beside float32 masters. Matrix products and attention are still kept (``aggressive_recomputation``
    would run attention's forward pass twice: 4 % of a step).
    """
    from torch._functorch import config as partitioner

    partitioner.ban_recompute_used_far_apart = False
    partitioner.ban_recompute_long_fusible_chains = False
    partitioner.ban_recompute_materialized_backward = False


def build_optimizer(
    weights: nn.Module | Mapping[str, torch.Tensor], learning_rate: float, *, decay_embeddings: bool = False
) -> torch.optim.Optimizer:
    """Return fused AdamW with the released values: embeddings are not decayed, norms and all else are."""
    named = dict(weights.named_parameters()) if isinstance(weights, nn.Module) else weights
    values = Optimizer()
    exempt = {name for name in named if values.no_decay in name and not decay_embeddings}
    groups: list[dict[str, Any]] = [
        {
            "params": [named[name] for name in named if name not in exempt],
            "weight_decay": values.weight_decay,
        },
        {"params": [named[name] for name in named if name in exempt], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=learning_rate,
        betas=(values.beta1, values.beta2),
        eps=values.eps,
        fused=True,
    )
