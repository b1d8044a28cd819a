"""Named steps of a pipeline: a name and settings in YAML -> datatrove ``PipelineStep`` objects.

:data:`STEPS` maps each name to a factory, ``module:function``. The function takes settings (its first
parameter is annotated with a :class:`StepSettings` of its own, against which the YAML is validated) and a
:class:`StepContext`; it returns one step or several. Heavy libraries are imported inside it: reading a recipe
stays light. A step that must see all documents of a source before it can decide (near-duplicates) leaves a
key in each document as it passes, and names a ``gather`` function that decides when all tasks are done.

A step of one's own is named by its address, ``my_package.my_module:my_factory``.
"""

import difflib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from smoldata.errors import RecipeError
from smoldata.reading import Report

if TYPE_CHECKING:
    from datatrove.pipeline.base import PipelineStep

FILTER_REASON = "filter_reason"
"""Where a step leaves, in a document's metadata, why it is about to drop it."""
KEY_PREFIX = "key:"
"""A step with ``gather`` leaves ``bytes`` in a document's metadata under this prefix and its own name."""


class StepSettings(BaseModel):
    """Base of every step's settings: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def content(self, _base: Path) -> list[str]:
        """Return digests of files that the settings name: part of a build's input hash."""
        return []


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a factory is told beside its settings."""

    source: str
    """Name of the source in the registry."""
    language: str | None
    """FineWeb2 code such as ``fra_Latn``, or a programming language."""
    report: Report
    """The task's counts. A step need not count its drops: every step is watched, and a document that does not
    come out is a drop, by ``document.metadata[FILTER_REASON]`` or the step's name."""
    base: Path
    """Folder that relative paths in settings start from: the recipe's."""


@dataclass(frozen=True, slots=True)
class StepSpec:
    """What a step's name stands for."""

    factory: str
    """``module:function``, which is ``(settings, context) -> PipelineStep | Sequence[PipelineStep]``."""
    summary: str
    """What it does to a document, in a line."""
    gather: str = ""
    """``module:function`` that decides across tasks, ``(keys, settings) -> dropped``: see smoldata.merge."""
    group: str = ""
    """Dependency group that its libraries are in, if not the core."""


STEPS: dict[str, StepSpec] = {
    # Rules on text and columns (smoldata.rules).
    "length": StepSpec("smoldata.rules:length", "drops short and long texts"),
    "code": StepSpec("smoldata.rules:code", "drops files that people did not write"),
    "script": StepSpec("smoldata.rules:script", "drops texts mostly in another script"),
    "score": StepSpec("smoldata.rules:score", "drops documents whose score is too low"),
    "column": StepSpec("smoldata.rules:column", "keeps rows by the value of a column"),
    "paper": StepSpec("smoldata.rules:paper", "drops what is no running text of a paper"),
    "sample": StepSpec("smoldata.rules:sample", "keeps a share, decided by a hash of the text"),
    "fineweb2_language": StepSpec("smoldata.rules:fineweb2_language", "FineWeb2's language threshold"),
    "fineweb2_heuristics": StepSpec(
        "smoldata.heuristics.steps:fineweb2_heuristics", "FineWeb2's rules for the language", group="curate"
    ),
    # Web pages (smoldata.extraction).
    "url_filter": StepSpec("smoldata.extraction:url_filter", "refuses addresses on lists", group="curate"),
    "page_text": StepSpec("smoldata.extraction:page_text", "HTML to its main text", group="curate"),
    "fix_encoding": StepSpec(
        "smoldata.extraction:fix_encoding", "mends wrongly decoded text", group="curate"
    ),
    "symbol_lines": StepSpec("smoldata.extraction:symbol_lines", "removes what is left of tables"),
    "pii": StepSpec("smoldata.extraction:pii", "replaces e-mail and public IP addresses"),
    "web_heuristics": StepSpec(
        "smoldata.heuristics.steps:web_heuristics", "FineWeb's four heuristics, the words split once"
    ),
    "gopher_quality": StepSpec(
        "smoldata.heuristics.steps:gopher_quality", "datatrove's Gopher quality rules"
    ),
    "gopher_repetition": StepSpec(
        "smoldata.heuristics.steps:gopher_repetition", "datatrove's Gopher repetition rules"
    ),
    # Duplicates (smoldata.dedup).
    "exact_dedup": StepSpec(
        "smoldata.dedup.steps:exact_dedup",
        "drops all but one of the same text, after normalisation",
        gather="smoldata.dedup.keys:drop_exact",
    ),
    "minhash_dedup": StepSpec(
        "smoldata.dedup.steps:minhash_dedup",
        "drops all but one of nearly the same text (MinHash)",
        gather="smoldata.dedup.keys:drop_near",
    ),
    "licence": StepSpec("smoldata.licence_step:licence", "drops documents of forbidden classes of licences"),
    # Scores by models (smoldata.scoring).
    "encoder_score": StepSpec(
        "smoldata.scoring.steps:encoder_score",
        "adds the score of an encoder's regression head",
        group="train",
    ),
    "embedding_score": StepSpec(
        "smoldata.scoring.steps:embedding_score",
        "adds the score of a head over the mean of an encoder's tokens (FineWeb2-HQ)",
        group="train",
    ),
    "fasttext_score": StepSpec(
        "smoldata.scoring.steps:fasttext_score", "adds a fastText label's probability"
    ),
    "language_id": StepSpec(
        "smoldata.scoring.steps:language_id", "identifies the language with fastText; keeps some"
    ),
    # Evaluation sets (smoldata.decontamination).
    "decontaminate": StepSpec(
        "smoldata.decontamination.step:decontaminate", "drops or marks what holds items of evaluation sets"
    ),
}


def find_path(base: Path, name: str) -> Path:
    """Return where a path in a step's settings is: in the recipe's folder, else as it is given."""
    given = Path(name).expanduser()
    inside = base / given
    return inside if inside.exists() else given


def step_spec(name: str) -> StepSpec:
    """Return what a step's name stands for; an address ``module:function`` stands for itself.

    Raises:
        RecipeError: unknown name, with close ones.
    """
    if name in STEPS:
        return STEPS[name]
    if ":" in name:
        return StepSpec(name, "a step of your own")
    close = difflib.get_close_matches(name, STEPS, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise RecipeError(f"unknown step {name!r}{hint}; `smoldata steps` lists all {len(STEPS)}")


def read_settings(name: str, settings: dict[str, Any]) -> StepSettings:
    """Validate a step's settings against what its factory takes.

    Raises:
        RecipeError: an unknown step or key (with a "did you mean"), a missing or wrong value.
    """
    wanted = _settings_class(name)
    try:
        return wanted.model_validate(settings)
    except ValidationError as error:
        first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] != "extra_forbidden":
            raise RecipeError(f"step {name}: {key}: {first['msg']}") from error
        close = difflib.get_close_matches(key, wanted.model_fields, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]}?" if close else ""
        known = ", ".join(wanted.model_fields) or "none"
        raise RecipeError(f"step {name}: unknown setting {key!r}{hint} Its settings: {known}") from error


def make_steps(name: str, settings: dict[str, Any], context: StepContext) -> "list[PipelineStep]":
    """Return the datatrove steps that a name and settings stand for.

    Raises:
        RecipeError: the settings are wrong, or a library of the step is not installed.
    """
    checked = read_settings(name, settings)
    try:
        made = _resolve(name, step_spec(name).factory)(checked, context)
    except ImportError as error:
        raise RecipeError(_not_installed(name, error)) from error
    return list(made) if isinstance(made, Sequence) else [made]


def gather_function(name: str) -> Any:
    """Return the function that decides across tasks for a step, or None: most steps need none."""
    address = step_spec(name).gather
    return _resolve(name, address) if address else None


def step_modules(name: str) -> set[str]:
    """Return the modules whose code decides what a step does to a document."""
    spec = step_spec(name)
    return {address.partition(":")[0] for address in (spec.factory, spec.gather) if address}


def settings_of(name: str) -> list[str]:
    """Return the names of a step's settings."""
    return list(_settings_class(name).model_fields)


def _settings_class(name: str) -> type[StepSettings]:
    function = _resolve(name, step_spec(name).factory)
    first = next(iter(inspect.signature(function).parameters.values()), None)
    wanted = None if first is None else first.annotation
    if not (isinstance(wanted, type) and issubclass(wanted, StepSettings)):
        raise RecipeError(
            f"step {name!r}: the first parameter of its factory must be annotated with its settings, a "
            f"subclass of smoldata.steps.StepSettings, not {wanted!r}"
        )
    return wanted


def _resolve(name: str, address: str) -> Any:
    module, _, function = address.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        if name in STEPS and isinstance(error, ImportError):
            raise RecipeError(_not_installed(name, error)) from error
        raise RecipeError(f"step {name!r} cannot be imported: {error}") from error


def _not_installed(name: str, error: ImportError) -> str:
    group = step_spec(name).group
    hint = f"; run `make setup-{group}`" if group else ""
    return f"step {name} needs a library that is not installed ({error}){hint}"
