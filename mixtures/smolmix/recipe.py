"""A recipe file (YAML, one a stage) into a validated, exact :class:`Recipe`.

Found by short name (``STAGE=2``), by name (``stage2``) or by path. Every scalar is read as text, so weights
are exact; an unknown key gets a "did you mean", and messages name the line. Cost: a few milliseconds a
recipe.
"""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smoldata.errors import RecipeError
from smoldata.licences import LicenceClass
from smoldata.located import Located, read_located
from smolmix.groups import WeightTree, fill_proportions, read_members, resolve
from smolmix.literals import Budget, parse_budget, parse_share

SHORT_NAMES = {
    "1": "stage1",
    "2": "stage2",
    "3": "stage3",
    "32k": "long_context_32k",
    "64k": "long_context_64k",
    "mid": "mid",
}
"""``STAGE=`` short names of the shipped recipes."""
DEFAULT_PRESET = "blog"

_Count = Annotated[int, Field(ge=1)]
_Text = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenizerModel(_Model):
    """Which vocabulary the shards must have been made with."""

    name: _Text
    path: str | None = None
    """A vocabulary file of one's own, relative to the recipe."""
    sha256: str | None = None
    eos_id: int | None = None


class CapModel(_Model):
    """How often a source may be read."""

    stage: str | None = None
    """Most passes over a source in this stage, such as ``4`` or ``5/2``."""
    curriculum: str | None = None
    """Most passes over a source in this stage and all that it follows."""
    on_cap: Literal["error", "redistribute"] = "error"


class LicencesModel(_Model):
    """Which licences must not be read."""

    forbid: list[LicenceClass] = Field(default_factory=list)
    """Classes of :mod:`smoldata.licences`, such as ``non-commercial``."""


class SampleModel(_Model):
    """What replaces lengths and budget in profile ``sample``; without it a recipe is planned as it is."""

    sequence_length: _Count = 512
    batch_windows: _Count = 8
    max_passes: _Text = "4"
    validation: str | None = None
    """Share held out in the sample, where a small share of few documents would be none."""


class PresetModel(_Model):
    """One way to weight the stage."""

    budget: _Text
    weights: dict[str, Any]


class RecipeModel(_Model):
    """The keys of a recipe file."""

    format_version: Literal["1"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    description: str = ""
    follows: str | None = None
    """Name of the recipe that comes before, or a path relative to this one."""
    unit: Literal["windows"] = "windows"
    tokenizer: _Text | TokenizerModel = "llama-3.2"
    sequence_length: _Count
    batch_windows: _Count
    validation: _Text = "1/200"
    """Share of documents held out, by a hash of their text."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 6
    max_passes: CapModel | None = None
    licences: LicencesModel = LicencesModel()
    sample: SampleModel | None = None
    registry: str | None = None
    """A registry file with sources of one's own, relative to the recipe; laid over the shipped one."""
    budget: _Text | None = None
    weights: dict[str, Any] | None = None
    presets: dict[str, PresetModel] | None = None


@dataclass(frozen=True, slots=True)
class Caps:
    """Most passes over a source; None: no limit."""

    stage: Fraction | None = None
    curriculum: Fraction | None = None
    on_cap: Literal["error", "redistribute"] = "error"


@dataclass(frozen=True, slots=True)
class Preset:
    """A budget and the exact weights of one preset."""

    name: str | None
    """None for a recipe without presets."""
    budget: Budget
    tree: WeightTree


@dataclass(frozen=True, slots=True)
class Recipe:
    """One stage, validated; every number exact."""

    name: str
    description: str
    follows: str | None
    """The recipe before, as something that :func:`load_recipe` takes."""
    unit: Literal["windows"]
    tokenizer: TokenizerModel
    sequence_length: int
    batch_windows: int
    validation: Fraction
    seed: int
    caps: Caps
    forbidden_licences: tuple[LicenceClass, ...]
    sample: SampleModel | None
    sample_max_passes: Fraction
    sample_validation: Fraction | None
    registry: Path | None
    """Registry of the recipe's own sources."""
    presets: tuple[Preset, ...]
    path: Path
    text: str
    """The file as it was read: the bundle carries it."""

    def preset(self, name: str | None = None) -> Preset:
        """Return the preset ``name``; without a name ``blog`` if the recipe has it, else its first.

        Raises:
            RecipeError: no such preset; the message lists those there are.
        """
        by_name = {preset.name: preset for preset in self.presets}
        if name is None:
            return by_name.get(DEFAULT_PRESET, self.presets[0])
        if name not in by_name:
            names = ", ".join(str(n) for n in by_name if n) or "none: leave PRESET away"
            raise RecipeError(f"recipe {self.name!r} has no preset {name!r}; presets: {names}")
        return by_name[name]

    def preset_or_default(self, name: str | None) -> Preset:
        """Return the preset ``name`` if there is one, else the default: how a chain of stages falls back."""
        return self.preset(name if name in {preset.name for preset in self.presets} else None)

    def scaled_to_sample(self) -> "Recipe":
        """Return the recipe with what its ``sample`` section says; as it is if it has none."""
        if self.sample is None:
            return self
        return replace(
            self,
            sequence_length=self.sample.sequence_length,
            batch_windows=self.sample.batch_windows,
            validation=self.validation if self.sample_validation is None else self.sample_validation,
        )

    def digest(self) -> str:
        """Return the sha256 of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def recipes_folder() -> Path:
    """Return the folder of the shipped recipes: ``mixtures/``, or in the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parent
    return checkout if (checkout / "stage1.yaml").is_file() else package / "recipes"


def shipped_recipes() -> list[str]:
    """Return the names of the shipped recipes, in the order of training."""
    return list(SHORT_NAMES.values())


def load_recipe(which: str | Path, relative_to: Path | None = None) -> Recipe:
    """Read a recipe by short name, shipped name or path.

    Raises:
        RecipeError: there is none, or the file is wrong; with line, number and what to do.
    """
    path = _locate(str(which), relative_to)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the recipe {which}: {error}") from error
    return read_recipe(text, path, label=path.name)


def _locate(which: str, relative_to: Path | None) -> Path:
    name = SHORT_NAMES.get(which, which)
    if name in SHORT_NAMES.values():
        return recipes_folder() / f"{name}.yaml"
    candidates = [Path(which)] if relative_to is None else [relative_to / which]
    if relative_to is not None and not which.endswith((".yaml", ".yml")):
        candidates.append(relative_to / f"{which}.yaml")
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    near = difflib.get_close_matches(which, [*SHORT_NAMES, *SHORT_NAMES.values()], 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise RecipeError(
        f"there is no recipe {which!r}; {hint}STAGE is one of {', '.join(SHORT_NAMES)}; "
        "RECIPE is a path to a file"
    )


@lru_cache(maxsize=32)
def read_recipe(text: str, path: Path, label: str | None = None) -> Recipe:
    """Validate the text of a recipe; ``path`` is where ``follows`` is looked up from.

    The same text at the same place is the same recipe, read once.
    """
    located = read_located(text, label or path.name, as_text=True)
    model = _validate(located)
    presets = _presets(model, located)
    caps = model.max_passes or CapModel()
    tokenizer = TokenizerModel(name=model.tokenizer) if isinstance(model.tokenizer, str) else model.tokenizer
    validation = _share(model.validation, located, ("validation",))
    if validation >= 1:
        raise RecipeError(
            f"{located.where(('validation',))}: validation {model.validation} leaves nothing to train on"
        )
    return Recipe(
        name=model.name,
        description=model.description,
        follows=_follows(model.follows, path),
        unit=model.unit,
        tokenizer=tokenizer,
        sequence_length=model.sequence_length,
        batch_windows=model.batch_windows,
        validation=validation,
        seed=model.seed,
        caps=Caps(
            _optional_share(caps.stage, located, ("max_passes", "stage")),
            _optional_share(caps.curriculum, located, ("max_passes", "curriculum")),
            caps.on_cap,
        ),
        forbidden_licences=tuple(model.licences.forbid),
        sample=model.sample,
        sample_max_passes=_share(
            (model.sample or SampleModel()).max_passes, located, ("sample", "max_passes")
        ),
        sample_validation=_optional_share(
            model.sample.validation if model.sample else None, located, ("sample", "validation")
        ),
        registry=path.parent / model.registry if model.registry else None,
        presets=presets,
        path=path,
        text=text,
    )


def _follows(name: str | None, path: Path) -> str | None:
    if name is None or name in SHORT_NAMES or name in SHORT_NAMES.values():
        return name
    return str(_locate(name, path.parent))


def _share(text: str, located: Located, path: tuple[str, ...]) -> Fraction:
    try:
        return parse_share(text)
    except RecipeError as error:
        raise RecipeError(f"{located.where(path)}: {'.'.join(path)}: {error}") from error


def _optional_share(text: str | None, located: Located, path: tuple[str, ...]) -> Fraction | None:
    return None if text is None else _share(text, located, path)


def _presets(model: RecipeModel, located: Located) -> tuple[Preset, ...]:
    if (model.presets is None) == (model.weights is None):
        raise RecipeError(
            f"{located.label}: give either `weights` (with `budget`) or `presets`, and not both"
        )
    if model.presets is None:
        if model.budget is None:
            raise RecipeError(f"{located.label}: `budget` is missing; for example `budget: 10B`")
        return (_preset(None, model.budget, model.weights, {}, located, ()),)
    if not model.presets:
        raise RecipeError(f"{located.where(('presets',))}: `presets` is empty; give at least one")
    all_weights = {name: preset.weights for name, preset in model.presets.items()}
    return tuple(
        _preset(name, preset.budget, preset.weights, all_weights, located, ("presets", name))
        for name, preset in model.presets.items()
    )


def _preset(
    name: str | None,
    budget: str,
    weights: Any,
    others: Mapping[str, Any],
    located: Located,
    path: tuple[str, ...],
) -> Preset:
    where = f"{located.where((*path, 'weights'))}: {'.'.join((*path, 'weights'))}"
    filled = fill_proportions(weights, {key: value for key, value in others.items() if key != name}, where)
    try:
        parsed = parse_budget(budget)
    except RecipeError as error:
        raise RecipeError(f"{located.where((*path, 'budget'))}: {error}") from error
    return Preset(name, parsed, resolve(read_members(filled, where), where))


def _validate(located: Located) -> RecipeModel:
    try:
        return RecipeModel.model_validate(located.data)
    except ValidationError as error:
        raise RecipeError("; ".join(_problem(item, located) for item in error.errors()[:5])) from error


def _problem(item: Any, located: Located) -> str:
    path = tuple(str(part) for part in item["loc"] if part not in {"str", "TokenizerModel"})
    where = located.where(path)
    key = ".".join(path)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_keys(path[:-1]), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"keys here are {', '.join(_known_keys(path[:-1]))}"
        return f"{where}: unknown key {key!r}; {hint}"
    if item["type"] == "missing":
        return f"{where}: `{key}` is missing"
    return f"{where}: {key} is {item['input']!r}: {item['msg']}"


def _known_keys(path: tuple[str, ...]) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "tokenizer": TokenizerModel,
        "max_passes": CapModel,
        "licences": LicencesModel,
        "sample": SampleModel,
        "presets": PresetModel,
    }
    return list((models[path[0]] if path and path[0] in models else RecipeModel).model_fields)
