"""The reference trainer: a bundle into checkpoints, a log and a ledger, on one machine.

transformers' SmolLM3 with document masks, AdamW (embeddings not decayed), warm-up-stable-decay, clipped
gradients, micro-batches; the data are :func:`smoltrain.open_loader`'s, in the order of the plan. Every
``checkpoint_every`` steps the ledger segment is written, then the checkpoint; a killed run goes on from the
last checkpoint and ends with the same weights to the bit (same machine, same number of threads). It is not
nanotron: it shows that what is handed over can be trained on, and it is the yardstick for loss parity.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoldata.console import progress, say
from smoldata.errors import IntegrityError, TrainingError
from smoldata.files import single_writer
from smoltrain import checkpoint
from smoltrain.bundle import Bundle, Places
from smoltrain.hyperparameters import Optimizer, size_named
from smoltrain.ledger import check_ledger, truncate, write_segment
from smoltrain.loader import Batch, Loader, open_loader
from smoltrain.model import build_config, build_model, summed_loss
from smoltrain.run import TRAINER, RunFolder, Settings
from smoltrain.runlog import Row, append_row, read_log, truncate_log
from smoltrain.schedule import scaled
from smoltrain.torch_data import to_tensors

KEEP_CHECKPOINTS = 2


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished run came to."""

    run: Path
    steps: int
    tokens: int
    first_loss: float
    last_loss: float
    ledger_windows: int
    weights_xxh3_128: str
    seconds: float
    """Of this call; a run that had nothing to do takes none."""


def train(bundle: Bundle, settings: Settings, out: Path, *, fresh: bool = False) -> Result:
    """Train, or go on with, the run in ``out``; return its figures. ``fresh`` deletes an old run there first.

    Raises :class:`TrainingError` if the loss is not finite, :class:`IntegrityError` if the ledger is not the
    plan's prefix, :class:`InputError` if ``out`` holds a run with other settings.
    """
    run = RunFolder(out)
    with single_writer(out), _deterministic():
        if fresh:
            run.clear()
        run.prepare(settings, bundle.folder, _environment())
        started = time.monotonic()
        trainer = _Trainer(bundle, settings, run)
        trainer.go_on()
        return _result(bundle, settings, run, time.monotonic() - started)


class _Trainer:
    """The state of a run in memory: model, optimizer, steps done and what they consumed."""

    def __init__(self, bundle: Bundle, settings: Settings, run: RunFolder) -> None:
        self._bundle, self._settings, self._run = bundle, settings, run
        self._schedule = scaled(settings.learning_rate, settings.steps)
        self._done = 0
        self._tokens = dict.fromkeys(bundle.sources, 0)
        self._pending: list[Places] = []

    def go_on(self) -> None:
        """Do the steps that are missing, from the last checkpoint on."""
        last = checkpoint.complete(self._run.checkpoints)
        if last and checkpoint.read_state(last[-1]).steps == self._settings.steps:
            say(f"{self._run.path}: all {self._settings.steps} steps are done, nothing to do")
            return
        say(TRAINER)
        self._model, self._optimizer = self._build()
        if last:
            state = checkpoint.load(last[-1], self._model, self._optimizer)
            self._done, self._tokens = state.steps, {**self._tokens, **state.tokens_by_source}
            say(f"going on from {last[-1].name}")
        truncate(self._run.ledger, self._done)
        truncate_log(self._run.log, self._done)
        loader = open_loader(self._bundle, start_step=self._done)
        with progress("train", self._settings.steps) as advance:
            advance(self._done, "")
            while self._done < self._settings.steps:
                self._step(loader, advance)

    def _build(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        bundle, settings = self._bundle, self._settings
        config = build_config(
            size_named(settings.size),
            vocab_size=bundle.vocab_size,
            eos_id=bundle.eos_id,
            sequence_length=bundle.sequence_length,
            rope_theta=settings.rope_theta,
        )
        model = build_model(config, settings.seed)
        return model, build_optimizer(model, settings.learning_rate)

    def _step(self, loader: Loader, advance: Callable[[int, str], None]) -> None:
        started = time.monotonic()
        step = self._done
        batch = loader.batch(step)
        loss, norm = self._update(batch, self._schedule.rate(step))
        self._pending.append(batch.places)
        for source in batch.places.source.tolist():
            self._tokens[self._bundle.sources[source]] += self._bundle.sequence_length
        self._done += 1
        seconds = time.monotonic() - started
        append_row(self._run.log, self._row(step, loss, norm, batch, seconds))
        advance(1, f"loss {loss:.3f} {batch.ids.size / seconds:,.0f} tok/s")
        if self._done % self._settings.checkpoint_every == 0 or self._done == self._settings.steps:
            self._save()

    def _update(self, batch: Batch, rate: float) -> tuple[float, float]:
        """Take one optimizer step; return the mean loss before it and the gradient norm before clipping."""
        loss = backward(self._model, batch, self._settings.micro_batch)
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), Optimizer().clip_grad).item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"step {batch.step}: loss {loss}, gradient norm {norm}: training cannot go on; "
                f"`smoltrain what {batch.step}` shows the step's documents, a lower --learning-rate may help"
            )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss, norm

    def _row(self, step: int, loss: float, norm: float, batch: Batch, seconds: float) -> Row:
        drawn = {f"data/{name}/tokens": tokens for name, tokens in self._tokens.items() if tokens}
        return {
            "step": step,
            "loss": loss,
            "learning_rate": self._schedule.rate(step),
            "grad_norm": norm,
            "labels": int(batch.mask.sum()),
            "tokens": sum(self._tokens.values()),
            **drawn,
            "seconds": round(seconds, 4),
            "tokens_per_second": round(batch.ids.size / seconds, 1),
        }

    def _save(self) -> None:
        """Write the ledger first: a checkpoint without its ledger could not be made good, the reverse can."""
        first = self._done - len(self._pending)
        write_segment(self._run.ledger, self._bundle, first, self._pending)
        checkpoint.save(self._run.checkpoints, self._done, self._model, self._optimizer, self._tokens)
        self._pending.clear()
        checkpoint.prune(self._run.checkpoints, KEEP_CHECKPOINTS)


def build_optimizer(model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Return AdamW with the released values: embeddings are not decayed, all else is, norms included."""
    values = Optimizer()
    decayed = [p for name, p in model.named_parameters() if values.no_decay not in name]
    exempt = [p for name, p in model.named_parameters() if values.no_decay in name]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": values.weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=learning_rate, betas=(values.beta1, values.beta2), eps=values.eps, fused=True
    )


def backward(model: nn.Module, batch: Batch, micro_batch: int) -> float:
    """Add the gradient of the mean loss over the batch's labels, in micro-batches; return that loss."""
    labels = max(1, int(batch.mask.sum()))
    tensors = to_tensors(batch)
    total = 0.0
    for begin in range(0, len(batch.ids), micro_batch):
        rows = slice(begin, begin + micro_batch)
        loss = summed_loss(
            model,
            tensors["ids"][rows],
            tensors["positions"][rows],
            tensors["labels"][rows],
            tensors["mask"][rows],
        )
        (loss / labels).backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total / labels


def _result(bundle: Bundle, settings: Settings, run: RunFolder, seconds: float) -> Result:
    proof = check_ledger(run.ledger, bundle)
    if proof.steps != settings.steps:
        raise IntegrityError(
            f"{run.ledger}: the ledger has {proof.steps} steps, the run {settings.steps}; "
            "start again with --fresh"
        )
    rows = read_log(run.log)
    state = checkpoint.read_state(checkpoint.folder_of(run.checkpoints, settings.steps))
    return Result(
        run=run.path,
        steps=settings.steps,
        tokens=proof.windows * bundle.sequence_length,
        first_loss=float(rows[0]["loss"]),
        last_loss=float(rows[-1]["loss"]),
        ledger_windows=proof.windows,
        weights_xxh3_128=state.weights_xxh3_128,
        seconds=seconds,
    )


@contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before)


def _environment() -> dict[str, object]:
    import transformers

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
    }
