"""What an evaluation is asked to do, as a value: the engine makes it, the child process reads it.

Also what its scores say: the settings that decide a number besides task, data and checkpoint.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoldata.files import xxh3_128
from smoleval.data import Profile
from smoleval.definition import TaskDefinition
from smoleval.scores import Score, canonical, sha256_rows

if TYPE_CHECKING:
    from smoleval.pipeline import Measured

_DECIDING_CODE = (
    "asking.py",
    "intervals.py",
    "lightmodel.py",
    "loglikelihood.py",
    "generate.py",
    "pipeline.py",
    "loading.py",
)


@dataclass(frozen=True, slots=True)
class Item:
    """A task in a mode, on the rows of a profile."""

    task: str
    mode: str
    profile: Profile


@dataclass(frozen=True, slots=True)
class Job:
    """One model and the tasks that it is to be asked."""

    checkpoint: str
    """Folder in Hugging Face form."""
    label: str
    checkpoint_sha256: str
    step: int | None
    tokenizer: str
    """Folder or file of the tokenizer."""
    tokenizer_sha256: str
    """Empty where the checkpoint's own is used."""
    items: tuple[Item, ...]
    packages: str
    scores: str
    """Folder of score files."""
    details: str
    limit: int | None
    device: str
    dtype: str
    max_length: int
    batch_tokens: int
    cache_tokens: int
    max_new_tokens: int | None
    seed: int

    def as_json(self) -> dict[str, Any]:
        """Return the job as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Job":
        """Return the job that :meth:`as_json` gave."""
        items = tuple(Item(**item) for item in values["items"])
        return cls(**(dict(values) | {"items": items}))

    def settings(self) -> str:
        """Return what decides numbers besides task, data and checkpoint; batch sizes only round them."""
        named = {
            "device": self.device,
            "dtype": self.dtype,
            "limit": self.limit,
            "max_length": self.max_length,
            "max_new_tokens": self.max_new_tokens,
            "seed": self.seed,
            "tokenizer_sha256": self.tokenizer_sha256,
        }
        return canonical({name: value for name, value in named.items() if value not in (None, "")})


@functools.cache
def engine() -> str:
    """Return the name and version of the engine."""
    return f"lighteval {version('lighteval')}"


@functools.cache
def code_version() -> str:
    """Return a digest of the modules that turn a model and a task into numbers.

    Prompts and metrics have versions of their own, in the task's.
    """
    here = Path(__file__).resolve().parent
    return sha256_rows([name, xxh3_128(here / name)] for name in _DECIDING_CODE)[:32]


def score_rows(
    job: Job,
    item: Item,
    task: TaskDefinition,
    data_sha256: str,
    revision: str,
    measured: Sequence["Measured"],
) -> list[Score]:
    """Return the scores of a task, ready to be written."""
    return [
        Score(
            task=task.name,
            subset=one.subset,
            suite=task.suite,
            mode=item.mode,
            shots=task.few_shot.shots,
            metric=one.metric,
            value=one.value,
            stderr=one.stderr,
            items=one.items,
            task_version=task.task_version,
            data_profile=item.profile,
            data_revision=revision,
            data_sha256=data_sha256,
            checkpoint=job.label,
            checkpoint_sha256=job.checkpoint_sha256,
            step=job.step,
            engine=engine(),
            settings=job.settings(),
            code_version=code_version(),
        )
        for one in measured
    ]


def details_path(score_file: Path, scores: Path, details: Path) -> Path:
    """Return where the items behind a score file are kept: the same name under another folder."""
    return details / score_file.relative_to(scores)


def is_same(scores: Sequence[Score], job: Job, item: Item, task: TaskDefinition, data_sha256: str) -> bool:
    """Tell whether recorded scores are what this job would compute for a task."""
    first = scores[0]
    asked = (
        item.mode,
        task.task_version,
        item.profile,
        data_sha256,
        engine(),
        job.settings(),
        code_version(),
    )
    seen = (first.mode, first.task_version, first.data_profile, first.data_sha256, first.engine)
    return (*seen, first.settings, first.code_version) == asked
