"""The folder of a run: what was asked, what is there, whether it can go on.

::

    runs/<name>/
    ├── run.json                 settings, plan lock, trainer and versions; written once
    ├── log.jsonl                a line a step
    ├── heldout.jsonl            held-out losses of its checkpoints, if they were asked for
    ├── ledger/                  steps-<first>-<end>.parquet
    └── checkpoints/             step-<steps done>/
"""

import json
import os
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from smoldata.console import say
from smoldata.errors import InputError
from smoldata.files import remove_leftovers, write_json
from smoltrain.folders import discard, remove_unfinished

FORMAT_VERSION = 1
TRAINER = "smoltrain reference trainer (transformers SmolLM3 on one machine; not nanotron)"


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides every weight of a run; another value is another run."""

    lock: str
    """Lock hash of the plan."""
    size: str
    steps: int
    micro_batch: int
    """Windows of one forward and backward pass; sums are rounded by it, nothing else changes."""
    checkpoint_every: int
    learning_rate: float
    rope_theta: float
    seed: int
    schedule: str = "scaled"
    """``scaled`` to the run's steps, or ``planned``: the absolute one in the bundle's nanotron file."""
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    attention: str = "auto"
    compiled: bool = False
    recompute: bool = False
    deterministic: bool = True
    kv_heads: int | None = None
    """Heads of keys and values, if not the size's: as many as heads is multi-head attention."""
    no_rope_interval: int | None = None
    """Every which layer has no rotary positions, if not every 4th; 0: all have them."""
    document_masks: bool = True
    decay_embeddings: bool = False
    heldout_every: int = 0
    """Steps between held-out losses of each source in the log; 0: none."""
    heldout_windows: int = 4


_DEFAULTS = {one.name: one.default for one in fields(Settings) if one.default is not MISSING}


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths inside a run."""

    path: Path

    @property
    def ledger(self) -> Path:
        """Return the folder of ledger segments."""
        return self.path / "ledger"

    @property
    def checkpoints(self) -> Path:
        """Return the folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        """Return the log."""
        return self.path / "log.jsonl"

    @property
    def heldout(self) -> Path:
        """Return the held-out losses that ``smoltrain heldout`` adds to the log."""
        return self.path / "heldout.jsonl"

    @property
    def facts(self) -> Path:
        """Return the record of what was asked."""
        return self.path / "run.json"

    def prepare(self, settings: Settings, bundle: Path, environment: dict[str, object]) -> None:
        """Record a new run, or make sure that the one here was asked the same; clear what a kill left.

        Raises :class:`InputError` that names the settings which differ.
        """
        if self.facts.is_file():
            recorded = json.loads(self.facts.read_text(encoding="utf-8"))
            self._refuse_other(recorded["settings"], asdict(settings))
            if recorded["environment"] != environment:
                say(
                    f"note: this run began with {recorded['environment']}, now it is {environment}; "
                    "the weights may differ in their last bits"
                )
        else:
            write_json(
                self.facts,
                {
                    "format_version": FORMAT_VERSION,
                    "trainer": TRAINER,
                    "bundle": Path(os.path.relpath(bundle, self.path)).as_posix(),
                    "settings": asdict(settings),
                    "environment": environment,
                },
            )
        remove_leftovers(self.path)
        for folder in (self.path, self.checkpoints):
            remove_unfinished(folder)

    def _refuse_other(self, recorded: dict[str, object], asked: dict[str, object]) -> None:
        # A run of before a setting existed had what is now its default.
        recorded = {**_DEFAULTS, **recorded}
        differing = [
            f"{key} was {recorded.get(key)}, asked is {value}"
            for key, value in asked.items()
            if recorded.get(key) != value
        ]
        if differing:
            raise InputError(
                f"{self.path} holds another run: {'; '.join(differing)}; "
                "give another --out, or --fresh to delete it and start again"
            )

    def clear(self) -> None:
        """Remove what a run wrote here; its record goes last: a kill in between is a run not begun."""
        for folder in (self.checkpoints, self.ledger):
            discard(folder)
        self.heldout.unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)
        self.facts.unlink(missing_ok=True)


def run_of(path: Path) -> Path:
    """Return the run that ``path`` is, or is a checkpoint of; raises :class:`InputError` if neither."""
    for folder in (path, path.parent.parent):
        if RunFolder(folder).facts.is_file():
            return folder
    raise InputError(f"{path} is no run and no checkpoint of one; make a run with `make train STAGE=2`")


def bundle_of(run: Path) -> Path:
    """Return the bundle's folder that a run was trained on, as the run recorded it."""
    facts = json.loads(RunFolder(run).facts.read_text(encoding="utf-8"))
    if "bundle" not in facts:
        raise InputError(f"{RunFolder(run).facts} names no bundle; give it with --bundle")
    return run / str(facts["bundle"])


def check_lock(run: Path, lock: str) -> None:
    """Raise :class:`InputError` if a run recorded another plan than the one with this lock."""
    facts = RunFolder(run).facts
    recorded = json.loads(facts.read_text(encoding="utf-8"))["settings"]["lock"] if facts.is_file() else lock
    if recorded != lock:
        raise InputError(
            f"{run} was trained on plan {recorded}, the bundle holds plan {lock}; "
            "give the bundle of the run's own plan with --bundle, or train again"
        )


def newest_run(build: Path) -> Path:
    """Return the run with the newest checkpoint under a build folder; raises :class:`InputError` if none."""
    states = [
        path for path in build.glob("*/runs/*/checkpoints/step-*/state.json") if ".tmp-" not in str(path)
    ]
    if not states:
        raise InputError(f"there is no trained run in {build}; make one with `make train STAGE=2`")
    return max(states, key=lambda path: path.stat().st_mtime_ns).parents[2]
