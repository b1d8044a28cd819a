"""nanotron's trainer on our loader: what ``smoltrain nanotron run`` starts on every rank, under torchrun.

nanotron's ``DistributedTrainer`` is used as its own ``run_train.py`` uses it, with one difference: the
dataloader it is given is :class:`smoltrain.nanotron.feed.Feed`, so that the order is the plan's and no
folder of the configuration is ever opened. A subclass writes the ledger before each checkpoint and the log
after each step; nothing of nanotron is changed. Runs in nanotron's environment, which must also have
numpy, pyarrow, rich and xxhash (and fsspec, where shards come from a URL).

Before the first step: the configuration fits the bundle (stage, start step, length, batch, vocabulary), and
the checkpoint that was loaded ends where this stage begins, or inside it.
"""

import argparse
import os
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smoldata.console import say
from smoldata.errors import SmolError
from smoldata.files import single_writer, write_json
from smoltrain.bundle import Bundle, open_bundle
from smoltrain.ledger import check_ledger, truncate, write_segment
from smoltrain.loader import open_loader
from smoltrain.nanotron.feed import Feed, Seat, check_shares, consumed_before
from smoltrain.run import FORMAT_VERSION, RunFolder
from smoltrain.runlog import append_row, consumed, truncate_log

if TYPE_CHECKING:
    from smoltrain.nanotron.trainer import Logged, Trainer

TRAINER = "nanotron, with the loader of smoltrain"


def main() -> None:
    """Train one rank; errors of ours end with one line and exit code 1."""
    parser = argparse.ArgumentParser(prog="smoltrain.nanotron.launch", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--config-file", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the ledger and the log")
    parser.add_argument("--root", help="folder or URL of the shards, if not where the bundle says")
    parser.add_argument("--cache", type=Path, help="the folder that shards of a URL are copied to")
    parser.add_argument("--cache-gb", type=float, help="the most that the cache is to hold")
    parser.add_argument("--attention", choices=["flash", "varlen"], default="flash")
    arguments = parser.parse_args()
    try:
        run(arguments)
    except SmolError as error:
        say(f"error: {error}")
        sys.exit(1)


def run(arguments: argparse.Namespace) -> None:
    """Train the stage of a bundle to the end of its configuration, and prove what was read."""
    if arguments.attention == "varlen":
        from smoltrain.nanotron import standin

        standin.install()
        say("attention: torch.nn.attention.varlen stands in for flash-attn, as --attention varlen asks")
    from smoltrain.nanotron.trainer import build_trainer

    remote = "://" in str(arguments.root)
    bundle = open_bundle(arguments.bundle, None if remote else arguments.root)
    trainer = build_trainer(arguments.config_file)
    bound = None if arguments.cache_gb is None else int(arguments.cache_gb * 1e9)
    far = Far(str(arguments.root), arguments.cache, bound) if remote else Far()
    recorder = Recorder(bundle, RunFolder(arguments.out), trainer, far)
    # The rank that writes holds the folder: a rank that outlives a killed torchrun holds it as well.
    with single_writer(arguments.out) if trainer.is_first_rank() else nullcontext():
        recorder.begin()
        trainer.recorder = recorder
        trainer.train({bundle.plan.name: recorder.feed})
        recorder.finish()


@dataclass(frozen=True, slots=True)
class Far:
    """Where shards come from, if not from this machine."""

    url: str | None = None
    cache: Path | None = None
    cache_bytes: int | None = None


class Recorder:
    """Stands between nanotron's trainer and our files: the feed going in, ledger and log coming out."""

    def __init__(
        self,
        bundle: Bundle,
        run_folder: RunFolder,
        trainer: "Trainer",
        far: Far,
    ) -> None:
        self._bundle, self._run, self._trainer = bundle, run_folder, trainer
        self.done = trainer.enter_stage(bundle)
        self._written = self.done
        consumed = consumed_before(bundle, self.done)
        seat: Seat = trainer.seat()
        check_shares(bundle, seat, trainer.micro_batch_size)
        loader = open_loader(
            bundle,
            rank=seat.dp_rank,
            world_size=seat.dp_size,
            start_step=self.done,
            root=far.url,
            cache=far.cache,
            cache_bytes=far.cache_bytes,
        )
        self.feed = Feed(
            loader, seat, micro_batch=trainer.micro_batch_size, pointer=trainer.pointer, consumed=consumed
        )
        self._writes = trainer.is_first_rank()

    def begin(self) -> None:
        """Record what was asked; drop what a killed launch wrote after the checkpoint that was loaded."""
        if not self._writes:
            return
        settings = {"lock": self._bundle.plan.lock.hash}
        write_json(
            self._run.facts,
            {
                "format_version": FORMAT_VERSION,
                "trainer": TRAINER,
                "bundle": Path(os.path.relpath(self._bundle.folder, self._run.path)).as_posix(),
                "settings": settings,
                "environment": {},
            },
        )
        truncate(self._run.ledger, self.done)
        truncate_log(self._run.log, self.done)
        truncate_log(self._run.heldout, self.done)
        name, steps = self._bundle.plan.name, self._bundle.steps
        say(f"{name}: from step {self.done} of {steps}, in the order of the plan")

    def record(self) -> None:
        """Write what was handed over since the last call; every rank must call it at the same step."""
        steps = self._trainer.gathered(self.feed.taken())
        if self._writes and steps:
            write_segment(self._run.ledger, self._bundle, self._written, steps)
        self._written += len(steps)

    def labels(self) -> int:
        """Return the labels that count in this rank's share of the step last taken."""
        return self.feed.labels

    def log(self, done: "Logged") -> None:
        """Append a step to the log; called on the rank that has the loss."""
        stats = self.feed.get_consumption_stats()
        step = self.feed.step - 1
        windows = self._bundle.batch_windows
        append_row(
            self._run.log,
            {
                "step": step,
                "loss": done.loss,
                "learning_rate": done.rate,
                "grad_norm": done.grad_norm,
                "embedding_norm": done.embedding_norm,
                "labels": done.labels,
                "tokens": sum(one["tokens"] for one in stats.values()),
                **consumed(self._bundle, {name: one["tokens"] for name, one in stats.items()}),
                "seconds": round(done.seconds, 4),
                "tokens_per_second": round(windows * self._bundle.sequence_length / done.seconds, 1),
            },
        )

    def finish(self) -> None:
        """Write what is left, and prove the ledger."""
        self.record()
        if self._writes:
            proof = check_ledger(self._run.ledger, self._bundle)
            say(
                f"proved: the ledger equals the plan, window for window, over {proof.steps:,} steps "
                f"({proof.windows:,} windows)"
            )


if __name__ == "__main__":
    main()
