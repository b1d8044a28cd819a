"""Factories of the heuristics as steps of a recipe; the filters come with the first step made."""

from typing import TYPE_CHECKING, Any

from smoldata.rules import fineweb2_numbers
from smoldata.steps import StepContext, StepSettings

if TYPE_CHECKING:
    from datatrove.pipeline.filters.base_filter import BaseFilter


class WebSettings(StepSettings):
    """Options are datatrove's arguments, by filter; without any they are FineWeb's."""

    language: str = "eng_Latn"
    options: dict[str, dict[str, Any]] | None = None
    """``gopher_repetition``, ``gopher_quality``, ``c4_quality``, ``fineweb_quality``: their arguments."""


def web_heuristics(settings: WebSettings, _context: StepContext) -> "BaseFilter":
    """Drop with datatrove's reasons; lines that C4's rules refuse are taken out of the text."""
    from smoldata.heuristics.splitter import require_splitter
    from smoldata.heuristics.web import WebHeuristics

    require_splitter(settings.language)
    return WebHeuristics(settings.language, options=settings.options)


class GopherSettings(StepSettings):
    """datatrove's own defaults are the paper's thresholds."""

    language: str = "eng_Latn"


def gopher_quality(settings: GopherSettings, _context: StepContext) -> "BaseFilter":
    """Drop with datatrove's reasons."""
    from smoldata.heuristics.quality import GopherQualityFilter

    return GopherQualityFilter(language=settings.language)


def gopher_repetition(settings: GopherSettings, _context: StepContext) -> "BaseFilter":
    """Drop with datatrove's reasons."""
    from smoldata.heuristics.repetition import GopherRepetitionFilter

    return GopherRepetitionFilter(language=settings.language)


class NoSettings(StepSettings):
    """Nothing to set: the language decides."""


def fineweb2_heuristics(_settings: NoSettings, context: StepContext) -> "list[BaseFilter]":
    """Drop by FineWeb2's rules for the language, with datatrove's reasons."""
    from smoldata.heuristics.fineweb import FineWebQualityFilter
    from smoldata.heuristics.quality import GopherQualityFilter
    from smoldata.heuristics.repetition import GopherRepetitionFilter
    from smoldata.heuristics.splitter import require_splitter

    numbers = fineweb2_numbers(context.language)
    require_splitter(context.language or "")
    return [
        GopherRepetitionFilter(
            language=context.language,
            dup_para_frac=0,
            dup_line_char_frac=0,
            dup_para_char_frac=0,
            dup_line_frac=numbers["dup_line_frac"],
            top_n_grams=numbers["top_n_grams"],
            dup_n_grams=numbers["dup_n_grams"],
        ),
        FineWebQualityFilter(
            language=context.language,
            short_line_thr=999,
            char_duplicates_ratio=0.1,
            line_punct_thr=numbers["line_punct_thr"],
            new_line_ratio=numbers["new_line_ratio"],
        ),
        GopherQualityFilter(
            language=context.language,
            max_avg_word_length=numbers["max_avg_word_length"],
            min_avg_word_length=numbers["min_avg_word_length"],
            stop_words=numbers["stopwords"],
            max_non_alpha_words_ratio=numbers["max_non_alpha_words_ratio"],
            min_stop_words=2,
        ),
    ]
