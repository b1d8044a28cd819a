"""A pipeline recipe (YAML, one a kind of source) -> a validated :class:`PipelineRecipe`.

Shipped recipes stand in ``data/pipelines/`` and are found by name; anyone's own by path. A recipe has
parameters with defaults; a source of the registry, or ``--set``, gives other values; ``$name`` in a setting
is replaced by the parameter's value. A step with ``when: name`` is left out while that parameter is null.
Every step with a threshold says in ``source`` where the number is published. Cost: a few milliseconds.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smoldata.errors import RecipeError
from smoldata.kinds import renderer
from smoldata.located import Located, read_located
from smoldata.steps import read_settings

Scalar = str | int | float | bool | None
Parameters = Mapping[str, Scalar | list[Scalar]]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StepModel(_Model):
    """One step as it stands in the file."""

    step: str
    """A name of smoldata.steps, or ``module:factory`` of one's own."""
    settings: dict[str, Any] = Field(default_factory=dict)
    when: str | None = None
    """A parameter: the step is left out while it is null (or false)."""
    source: str | None = None
    """Where its numbers are published: paper, repository, dataset card."""


class ReadText(_Model):
    """How a raw row becomes text, as it stands in the file: values may name parameters."""

    render: str | None = None
    """A name of smoldata.kinds: rows are rendered. Null: the columns named in the registry hold the text."""
    contents: str | None = None
    """``software_heritage``: rows hold identifiers, contents are fetched."""
    damage: str = "error"
    """What a damaged WARC record is: ``error``, which names it, or ``drop``, which counts it."""
    source: str | None = None


class ReadModel(ReadText):
    """The same with parameters filled in."""

    contents: Literal["software_heritage"] | None = None
    damage: Literal["error", "drop"] = "error"


class RecipeModel(_Model):
    """The keys of a recipe file."""

    format_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    description: str
    source: str
    """The paper, card or repository that the recipe follows."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    read: ReadText = ReadText()
    steps: list[StepModel]


@dataclass(frozen=True, slots=True)
class BoundStep:
    """A step with its parameters filled in."""

    name: str
    settings: dict[str, Any]
    source: str | None


@dataclass(frozen=True, slots=True)
class PipelineRecipe:
    """A recipe with its parameters filled in."""

    name: str
    description: str
    source: str
    parameters: dict[str, Any]
    read: ReadModel
    steps: tuple[BoundStep, ...]
    base: Path
    """The folder of the file."""

    def proof(self) -> list[Any]:
        """Return what decides the documents, as JSON-able values: part of a build's input hash."""
        contents = [read_settings(step.name, step.settings).content(self.base) for step in self.steps]
        steps = [[step.name, step.settings] for step in self.steps]
        # Files that no step names add nothing: recipes without them keep their hash.
        return [self.read.model_dump(exclude={"source"}), steps, *([contents] if any(contents) else [])]


def pipelines_folder() -> Path:
    """Return the folder of the shipped recipes: ``data/pipelines``, or in the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "pipelines"
    return checkout if checkout.is_dir() else package / "pipelines"


def shipped_pipelines() -> list[str]:
    """Return the names of the shipped recipes."""
    return sorted(path.stem for path in pipelines_folder().glob("*.yaml"))


def load_pipeline(
    which: str | Path, parameters: Parameters | None = None, *, language: str | None = None
) -> PipelineRecipe:
    """Read a recipe by shipped name or path, with other values for some of its parameters.

    ``language`` is a parameter that every recipe has. Raises :class:`RecipeError` naming file and line.
    """
    path = _locate(str(which))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the pipeline {which}: {error}") from error
    return read_pipeline(text, path, parameters or {}, language)


def outline(which: str | Path) -> RecipeModel:
    """Return a recipe as it stands in its file, parameters not filled in."""
    path = _locate(str(which))
    return _validated(read_located(path.read_text(encoding="utf-8"), path.name))


def read_pipeline(text: str, path: Path, parameters: Parameters, language: str | None) -> PipelineRecipe:
    """Validate the text of a recipe; ``path`` is where relative paths in it start from."""
    located = read_located(text, path.name)
    model = _validated(located)
    values = _bound(model, parameters, located, language)
    steps = []
    for number, entry in enumerate(model.steps):
        if entry.when is not None and entry.when not in values:
            raise RecipeError(f"{located.where(('steps', number, 'when'))}: no parameter {entry.when!r}")
        if entry.when is not None and values[entry.when] in (None, False):
            continue
        settings = _filled(entry.settings, values, located, ("steps", number, "settings"))
        try:
            read_settings(entry.step, settings)
        except RecipeError as error:
            raise RecipeError(f"{located.where(('steps', number))}: {error}") from error
        steps.append(BoundStep(entry.step, settings, entry.source))
    read = _read(_filled(model.read.model_dump(), values, located, ("read",)), located)
    return PipelineRecipe(
        model.name, model.description, model.source, values, read, tuple(steps), path.resolve().parent
    )


def _read(values: dict[str, Any], located: Located) -> ReadModel:
    try:
        read = ReadModel.model_validate(values)
        if read.render is not None:
            renderer(read.render)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        place = located.where(("read", key))
        raise RecipeError(f"{place}: {key} is {values[key]!r}: {error.errors()[0]['msg']}") from error
    except RecipeError as error:
        raise RecipeError(f"{located.where(('read', 'render'))}: {error}") from error
    return read


def _locate(which: str) -> Path:
    shipped = pipelines_folder() / f"{which}.yaml"
    if "/" not in which and shipped.is_file():
        return shipped
    if Path(which).is_file():
        return Path(which)
    close = difflib.get_close_matches(which, shipped_pipelines(), n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    names = ", ".join(shipped_pipelines())
    raise RecipeError(f"there is no pipeline {which!r}; {hint}Shipped: {names}; or give a path to a file")


def _validated(located: Located) -> RecipeModel:
    try:
        return RecipeModel.model_validate(located.data)
    except ValidationError as error:
        first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
        place = tuple(first["loc"])
        if first["type"] != "extra_forbidden":
            name = ".".join(str(part) for part in place)
            raise RecipeError(f"{located.where(place)}: {name}: {first['msg']}") from error
        known = _known_keys(place)
        close = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise RecipeError(
            f"{located.where(place)}: unknown key {place[-1]!r}{hint} Keys here: {', '.join(known)}"
        ) from error


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    inner: dict[str, type[BaseModel]] = {"steps": StepModel, "read": ReadText}
    model = inner.get(str(place[0]), RecipeModel) if len(place) > 1 else RecipeModel
    return list(model.model_fields)


def _bound(
    model: RecipeModel, parameters: Parameters, located: Located, language: str | None
) -> dict[str, Any]:
    values = {"language": language} | model.parameters
    for name, value in parameters.items():
        if name not in values:
            close = difflib.get_close_matches(name, values, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise RecipeError(
                f"{located.label}: no parameter {name!r}{hint} Its parameters: {', '.join(values)}"
            )
        values[name] = value
    return values


def _filled(value: Any, values: dict[str, Any], located: Located, place: tuple[str | int, ...]) -> Any:
    """Replace ``$name`` by the parameter's value, as it is, wherever it is a whole setting."""
    if isinstance(value, dict):
        return {key: _filled(inner, values, located, (*place, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, values, located, (*place, number)) for number, inner in enumerate(value)]
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    if value[1:] not in values:
        raise RecipeError(
            f"{located.where(place)}: no parameter {value[1:]!r}; there are {', '.join(values)}"
        )
    return values[value[1:]]
