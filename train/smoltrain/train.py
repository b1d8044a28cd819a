"""The reference trainer: a bundle into checkpoints, a log and a ledger, on one machine.

transformers' SmolLM3 with document masks, AdamW (embeddings not decayed), nanotron's schedule, clipped
gradients, micro-batches; how it is computed is :mod:`smoltrain.engine`'s, the data are
:func:`smoltrain.open_loader`'s, in the order of the plan. Every ``checkpoint_every`` steps the ledger segment
is written, then the checkpoint; a killed run goes on from the last checkpoint and ends with the same weights
to the bit (on a CPU: same machine, same number of threads; on a GPU: ``deterministic``). Of several processes
the first writes. It is not nanotron: it shows that what is handed over can be trained on, and it is the
yardstick for loss parity.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from smoldata.console import progress, say
from smoldata.errors import InputError, IntegrityError, TrainingError
from smoldata.files import single_writer
from smoltrain import checkpoint, validation
from smoltrain.bundle import Bundle, Places
from smoltrain.engine import Compute, Engine, build_optimizer
from smoltrain.hyperparameters import ModelSize, size_named
from smoltrain.ledger import check_ledger, truncate, write_segment
from smoltrain.loader import Batch, Loader, open_loader
from smoltrain.metrics import Meter, Step
from smoltrain.model import build_config, build_model
from smoltrain.parallel import World, joined, whole
from smoltrain.run import TRAINER, RunFolder, Settings
from smoltrain.runlog import append_row, read_log, truncate_log
from smoltrain.schedule import Schedule, from_nanotron, scaled
from smoltrain.tracking import Tracker, tracker

__all__ = ["Result", "build_optimizer", "train"]
KEEP_CHECKPOINTS = 2
"""Checkpoints that stay, unless said otherwise: the last, and one before it should that be damaged."""
EMBEDDING = "model.embed_tokens.weight"


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


def train(
    bundle: Bundle,
    settings: Settings,
    out: Path,
    *,
    fresh: bool = False,
    track: str | None = None,
    keep: int | None = None,
) -> Result | None:
    """Train, or go on with, the run in ``out``; return its figures (None in all processes but the first).

    ``fresh`` deletes an old run there first; ``track`` names a tracker; the last ``keep`` checkpoints stay
    (0: all). Raises :class:`TrainingError` if the
    loss is not finite, :class:`IntegrityError` if the ledger is not the plan's prefix, :class:`InputError` if
    ``out`` holds a run with other settings.
    """
    run = RunFolder(out)
    facts = {**asdict(settings), "plan": bundle.plan.name}
    with (
        _deterministic(settings),
        joined(settings.device) as world,
        single_writer(out) if world.first else nullcontext(),
    ):
        if world.first:
            if fresh:
                run.clear()
            run.prepare(settings, bundle.folder, _environment())
        world.wait()
        started = time.monotonic()
        with tracker(track if world.first else None, out.name, facts) as tell:
            _Trainer(bundle, settings, run, world, tell, KEEP_CHECKPOINTS if keep is None else keep).go_on()
        world.wait()
        if not world.first:
            return None
        return _result(bundle, settings, run, time.monotonic() - started)


def shape_of(settings: Settings) -> ModelSize:
    """Return the shape that is trained: the size's, changed as the settings say."""
    size = size_named(settings.size)
    if settings.kv_heads is None:
        return size
    if size.num_heads % settings.kv_heads:
        raise InputError(
            f"--kv-heads {settings.kv_heads} does not divide the {size.num_heads} heads of {settings.size}"
        )
    return replace(size, num_kv_heads=settings.kv_heads)


def schedule_of(bundle: Bundle, settings: Settings) -> tuple[Schedule, int]:
    """Return the learning rates of a run and its first step in them; see ``Settings.schedule``."""
    if settings.schedule == "scaled":
        return scaled(settings.learning_rate, settings.steps), 0
    if settings.schedule != "planned":
        raise InputError(f"unknown schedule {settings.schedule!r}; there are scaled and planned")
    import yaml

    path = bundle.folder / "nanotron.yaml"
    if not path.is_file():
        raise InputError(
            f"{bundle.folder} has no nanotron.yaml, so no planned schedule: use --schedule scaled"
        )
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    scheduler = values["optimizer"]["learning_rate_scheduler"]
    first: int = values["data_stages"][-1]["start_training_step"] - 1
    return from_nanotron(scheduler, values["tokens"]["train_steps"]), first


class _Trainer:
    """The state of a run in memory: engine, steps done and what they consumed."""

    def __init__(
        self, bundle: Bundle, settings: Settings, run: RunFolder, world: World, tell: Tracker, keep: int
    ) -> None:
        self._bundle, self._settings, self._run, self._world = bundle, settings, run, world
        self._tell, self._keep = tell, keep
        self._schedule, self._first_rate = schedule_of(bundle, settings)
        self._done = 0
        self._pending: list[Places] = []

    def go_on(self) -> None:
        """Do the steps that are missing, from the last checkpoint on."""
        settings, world = self._settings, self._world
        last = checkpoint.complete(self._run.checkpoints)
        if last and checkpoint.read_state(last[-1]).steps == settings.steps:
            self._say(f"{self._run.path}: all {settings.steps} steps are done, nothing to do")
            return
        self._say(TRAINER)
        self._engine = self._build()
        device = self._engine.device
        self._meter = Meter(self._bundle, shape_of(settings), settings.steps, device, world.size)
        self._held_out = (
            validation.held_out(self._bundle, settings.heldout_windows) if settings.heldout_every else []
        )
        if last:
            self._take_up(last[-1])
        world.wait()  # all have read the checkpoints before one is removed
        if world.first:
            truncate(self._run.ledger, self._done)
            truncate_log(self._run.log, self._done)
            truncate_log(self._run.heldout, self._done)
        loader = open_loader(self._bundle, rank=world.rank, world_size=world.size, start_step=self._done)
        self._all = Loader(self._bundle) if world.first else None
        with progress("train", settings.steps, width=60) if world.first else nullcontext(_silent) as advance:
            advance(self._done, "")
            while self._done < settings.steps:
                self._step(loader, advance)

    def _say(self, line: str) -> None:
        if self._world.first:
            say(line)

    def _take_up(self, folder: Path) -> None:
        state = checkpoint.load(folder, self._engine.model, self._engine.optimizer, self._engine.weights)
        self._engine.publish()
        self._done = state.steps
        self._meter.tokens.update(state.tokens_by_source)
        self._say(f"going on from {folder.name}")

    def _build(self) -> Engine:
        bundle, settings = self._bundle, self._settings
        config = build_config(
            shape_of(settings),
            vocab_size=bundle.vocab_size,
            eos_id=bundle.eos_id,
            sequence_length=bundle.sequence_length,
            rope_theta=settings.rope_theta,
            no_rope_interval=settings.no_rope_interval,
        )
        return Engine(
            lambda: build_model(config, settings.seed),
            compute_of(settings),
            settings.learning_rate,
            world=self._world,
            decay_embeddings=settings.decay_embeddings,
            document_masks=settings.document_masks,
        )

    def _step(self, loader: Loader, advance: Callable[[int, str], None]) -> None:
        started = time.monotonic()
        step = self._done
        batch = loader.batch(step)
        rate = self._schedule.rate(self._first_rate + step)
        done = self._update(batch, rate, started)
        self._done += 1
        due = self._settings.heldout_every and self._done % self._settings.heldout_every == 0
        held_out = (
            validation.losses(self._engine.evaluate, self._held_out, self._settings.micro_batch)
            if due
            else {}
        )
        if self._all is not None:
            self._record(self._all.places(step), done, held_out, advance)
        if self._done % self._settings.checkpoint_every == 0 or self._done == self._settings.steps:
            self._save()

    def _update(self, batch: Batch, rate: float, started: float) -> Step:
        """Take one optimizer step; the loss is the mean before it, the norm that before clipping."""
        engine = self._engine
        labels = engine.count(batch)
        loss_there = engine.backward(batch, self._settings.micro_batch, labels)
        norm = float(engine.update(rate))
        embedding = float(whole(torch.linalg.vector_norm(engine.weights[EMBEDDING].detach())))
        loss = float(loss_there)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"step {batch.step}: loss {loss}, gradient norm {norm}: training cannot go on; "
                f"`smoltrain what {batch.step}` shows the step's documents, a lower --learning-rate may help"
            )
        seconds = time.monotonic() - started
        tokens = batch.ids.size * self._world.size
        return Step(batch.step, loss, rate, norm, embedding, labels, tokens, seconds)

    def _record(
        self,
        places: Places,
        step: Step,
        held_out: dict[str, float],
        advance: Callable[[int, str], None],
    ) -> None:
        self._pending.append(places)
        for source in places.source.tolist():
            self._meter.tokens[self._bundle.sources[source]] += self._bundle.sequence_length
        row = self._meter.row(step, held_out)
        append_row(self._run.log, row)
        self._tell(row)
        advance(1, self._meter.line(row))

    def _save(self) -> None:
        """Write the ledger first: a checkpoint without its ledger could not be made good, the reverse can."""
        engine, first = self._engine, self._world.first
        if first:
            write_segment(self._run.ledger, self._bundle, self._done - len(self._pending), self._pending)
        checkpoint.save(
            self._run.checkpoints,
            self._done,
            engine.model,
            engine.optimizer,
            self._meter.tokens,
            engine.weights,
            writes=first,
        )
        self._pending.clear()
        if first and self._keep:
            checkpoint.prune(self._run.checkpoints, self._keep)


def compute_of(settings: Settings) -> Compute:
    """Return how a run with these settings is computed."""
    return Compute(
        device=settings.device,
        precision=settings.precision,
        attention=settings.attention,
        compiled=settings.compiled,
        recompute=settings.recompute,
        deterministic=settings.deterministic,
    )


def _silent(_amount: int, _what: str) -> None:
    """Show nothing: the progress of all processes but the first."""


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
def _deterministic(settings: Settings) -> Iterator[None]:
    """Have torch take only ways that give the same bits again, if the run is to be repeatable."""
    before = torch.are_deterministic_algorithms_enabled()
    if settings.device == "cuda" and settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
    torch.use_deterministic_algorithms(mode=settings.deterministic)
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
