"""Factories of the steps that are rules on text and columns: settings as they stand in a recipe.

Light to import: the filters themselves (:mod:`smoldata.filters`, datatrove) come with the first step made.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from smoldata.errors import RecipeError
from smoldata.steps import StepContext, StepSettings

if TYPE_CHECKING:
    from datatrove.pipeline.filters.base_filter import BaseFilter

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


class LengthSettings(StepSettings):
    """Lengths in characters, white space at the ends left out, or in words between white space."""

    least_characters: Count = 0
    most_characters: Count | None = None
    least_words: Count = 0


def length(settings: LengthSettings, _context: StepContext) -> "BaseFilter":
    """Drop as ``too_short`` and ``too_long``."""
    from smoldata.filters import LengthFilter

    return LengthFilter(settings.least_characters, settings.most_characters, settings.least_words)


class CodeSettings(StepSettings):
    """The rules of StarCoder2; a language named in ``markup`` keeps long lines."""

    longest_line: Count
    longest_markup_line: Count
    mean_line: Count
    least_alphanumeric: Share
    least_alphabetic: Share = 0.0
    most_encoded: Count | None = None
    """Characters of the longest piece of encoded data; null: encoded data is not looked for."""
    most_encoded_share: Share = 1.0
    markup: tuple[str, ...] = ()
    most_lines: Count | None = None
    generated_lines: Count = 5


def code(settings: CodeSettings, context: StepContext) -> "BaseFilter":
    """Drop what programs wrote and what is not text."""
    from smoldata.filters import CodeFilter

    return CodeFilter(settings, context.language)


class ScriptSettings(StepSettings):
    """The script is that of the source's language."""

    least_share: Share = 0.5


def script(settings: ScriptSettings, context: StepContext) -> "BaseFilter":
    """Drop as ``other_script``."""
    from smoldata.filters import ScriptFilter

    return ScriptFilter(context.language, settings.least_share)


class ScoreSettings(StepSettings):
    """``missing``: what becomes of a document that has no such score."""

    name: str
    at_least: float
    rounded: bool = False
    """Compare the score as the publisher's integer: clipped to 0..5 and rounded."""
    missing: Literal["keep", "drop"] = "drop"


def score(settings: ScoreSettings, _context: StepContext) -> "BaseFilter":
    """Drop as ``low_<name>`` and ``no_<name>``."""
    from smoldata.filters import ScoreFilter

    return ScoreFilter(settings)


class ColumnSettings(StepSettings):
    """Rows are judged by a column that the registry reads as metadata (or ``license``, ``language``)."""

    name: str
    keep: tuple[str | bool | int, ...] = ()
    """Values that are kept; empty: all but those in ``drop``."""
    drop: tuple[str | bool | int, ...] = ()
    most: float | None = None
    """Numbers above are dropped."""
    least: float | None = None
    missing: Literal["keep", "drop"] = "keep"


def column(settings: ColumnSettings, _context: StepContext) -> "BaseFilter":
    """Drop as ``<name>``."""
    from smoldata.filters import ColumnFilter

    return ColumnFilter(settings)


class SampleSettings(StepSettings):
    """``share`` of the documents; copies of a text are kept or dropped together, whatever the sharding."""

    share: Annotated[str, Field(pattern=r"^\d+/\d+$|^(0|1|0?\.\d+)$")]


def sample(settings: SampleSettings, _context: StepContext) -> "BaseFilter":
    """Drop as ``not_sampled``."""
    from smoldata.filters import SampleFilter

    return SampleFilter(settings.share)


class PaperSettings(StepSettings):
    """Rules of peS2o for the body of whole papers; words stand between white space."""

    least_words: Count = 0
    most_words: Count | None = None
    least_paragraphs: Count = 0
    most_frequent_word: Share = 1.0
    """Largest share of the words that one word may have; it must consist of letters."""
    word_counts: str | None = None
    """File of lines ``word,count``: paragraphs of improbable words are taken out."""
    word_counts_sha256: Sha256 | None = None
    least_log_probability: float = -20.0
    """Mean log2 probability of a paragraph's words."""
    language_model: str | None = None
    """fastText language identifier: the language of most paragraphs must be ``language``."""
    language_model_sha256: Sha256 | None = None
    language: str = "en"
    """Label without its prefix."""

    @model_validator(mode="after")
    def _pinned(self) -> "PaperSettings":
        for name in ("word_counts", "language_model"):
            if getattr(self, name) is not None and getattr(self, f"{name}_sha256") is None:
                message = f"give {name}_sha256, too"
                raise ValueError(message)
        return self


def paper(settings: PaperSettings, context: StepContext) -> "BaseFilter":
    """Drop as ``few_words``, ``many_words``, ``frequent_word``, ``language`` and ``few_paragraphs``."""
    from smoldata.papers import PaperFilter

    return PaperFilter(settings, context.base)


class Fineweb2Language(StepSettings):
    """Which score is compared with the language's published threshold."""

    score: str = "language_score"
    missing: Literal["keep", "drop"] = "drop"


def fineweb2_language(settings: Fineweb2Language, context: StepContext) -> "BaseFilter":
    """Drop as ``low_<score>``: GlotLID's confidence under FineWeb2's threshold of the language."""
    from smoldata.filters import ScoreFilter

    numbers = fineweb2_numbers(context.language)
    rule = ScoreSettings(name=settings.score, at_least=numbers["language_score"], missing=settings.missing)
    return ScoreFilter(rule)


@cache
def fineweb2_numbers(language: str | None) -> dict[str, Any]:
    """Return FineWeb2's published numbers for a language (``fineweb2.yaml`` beside this module).

    Raises:
        RecipeError: there are none for it; the message lists those there are.
    """
    text = Path(__file__).with_name("fineweb2.yaml").read_text(encoding="utf-8")
    known: dict[str, dict[str, Any]] = yaml.safe_load(text)["languages"]
    if language not in known:
        raise RecipeError(
            f"FineWeb2's thresholds for {language!r} are not in smoldata/fineweb2.yaml, which has "
            f"{', '.join(known)}; Chinese is cmn_Hani"
        )
    return known[language]
