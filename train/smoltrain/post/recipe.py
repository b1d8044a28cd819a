"""A recipe of ``unit: rows`` (YAML) into exact shares, and into the rows that the published rule takes.

The rule (huggingface/alignment-handbook, ``src/alignment/data.py``): shuffle each subset with the seed, take
the first floor(rows x weight), join them in the recipe's order, shuffle with the seed again. A shuffle is
NumPy's ``default_rng(seed).permutation``, as in the datasets library. Weights are exact fractions here; the
published code multiplies floats, which for all published rows gives the same counts. Cost: milliseconds a
million rows.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smoldata.errors import RecipeError
from smoldata.located import Located, read_located
from smolmix.literals import parse_share
from smoltrain.post.template import data_file

Kind = Literal["conversations", "pairs"]
Mode = Literal["think", "no_think", "mid"]
TemplateName = Literal["chat", "chatml"]
PHASES = ("mid", "sft", "apo")
"""The shipped recipes, in the order of training."""

_Text = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _SubsetModel(_Model):
    weight: _Text
    mode: Mode
    rows: Annotated[int, Field(ge=0)] | None = None
    million_tokens: _Text | None = None


class _RecipeModel(_Model):
    format_version: Literal["1"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    description: str = ""
    unit: Literal["rows"]
    kind: Kind
    template: TemplateName
    dataset: _Text
    config: _Text
    revision: _Text | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    date: str | None = None
    """What the metadata block of every row says; without it each rendering says the day it is made on."""
    subsets: Annotated[dict[str, _SubsetModel], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Subset:
    """One subset of a recipe."""

    name: str
    """Split of the hub dataset."""
    weight: Fraction
    """Share of its rows that is kept; at most 1."""
    mode: Mode
    rows: int | None
    """Published rows, before the weight."""
    million_tokens: Fraction | None
    """Published tokens, before the weight."""


@dataclass(frozen=True, slots=True)
class RowsRecipe:
    """What is taken of which subset."""

    name: str
    description: str
    kind: Kind
    template: TemplateName
    dataset: str
    config: str
    revision: str | None
    seed: int
    date: str | None
    """The date in the metadata block of every row; None: the day on which it is rendered."""
    subsets: tuple[Subset, ...]
    text: str
    """The file as it was read."""

    def digest(self) -> str:
        """Return the sha256 of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Share:
    """What a recipe takes of one subset."""

    subset: Subset
    rows: int | None
    """Rows there are; None: unknown."""
    taken: int | None
    tokens: Fraction | None
    """Published tokens x weight: what a plan without data can say."""


def load_rows_recipe(which: str | Path) -> RowsRecipe:
    """Read a recipe by phase (``mid``, ``sft``, ``apo``) or path.

    Raises:
        RecipeError: there is none, or it is wrong; with line and what to do.
    """
    path = data_file(f"{which}.yaml") if which in PHASES else Path(which)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"there is no recipe of rows {which}; give a path or one of {', '.join(PHASES)}"
        ) from error
    return read_rows_recipe(text, path.name)


def read_rows_recipe(text: str, label: str) -> RowsRecipe:
    """Validate the text of a recipe; ``label`` is what messages call it."""
    located = read_located(text, label, as_text=True)
    try:
        model = _RecipeModel.model_validate(located.data)
    except ValidationError as error:
        raise RecipeError("; ".join(_problem(item, located) for item in error.errors()[:5])) from error
    subsets = tuple(_subset(name, subset, located) for name, subset in model.subsets.items())
    return RowsRecipe(
        model.name,
        model.description,
        model.kind,
        model.template,
        model.dataset,
        model.config,
        model.revision,
        model.seed,
        model.date,
        subsets,
        text,
    )


def _subset(name: str, model: _SubsetModel, located: Located) -> Subset:
    where = located.where(("subsets", name, "weight"))
    try:
        weight = parse_share(model.weight)
        tokens = None if model.million_tokens is None else parse_share(model.million_tokens)
    except RecipeError as error:
        raise RecipeError(f"{where}: {name}: {error}") from error
    if weight > 1:
        raise RecipeError(
            f"{where}: {name} has weight {model.weight}: a weight is the share of rows kept, at most 1"
        )
    return Subset(name, weight, model.mode, model.rows, tokens)


def _problem(item: Any, located: Located) -> str:
    path = tuple(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return f"{located.where(path)}: `{'.'.join(path)}` is missing"
    if item["type"] == "extra_forbidden":
        keys = _SubsetModel.model_fields if path[0] == "subsets" else _RecipeModel.model_fields
        return f"{located.where(path)}: unknown key {'.'.join(path)!r}; keys here are {', '.join(keys)}"
    return f"{located.where(path)}: {'.'.join(path)} is {item['input']!r}: {item['msg']}"


def taken(rows: int, weight: Fraction) -> int:
    """Return floor(rows x weight), exactly."""
    return rows * weight.numerator // weight.denominator


def shares(recipe: RowsRecipe, rows: dict[str, int] | None = None) -> list[Share]:
    """Return what the recipe takes of each subset, in its order.

    ``rows`` are the rows that there are, by subset (0 for a subset that is absent); without it the published
    ones.
    """
    found = []
    for subset in recipe.subsets:
        there = subset.rows if rows is None else rows.get(subset.name, 0)
        tokens = None if subset.million_tokens is None else subset.million_tokens * 1_000_000 * subset.weight
        found.append(Share(subset, there, None if there is None else taken(there, subset.weight), tokens))
    return found


def modes(recipe: RowsRecipe) -> list[Mode]:
    """Return the modes that a recipe has, in a fixed order."""
    return [mode for mode in get_args(Mode) if any(subset.mode == mode for subset in recipe.subsets)]


def mixed_order(rows: Sequence[int], weights: Sequence[Fraction], seed: int) -> Any:
    """Return what is read, in order: int64 [total, 2] of (number of the subset, its row)."""
    import numpy as np

    parts = []
    for number, (count, weight) in enumerate(zip(rows, weights, strict=True)):
        chosen = np.random.default_rng(seed).permutation(count)[: taken(count, weight)]
        parts.append(np.stack([np.full(len(chosen), number, np.int64), chosen.astype(np.int64)], axis=1))
    joined = np.concatenate(parts) if parts else np.zeros((0, 2), np.int64)
    return joined[np.random.default_rng(seed).permutation(len(joined))]
