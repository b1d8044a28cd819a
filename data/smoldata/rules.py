"""Factories of the steps that are rules on text and columns: settings as they stand in a recipe.

Light to import: the filters themselves (:mod:`smoldata.filters`, datatrove) come with the first step made.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from smoldata.steps import StepContext, StepSettings

if TYPE_CHECKING:
    from datatrove.pipeline.filters.base_filter import BaseFilter

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


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


class GopherSettings(StepSettings):
    """datatrove's own defaults are the paper's thresholds."""

    language: str = "eng_Latn"


def gopher_quality(settings: GopherSettings, _context: StepContext) -> "BaseFilter":
    """Drop with datatrove's reasons."""
    from datatrove.pipeline.filters import GopherQualityFilter

    return GopherQualityFilter(language=settings.language)


def gopher_repetition(settings: GopherSettings, _context: StepContext) -> "BaseFilter":
    """Drop with datatrove's reasons."""
    from datatrove.pipeline.filters import GopherRepetitionFilter

    return GopherRepetitionFilter(language=settings.language)
