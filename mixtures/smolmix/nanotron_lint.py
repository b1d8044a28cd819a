"""Somebody's nanotron configuration into findings: whether the run can do what the file says.

No data and no plan of ours is needed; where the folders are on this machine their shards are counted too.
Each finding has a number and a fix. The faults are those of nanotron at bc1f5a61 (``src/nanotron/data``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

from smolmix.findings import NOTHING_TO_DO, Finding
from smolmix.literals import decimal_text
from smolmix.nanotron_blend import BYTES_PER_SAMPLE, exact_shares, float_error
from smolmix.nanotron_schema import Dataset, DataStage, LearningRateScheduler, NanotronConfig

_MUCH_MEMORY: Final = 10**9
_WIDE_VOCABULARY: Final = 65_536
_WIDE_BYTES: Final = 4
_HALF: Final = Fraction(1, 2)
_ROUNDING: Final = Fraction(1, 10**9)
"""Decimals of repeating fractions miss 1 by less."""


@dataclass(frozen=True, slots=True)
class StageUse:
    """A stage of the file: its steps and the windows that it draws from each folder."""

    name: str
    first_step: int
    """Counted from 1, as in the file."""
    steps: int
    windows: int
    folders: dict[str, Fraction]
    """Exact expectation by folder; the greedy blend draws about this many."""


def stages_of(config: NanotronConfig) -> list[StageUse]:
    """Return the stages of a configuration with what they draw."""
    starts = [stage.start_training_step for stage in config.data_stages] + [config.tokens.train_steps + 1]
    found = []
    for stage, (first, after) in zip(config.data_stages, pairwise(starts), strict=True):
        windows = (after - first) * config.batch_windows
        dataset = stage.data.dataset
        drawn: dict[str, Fraction] = {}
        for folder, share in zip(dataset.dataset_folder, exact_shares(dataset.dataset_weights), strict=True):
            drawn[folder] = drawn.get(folder, Fraction(0)) + share * windows
        found.append(StageUse(stage.name, first, after - first, windows, drawn))
    return found


def lint(config: NanotronConfig) -> list[Finding]:
    """Return what is wrong or worth knowing, in the order of the file."""
    found = list(_launch(config))
    uses = stages_of(config)
    for stage, use in zip(config.data_stages, uses, strict=True):
        found += _weights(stage, use)
        found += _dataset(stage)
    found += _capacity(config, uses)
    return found


def _launch(config: NanotronConfig) -> Iterator[Finding]:
    tokens, decay = config.tokens, config.optimizer.learning_rate_scheduler
    samples = tokens.train_steps * config.batch_windows
    size = samples * BYTES_PER_SAMPLE
    yield Finding(
        "index-memory",
        "warning" if size > _MUCH_MEMORY else "info",
        None,
        f"the blend's index covers {samples:,} windows: {size / 1e9:.2f} GB in every process",
        "give each process that much memory" if size > _MUCH_MEMORY else NOTHING_TO_DO,
    )
    yield from _decay(decay, tokens.train_steps)
    if len(config.data_stages) > 1 and config.checkpoints.resume_checkpoint_path is None:
        yield Finding(
            "fresh-stages",
            "error",
            None,
            f"{len(config.data_stages)} data stages without resume_checkpoint_path: only the last stage's "
            "loader is built, and a fresh run stops with a KeyError of the first",
            "launch once a stage, each resuming from the checkpoint of the one before",
        )
    lengths = {stage.sequence_length or tokens.sequence_length for stage in config.data_stages}
    if len(lengths) > 1:
        yield Finding(
            "length-change",
            "error",
            None,
            f"stages of one lineage have sequence lengths {sorted(lengths)}: NotImplementedError",
            "start a new lineage at the new length, with its own folders",
        )


def _decay(decay: LearningRateScheduler, steps: int) -> Iterator[Finding]:
    start, end = decay.lr_decay_starting_step, decay.lr_decay_starting_step + decay.lr_decay_steps - 1
    if start >= steps:  # the first step is 0 in some files, 1 in others
        message = f"the decay starts at step {start:,}, after this launch, which ends at {steps:,}"
        yield Finding("decay-share", "info", None, message, NOTHING_TO_DO)
        return
    share = decimal_text(Fraction(decay.lr_decay_steps, steps) * 100, 2)
    message = f"the decay is {decay.lr_decay_steps:,} of {steps:,} steps ({share} %)"
    yield Finding("decay-share", "info", None, message, NOTHING_TO_DO)
    if abs(end - steps) > 1:  # published files count the first step from 0 and from 1
        yield Finding(
            "decay-end",
            "warning",
            None,
            f"the decay ends at step {end:,}, the run at {steps:,}",
            "make lr_decay_starting_step + lr_decay_steps - 1 equal train_steps",
        )


def _weights(stage: DataStage, use: StageUse) -> Iterator[Finding]:
    weights = stage.data.dataset.dataset_weights
    total = sum((Fraction(repr(float(weight))) for weight in weights), Fraction(0))
    if abs(total - 1) > _ROUNDING:
        yield Finding(
            "weights-sum",
            "info",
            None,
            f"stage {stage.name}: {len(weights)} weights sum to {decimal_text(total, 9)}; "
            "nanotron divides by it",
            "write weights that sum to 1 if the file is to say what is read",
        )
    for folder, windows in use.folders.items():
        if windows < 1:
            yield Finding(
                "starved-folder",
                "warning",
                folder,
                f"stage {stage.name}: {folder} gets {decimal_text(windows, 4)} of {use.windows:,} windows",
                "raise its weight, or remove it",
            )
    error = float_error(weights, use.windows)
    if error > _HALF:
        yield Finding(
            "float-weights",
            "warning",
            None,
            f"stage {stage.name}: float64 weights miss the file's by up to {decimal_text(error, 3)} windows",
            "use weights with fewer digits",
        )


def _dataset(stage: DataStage) -> Iterator[Finding]:
    dataset = stage.data.dataset
    local = [folder for folder in dataset.dataset_folder if "s3" not in folder]
    if local:
        yield Finding(
            "s3-path",
            "error",
            local[0],
            f"stage {stage.name}: {len(local)} of {len(dataset.dataset_folder)} folders have no 's3' in "
            "their path; nanotron stops after step 1 (Only S3 paths are supported for consumption stats)",
            "put the shards under a folder with s3 in its name, such as s3-local/",
        )
    if dataset.vocab_size > _WIDE_VOCABULARY and dataset.token_size_in_bytes < _WIDE_BYTES:
        yield Finding(
            "token-width",
            "error",
            None,
            f"stage {stage.name}: {dataset.vocab_size:,} ids do not fit in "
            f"{dataset.token_size_in_bytes} bytes",
            "set token_size_in_bytes to 4",
        )
    twice = sorted({f for f in dataset.dataset_folder if dataset.dataset_folder.count(f) > 1})
    if twice:
        yield Finding(
            "folder-twice",
            "warning",
            twice[0],
            f"stage {stage.name}: {len(twice)} folders stand twice; both entries read the same windows",
            "write each folder once, with the sum of its weights",
        )


def _capacity(config: NanotronConfig, uses: list[StageUse]) -> Iterator[Finding]:
    """Yield a finding for each folder on this machine that runs out, over all stages of the lineage."""
    needed: dict[str, Fraction] = {}
    datasets: dict[str, Dataset] = {}
    for stage, use in zip(config.data_stages, uses, strict=True):
        for folder, windows in use.folders.items():
            needed[folder] = needed.get(folder, Fraction(0)) + windows
            datasets[folder] = stage.data.dataset
    unseen = 0
    for folder, windows in needed.items():
        held = count_windows(folder, datasets[folder].token_size_in_bytes, config.tokens.sequence_length)
        if held is None:
            unseen += 1
        elif held < windows:
            yield Finding(
                "folder-runs-out",
                "error",
                folder,
                f"{folder} holds {held:,} windows, the stages draw {decimal_text(windows, 1)}: nanotron does "
                "not start again at the beginning, it stops with an IndexError",
                f"link its shards {-(-windows // held)} times, or lower its weight"
                if held
                else "put shards there",
            )
    if unseen:
        yield Finding(
            "folders-not-seen",
            "info",
            None,
            f"{unseen} of {len(needed)} folders are not on this machine: whether they hold enough is open",
            "run the same check where the shards are",
        )


def count_windows(folder: str, token_bytes: int, sequence_length: int) -> int | None:
    """Return the windows that nanotron finds in a local folder (``*.ds``, not recursive); None: no folder."""
    path = Path(folder)
    if "://" in folder or not path.is_dir():
        return None
    window_bytes = token_bytes * (sequence_length + 1)
    return sum(file.stat().st_size // window_bytes for file in path.glob("*.ds"))
