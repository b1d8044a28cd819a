"""nanotron's trainer, told of our files: its hooks filled, nothing of it changed.

The only module that imports nanotron. The ledger is written before each checkpoint: a checkpoint without
its ledger could not be made good, the reverse can. A checkpoint is written into an empty folder and sealed
when every rank is done, so that half of one is known as such.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from nanotron import distributed as dist
from nanotron.parallel.pipeline_parallel.tensor_pointer import TensorPointer
from nanotron.parallel.pipeline_parallel.utils import get_input_output_pp_ranks
from nanotron.serialize.metadata import DataStageMetadata
from nanotron.trainer import DistributedTrainer

from smoldata.errors import InputError
from smoltrain.bundle import Bundle, Places
from smoltrain.folders import discard
from smoltrain.nanotron.checkpoints import fault_of, seal
from smoltrain.nanotron.feed import Seat

EMBEDDING = ".token_embedding."
"""In the name of the embedding; tied to the output layer, it has this name alone."""
COLUMNS = 5
"""Of a window in :class:`Places`."""


@dataclass(frozen=True, slots=True)
class Logged:
    """What a step came to, beside what it read."""

    loss: float
    rate: float
    grad_norm: float | None
    """Before clipping; None: nanotron takes none without clipping."""
    embedding_norm: float
    """After the step."""
    labels: int
    """That count, of the global batch."""
    seconds: float


class Recording(Protocol):
    """What the trainer tells: see :class:`smoltrain.nanotron.launch.Recorder`."""

    def record(self) -> None:
        """Write the ledger up to now."""

    def labels(self) -> int:
        """Return the labels that count in this rank's share of the step last taken."""

    def log(self, step: Logged) -> None:
        """Write a step's line of the log."""


class Trainer(DistributedTrainer):  # type: ignore[misc] # nanotron has no types
    """nanotron's trainer with a recorder at its hooks."""

    recorder: Recording
    _has_trained = False
    """Since the last checkpoint."""

    def seat(self) -> Seat:
        """Return where this process sits among the process groups."""
        groups = self.parallel_context
        first, last = get_input_output_pp_ranks(model=self.model)
        return Seat(
            dp_rank=dist.get_rank(groups.dp_pg),
            dp_size=groups.dp_pg.size(),
            cp_rank=dist.get_rank(groups.cp_pg),
            cp_size=groups.context_parallel_size,
            pp_rank=dist.get_rank(groups.pp_pg),
            input_pp_rank=first,
            output_pp_rank=last,
        )

    def pointer(self, rank: int) -> Any:
        """Return the placeholder for what a rank of the pipeline holds."""
        return TensorPointer(group_rank=rank)

    def is_first_rank(self) -> bool:
        """Say whether this process writes the ledger."""
        return bool(dist.get_rank(self.parallel_context.world_pg) == 0)

    def gathered(self, taken: list[Places]) -> list[Places]:
        """Return what all data-parallel ranks took, one element a step, in the order of the global batch."""
        micro_batches = self.n_micro_batches_per_batch
        if not taken:
            return []
        assert len(taken) % micro_batches == 0, "a step takes all its micro-batches"
        rows = len(taken[0].index) * micro_batches
        group = self.parallel_context.dp_pg
        mine = torch.from_numpy(_matrix(taken)).to(torch.device("cuda"))
        parts = [torch.empty_like(mine) for _ in range(group.size())]
        torch.distributed.all_gather(parts, mine, group=group)
        by_rank = [part.cpu().numpy().reshape(COLUMNS, -1, rows) for part in parts]
        whole = np.concatenate(by_rank, axis=2)
        return [Places(*whole[:, step].copy()) for step in range(whole.shape[1])]

    def training_step(self, dataloader: Any) -> Any:
        """Take a step, and keep the rate that it is taken with: afterwards the scheduler has the next one."""
        self._rate = float(self.lr_scheduler.get_last_lr()[0])
        self._has_trained = True
        return super().training_step(dataloader)

    def save_checkpoint(self) -> Any:
        """Write the ledger, then nanotron's checkpoint into an empty folder, then its seal.

        nanotron asks twice where a stage ends at an interval: the second time there is nothing to write.
        """
        self.recorder.record()
        folder = Path(self.config.checkpoints.checkpoints_path) / str(self.iteration_step)
        if not self._has_trained and fault_of(folder) is None:
            return folder
        world = self.parallel_context.world_pg
        if self._keeps_folder():
            discard(folder)
        torch.distributed.barrier(group=world)
        super().save_checkpoint()
        torch.distributed.barrier(group=world)  # other ranks may still be writing
        if self._keeps_folder():
            seal(folder)
        self._has_trained = False
        return folder

    def _keeps_folder(self) -> bool:
        """Say whether this process is the one of its file system that makes and seals folders."""
        if self.config.checkpoints.checkpoints_path_is_shared_file_system:
            return self.is_first_rank()
        return os.environ.get("LOCAL_RANK") == "0"

    def train_step_logs(self, outputs: Any, loss_avg: Any, z_loss_avg: Any, tbi_logs: Any) -> None:
        """Let nanotron log its line, then write ours."""
        super().train_step_logs(outputs, loss_avg, z_loss_avg, tbi_logs)
        embedding, labels = self._summed()
        if loss_avg is not None and dist.get_rank(self.parallel_context.world_pg) in self.logger_ranks:
            norm = self.grad_norm_unclipped.item() if self.config.optimizer.clip_grad is not None else None
            seconds = time.time() - self.iteration_start_time
            self.recorder.log(Logged(loss_avg.item(), self._rate, norm, embedding**0.5, int(labels), seconds))

    def _summed(self) -> tuple[float, float]:
        """Return the squared norm of the embedding and the labels of the step, over all ranks.

        A tensor-parallel rank has a part of the embedding, a data-parallel rank a part of the labels; where
        several ranks have the same, the first adds it. One sum of two numbers.
        """
        groups = self.parallel_context
        first_dp, first_tp = (dist.get_rank(group) == 0 for group in (groups.dp_pg, groups.tp_pg))
        mine = torch.zeros(2, dtype=torch.float64, device="cuda")
        if dist.get_rank(groups.cp_pg) == 0:
            if first_dp:
                for name, weight in self.unwrapped_model.named_parameters():
                    if EMBEDDING in name:
                        mine[0] += (
                            torch.linalg.vector_norm(weight.detach(), dtype=torch.float32).double() ** 2
                        )
            if first_tp and dist.get_rank(groups.pp_pg) == 0:
                mine[1] += self.recorder.labels()
        torch.distributed.all_reduce(mine, group=groups.world_pg)
        return float(mine[0]), float(mine[1])

    def enter_stage(self, bundle: Bundle) -> int:
        """Return how many steps of the bundle's stage are done, after checking that all numbers fit.

        A stage that begins is added to nanotron's own record of stages, as its ``run_train.py`` does.
        """
        stage, stages = self.config.data_stages[-1], self.metadata.data_stages
        done = int(self.iteration_step - (stage.start_training_step - 1))
        self._check_numbers(bundle, stage, done)
        if len(stages) < len(self.config.data_stages) and done == 0:
            stages.append(
                DataStageMetadata(
                    name=stage.name,
                    start_training_step=stage.start_training_step,
                    consumed_train_samples=0,
                    consumed_tokens_per_dataset_folder={},
                    sequence_length=self.sequence_length,
                )
            )
        recorded = stages[-1]
        _expect("stage of the checkpoint", recorded.name, stage.name)
        samples = done * bundle.batch_windows
        _expect("samples of the stage in the checkpoint", recorded.consumed_train_samples, samples)
        return done

    def _check_numbers(self, bundle: Bundle, stage: Any, done: int) -> None:
        plan = bundle.plan
        _expect("last of data_stages", stage.name, plan.name)
        _expect("tokens.sequence_length", self.sequence_length, plan.sequence_length)
        _expect(
            "windows a step (dp x micro batch x accumulation)", self.global_batch_size, plan.batch_windows
        )
        _expect("vocab_size", self.model_config.vocab_size, bundle.vocab_size)
        first, last = stage.start_training_step, stage.start_training_step + plan.steps - 1
        if not 0 <= done <= plan.steps:
            raise InputError(
                f"the checkpoint ends at step {self.iteration_step}, but {stage.name} is steps {first} to "
                f"{last}; resume from a checkpoint at step {first - 1} or inside the stage"
            )
        asked = self.config.tokens.train_steps
        if asked > last:
            raise InputError(
                f"tokens.train_steps is {asked}, but {stage.name} ends at step {last}: "
                "give a later stage a launch of its own"
            )


def build_trainer(config_file: Path) -> Trainer:
    """Return nanotron's trainer for a configuration file, model and optimizer built or loaded."""
    return Trainer(str(config_file))


def _matrix(taken: list[Places]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the columns of all windows taken: [5, windows]."""
    columns = [[one.index, one.source, one.pass_, one.shard, one.window] for one in taken]
    return np.ascontiguousarray(np.concatenate([np.stack(one) for one in columns], axis=1).astype(np.int64))


def _expect(what: str, seen: object, wanted: object) -> None:
    if seen != wanted:
        raise InputError(
            f"{what}: the configuration says {seen}, the bundle {wanted}; use the bundle's own nanotron.yaml"
        )
