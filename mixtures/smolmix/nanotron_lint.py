"""Somebody's nanotron configuration into findings: whether the run can do what the file says.

No data and no plan of ours is needed; where the folders are on this machine their shards are counted too.
Each finding has a number and a fix. The faults are those of nanotron at bc1f5a61 (``src/nanotron/data``).
Cost: milliseconds, and up to 3 s for a lineage so short that its record is worked out window for window.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

from smoldata.licences import LicenceClass
from smoldata.registry import load_registry
from smolmix import licences, nanotron_folders
from smolmix.findings import NOTHING_TO_DO, Finding
from smolmix.licences import Licensed
from smolmix.literals import decimal_text
from smolmix.nanotron_blend import BYTES_PER_SAMPLE, exact_shares, float_error
from smolmix.nanotron_ledger import StageRun, read_path_asks, simulate, source_of
from smolmix.nanotron_schema import DataStage, LearningRateScheduler, NanotronConfig

_MUCH_MEMORY: Final = 10**9
_WIDE_VOCABULARY: Final = 65_536
_WIDE_BYTES: Final = 4
_HALF: Final = Fraction(1, 2)
_ROUNDING: Final = Fraction(1, 10**9)
"""Decimals of repeating fractions miss 1 by less."""
EXACT_SAMPLES: Final = 1_000_000
"""Samples up to which the record of a lineage is worked out exactly: 3 s."""


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
    found += _blend(config)
    found += _record(config)
    found += _folders(config, uses)
    return found


def runs_of(config: NanotronConfig) -> list[StageRun]:
    """Return the launches that lead to this one and itself: one a stage, all at the file's length."""
    return [
        StageRun(
            stage.name,
            use.steps,
            tuple(stage.data.dataset.dataset_folder),
            tuple(stage.data.dataset.dataset_weights),
            config.tokens.sequence_length,
        )
        for stage, use in zip(config.data_stages, stages_of(config), strict=True)
    ]


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
    length = config.tokens.sequence_length
    others = [stage for stage in config.data_stages if stage.sequence_length not in {None, length}]
    if others:
        yield Finding(
            "length-change",
            "error",
            None,
            f"stage {others[0].name} has sequence_length {others[0].sequence_length}, "
            f"tokens.sequence_length is "
            f"{length}: a launch reads and trains windows of {length} in every stage; a fresh run stops "
            "after its first step (Sequence length mismatch), a resumed one goes on without a word",
            "start a new lineage at the new length, with its own folders: offsets of the old one would be "
            "counted in windows that are cut elsewhere",
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
            "error",
            twice[0],
            f"stage {stage.name}: {len(twice)} folders stand twice; both entries read the same windows, "
            "only one is recorded, and no checkpoint of the stage can be loaded (Mismatch between the total "
            "consumed)",
            "write each folder once, with the sum of its weights",
        )


def _blend(config: NanotronConfig) -> Iterator[Finding]:
    """Yield how far the greedy blend can be from its weights, proved for any weights.

    Before each pick the errors ``w * s - count`` sum to 0 or more, so the largest is at least 0: no folder is
    ever 1 ahead. The others being less than 1 ahead each, none is as much behind as there are others.
    """
    most = max(len(stage.data.dataset.dataset_folder) for stage in config.data_stages)
    yield Finding(
        "blend-bound",
        "info",
        None,
        f"nanotron's greedy blend of {most} folders is at any step less than 1 window ahead of weight x "
        f"windows and less than {max(most - 1, 1)} behind",
        "`--replay` gives its windows one by one",
    )


def _record(config: NanotronConfig) -> Iterator[Finding]:
    """Yield what nanotron records wrongly of the stages, and what the last one skips or repeats for it."""
    runs = runs_of(config)
    if len(runs) < 2:  # noqa: PLR2004 - the record of a first stage is right
        return
    what = (
        "from the second stage on nanotron records the windows of other samples than it reads (the global "
        "step's): "
    )
    fix = "keep a ledger of your own; a third stage starts where the record says"
    if sum(run.steps for run in runs) * config.batch_windows > EXACT_SAMPLES:
        most = 2 * max(len(run.folders) for run in runs)
        message = f"a folder's record is off by less than {most} windows a stage"
        yield Finding("consumption-record", "warning", None, what + message, fix)
        return
    ledgers = simulate(runs, config.batch_windows)
    off = [(abs(one.recorded - one.read), one, ledger) for ledger in ledgers for one in ledger.folders]
    worst, folder, ledger = max(off, key=lambda found: found[0])
    if worst:
        again = sum(one.repeated or 0 for one in ledgers[-1].folders)
        never = sum(one.skipped or 0 for one in ledgers[-1].folders)
        message = (
            f"of {folder.folder} {folder.read:,} are read in {ledger.name} and {folder.recorded:,} recorded; "
            f"{ledgers[-1].name} reads {again:,} windows again and passes over {never:,}"
        )
        yield Finding("consumption-record", "warning", folder.folder, what + message, fix)


def _folders(config: NanotronConfig, uses: list[StageUse]) -> Iterator[Finding]:
    """Yield what the folders on this machine lack or lose, over all stages of the lineage."""
    needed: dict[str, Fraction] = {}
    for use in uses:
        for folder, windows in use.folders.items():
            needed[folder] = needed.get(folder, Fraction(0)) + windows
    seen = nanotron_folders.look_at_all(config)
    yield from nanotron_folders.capacity(seen, needed)
    yield from nanotron_folders.remainders(seen, config.tokens.sequence_length)
    last, run = config.data_stages[-1], runs_of(config)[-1]
    if last.data.dataset.dataset_read_path:
        held = {name: folder.windows for name, folder in seen.items() if folder is not None}
        asked = read_path_asks(run, config.tokens.train_steps, config.batch_windows, held)
        yield from nanotron_folders.read_path(last.name, asked, held)


def lint_licences(config: NanotronConfig, forbidden: Collection[LicenceClass]) -> list[Finding]:
    """Return the findings on the licences of folders that bear the name of a shipped source."""
    known = load_registry().sources
    drawn: dict[str, Fraction] = {}
    for use in stages_of(config):
        for folder, windows in use.folders.items():
            drawn[source_of(folder)] = drawn.get(source_of(folder), Fraction(0)) + windows
    rows = [Licensed(name, known[name].licence, int(drawn[name])) for name in sorted(drawn) if name in known]
    return licences.findings(rows, "windows", forbidden)
