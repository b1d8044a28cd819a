"""``eval/tasks/*.yaml`` -> validated task definitions: what a score means, as data.

A file has a ``suite`` and ``tasks``, one entry a task; ``each`` writes an entry out for several languages
(``{key}`` in any text of it is replaced). Everything that decides a score (data, prompt, few-shot rule,
metrics, generation) goes into ``task_version``, with the versions of the functions named; where offline rows
come from (``packaged``, ``fixture``) does not: the score names its data by hash. Cost: 60 ms for all files.
"""

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from smoldata.errors import InputError, RecipeError
from smoldata.files import digest_values
from smoldata.located import Located, read_located
from smoleval.functions import find

Suite = Literal["base", "base_multilingual", "instruct", "card_only", "extra", "ruler"]
UNVERIFIED = "unverified"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NOT_IN_VERSION = {"packaged", "fixture", "source", "note", "published_as"}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FewShot(_Model):
    """Which solved items stand before the question."""

    shots: Annotated[int, Field(ge=0)] = 0
    split: str | None = None
    """The split that the examples come from; None: no examples, or those written in the prompt function."""
    select: Literal["balanced", "random", "sequential", "random_sampling_from_train", "random_sampling"] = (
        "balanced"
    )
    """lighteval's names: balanced over gold answers, in order, or drawn anew for every item (seed 42)."""


class Generation(_Model):
    """How text is generated; absent where only log-likelihoods are read."""

    max_new_tokens: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    stop: tuple[str, ...] = ()
    """Texts that end an answer; they are cut off, as is the end-of-text token."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Answers drawn for each item."""


class Packaged(_Model):
    """Real items inside a package of locks/eval-sample.lock: read from its archive, never copied."""

    package: str
    path: str
    """File inside the archive."""
    also: tuple[str, ...] = ()
    """Further files that the reader takes (answers kept apart from questions)."""
    reader: str
    """``module.function`` of smoleval.readers: the package's rows into the hub dataset's columns."""
    subsets: tuple[str, ...] | None = None
    """What the rows are called in scores; None: the task's own subsets."""
    note: str | None = None


class TaskDefinition(_Model):
    """One task: everything that decides a score, and where it is written."""

    name: str
    suite: Suite
    published_as: str | None = None
    """The name in the published task list, where it differs."""
    dataset: str | None = None
    """Hub dataset; None where the project makes the items itself."""
    revision: str = UNVERIFIED
    """Commit of the dataset; ``unverified`` where it is not known for sure."""
    config: str | None = None
    """Hub configuration, where it is one for all subsets."""
    subsets: dict[str, str] = Field(default_factory=dict)
    """Subset -> hub configuration (or, with ``subset_column``, value of that column). Empty: one, unnamed."""
    subset_column: str | None = None
    split: str = "test"
    few_shot: FewShot = FewShot()
    prompt: str
    """``module.function`` of smoleval.prompts: a row into a lighteval Doc, or None to leave the row out."""
    args: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Read by the prompt and metric functions."""
    metrics: Annotated[tuple[str, ...], Field(min_length=1)]
    """``module.function`` of smoleval.metrics: makes a lighteval metric."""
    normalisation: str
    """In words: what a number of this task is divided by, or how answers are compared."""
    generation: Generation | None = None
    chat: bool = False
    """Asked through the chat template, in the modes of ``modes``."""
    modes: tuple[Literal["think", "no_think", ""], ...] = ("",)
    aggregation: Literal["mean_of_subsets", "all_items"] = "mean_of_subsets"
    breakdown: str | None = None
    """A column: the items of each of its values are also scored by themselves."""
    needs: tuple[Literal["sandbox", "judge", "network"], ...] = ()
    packaged: tuple[Packaged, ...] = ()
    fixture: str | None = None
    """File of ``eval/tasks/fixtures``: items of our own in the dataset's columns."""
    source: str
    """Where the definition is published: repository or paper."""
    note: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _subsets_may_be_a_list(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("subsets"), list):
            values = values | {"subsets": {str(name): str(name) for name in values["subsets"]}}
        return values

    @property
    def generated(self) -> bool:
        """Return whether its items are generated for each tokenizer (RULER), so that none are stored."""
        return self.suite == "ruler"

    @property
    def subset_names(self) -> tuple[str, ...]:
        """Return the names of the subsets; ``("",)`` for a task of one piece."""
        return tuple(self.subsets) or ("",)

    def hub_config(self, subset: str) -> str:
        """Return the hub configuration that holds a subset."""
        if self.subset_column or not self.subsets:
            return self.config or "default"
        return self.subsets[subset]

    @property
    def task_version(self) -> str:
        """Return 16 hexadecimal digits over everything that decides a score."""
        functions = [find("prompts", self.prompt), *(find("metrics", name) for name in self.metrics)]
        content = self.model_dump(mode="json", exclude=_NOT_IN_VERSION)
        return digest_values("task", content, [function.version for function in functions])[:16]

    def findings(self) -> list[str]:
        """Return what a reader of a score of this task should know."""
        found = []
        if self.dataset and not _COMMIT.fullmatch(self.revision):
            found.append(f"revision of {self.dataset} is {self.revision}: the hub's newest is read")
        if self.dataset and not self.packaged:
            found.append("no package ships its items: offline it runs on fixtures only")
        return found


class TaskFile(_Model):
    """The keys of a file of ``eval/tasks``."""

    format_version: Literal[1]
    suite: Suite
    tasks: dict[str, dict[str, Any]]


def tasks_folder() -> Path:
    """Return the folder of the shipped definitions: ``eval/tasks``, or in the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "tasks"
    return checkout if checkout.is_dir() else package / "tasks"


@functools.cache
def registry() -> Mapping[str, TaskDefinition]:
    """Return all shipped tasks by name. Raises :class:`RecipeError` naming file and line."""
    found: dict[str, TaskDefinition] = {}
    for path in sorted(tasks_folder().glob("*.yaml")):
        for task in read_tasks(path.read_text(encoding="utf-8"), path.name):
            if task.name in found:
                raise RecipeError(f"{path.name}: the task {task.name!r} stands in two files; rename one")
            found[task.name] = task
    return found


def select(names: Iterable[str], tasks: Mapping[str, TaskDefinition] | None = None) -> list[TaskDefinition]:
    """Return tasks by name, by suite, or by a pattern with ``*``; each once, in the registry's order.

    Raises :class:`InputError` with a "did you mean" for a name that fits nothing.
    """
    tasks = registry() if tasks is None else tasks
    chosen: set[str] = set()
    for name in names:
        pattern = re.compile(re.escape(name).replace(r"\*", ".*"))
        fitting = {task.name for task in tasks.values() if name == task.suite or pattern.fullmatch(task.name)}
        if not fitting:
            words = [*tasks, *{task.suite for task in tasks.values()}]
            raise InputError(f"no task or suite {name!r}{_hint(name, words)} `smoleval tasks` lists them all")
        chosen |= fitting
    return [task for task in tasks.values() if task.name in chosen]


def read_tasks(text: str, label: str) -> list[TaskDefinition]:
    """Read the text of a task file. Raises :class:`RecipeError` naming the line."""
    located = read_located(text, label)
    try:
        file = TaskFile.model_validate(located.data)
    except ValidationError as error:
        raise _explain(error, located, (), TaskFile) from error
    return [task for name, entry in file.tasks.items() for task in _entry(name, entry, file.suite, located)]


def _entry(name: str, entry: dict[str, Any], suite: str, located: Located) -> list[TaskDefinition]:
    each = entry.get("each", [{}])
    if not isinstance(each, list) or not all(isinstance(values, dict) for values in each):
        raise RecipeError(f"{located.where(('tasks', name, 'each'))}: want a list of mappings key: text")
    body = {key: value for key, value in entry.items() if key != "each"}
    return [_validated(_filled(name, values), _filled(body, values), suite, located, name) for values in each]


def _validated(name: str, body: dict[str, Any], suite: str, located: Located, key: str) -> TaskDefinition:
    place = ("tasks", key)
    try:
        task = TaskDefinition.model_validate({"name": name, "suite": suite} | body)
    except ValidationError as error:
        raise _explain(error, located, place, TaskDefinition) from error
    for kind, names in (("prompts", [task.prompt]), ("metrics", task.metrics)):
        for function in names:
            try:
                find(kind, function)
            except InputError as error:
                raise RecipeError(f"{located.where((*place, kind.removesuffix('s')))}: {error}") from error
    return task


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        for key, text in values.items():
            value = value.replace("{" + key + "}", str(text))
        return value
    if isinstance(value, dict):
        return {_filled(key, values): _filled(one, values) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, values) for one in value]
    return value


def _explain(
    error: ValidationError, located: Located, place: tuple[str | int, ...], model: type[BaseModel]
) -> RecipeError:
    first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
    inside = tuple(part for part in first["loc"] if part != "[key]")
    where = located.where((*place, *inside))
    if first["type"] != "extra_forbidden":
        return RecipeError(f"{where}: {'.'.join(map(str, inside))}: {first['msg']}")
    known = _keys(model, inside[:-1])
    return RecipeError(
        f"{where}: unknown key {inside[-1]!r}{_hint(str(inside[-1]), known)} Keys here: {', '.join(known)}"
    )


def _keys(model: type[BaseModel], inside: tuple[str | int, ...]) -> list[str]:
    nested: dict[str | int, type[BaseModel]] = {
        "few_shot": FewShot,
        "generation": Generation,
        "packaged": Packaged,
    }
    return list(nested[inside[0]].model_fields if inside else model.model_fields)


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else "."
