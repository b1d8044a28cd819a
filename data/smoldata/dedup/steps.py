"""The steps ``exact_dedup`` and ``minhash_dedup`` of pipeline recipes: their settings and factories.

Of documents that are the same, one stays: see :mod:`smoldata.dedup.keys`.
"""

from typing import TYPE_CHECKING, Literal

from smoldata.steps import StepContext, StepSettings

if TYPE_CHECKING:
    from datatrove.pipeline.base import PipelineStep


class ExactSettings(StepSettings):
    """What counts as the same text."""

    normalise: Literal["none", "spaces", "simplified"] = "spaces"
    """``none``: every character. ``spaces``: Unicode NFC, white space as one space, none at the ends.
    ``simplified``: as MinHash compares: lower case, no punctuation, numbers as 0, no accents."""


class MinhashSettings(StepSettings):
    """The shape of signatures (FineWeb: Penedo et al. 2024, section 3.4); the splitter's language."""

    ngram: int = 5
    bands: int = 14
    rows: int = 8
    seed: int = 1
    language: str | None = None
    """FineWeb2 code; null: the source's language, or English."""


def exact_dedup(settings: ExactSettings, _context: StepContext) -> "PipelineStep":
    """Drop as ``exact_dedup`` what is the same text as another document after normalisation."""
    from smoldata.dedup.keys import ExactKey

    return ExactKey(settings)


def minhash_dedup(settings: MinhashSettings, context: StepContext) -> "PipelineStep":
    """Drop as ``minhash_dedup`` what is nearly the same text as another document."""
    from smoldata.dedup.keys import MinhashKey
    from smoldata.heuristics.splitter import require_splitter

    language = settings.language or context.language or "eng_Latn"
    require_splitter(language)
    return MinhashKey(settings, language)
