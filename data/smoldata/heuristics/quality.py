"""Gopher's quality rules (Rae et al. 2021, A1.1) with datatrove's decisions, counted over word numbers."""

from typing import Any

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter as StockFilter

from smoldata.heuristics.splitter import WordSplitter, shared_splitter
from smoldata.heuristics.words import Ids, WordTable

Verdict = bool | tuple[bool, str]
_BULLETS = ("•", "-")
_ELLIPSES = ("...", "…")


class GopherQualityFilter(StockFilter):  # type: ignore[misc] # datatrove ships no types
    """datatrove's filter of the same name and arguments, several times faster."""

    def __init__(self, *args: Any, splitter: WordSplitter | None = None, **kwargs: Any) -> None:
        """Take datatrove's arguments; ``splitter`` shares splits with other filters."""
        super().__init__(*args, **kwargs)
        self._splitter = splitter

    @property
    def splitter(self) -> WordSplitter:
        """The splitter: its own or, made in the process that runs the filter, the shared one."""
        splitter = self._splitter or shared_splitter(self.language)
        splitter.pin(self.stop_words)
        return splitter

    def filter(self, doc: Document) -> Verdict:
        """Keep, or drop with the rule that the document breaks."""
        text = doc.text
        splitter = self.splitter
        ids, table = splitter.split(text).ids, splitter.table
        is_word = table.is_word[ids]
        real = int(np.count_nonzero(is_word))
        if self.min_doc_words and real < self.min_doc_words:
            return False, "gopher_short_doc"
        if self.max_doc_words and real > self.max_doc_words:
            return False, "gopher_long_doc"
        length = int((table.length[ids] * is_word).sum()) / real if real else float("nan")
        if self.min_avg_word_length and length < self.min_avg_word_length:
            return False, "gopher_below_avg_threshold"
        if self.max_avg_word_length and length > self.max_avg_word_length:
            return False, "gopher_above_avg_threshold"
        return self._symbols(text, len(ids)) or self._letters(ids, table) or True

    def _symbols(self, text: str, words: int) -> tuple[bool, str] | None:
        most = self.max_symbol_word_ratio
        if most and text.count("#") / words > most:
            return False, "gopher_too_many_hashes"
        if most and (text.count("...") + text.count("…")) / words > most:
            return False, "gopher_too_many_ellipsis"
        lines = text.splitlines()
        most = self.max_bullet_lines_ratio
        if most and sum(line.lstrip().startswith(_BULLETS) for line in lines) / len(lines) > most:
            return False, "gopher_too_many_bullets"
        most = self.max_ellipsis_lines_ratio
        if most and sum(line.rstrip().endswith(_ELLIPSES) for line in lines) / len(lines) > most:
            return False, "gopher_too_many_end_ellipsis"
        return None

    def _letters(self, ids: Ids, table: WordTable) -> tuple[bool, str] | None:
        least = self.max_non_alpha_words_ratio  # datatrove's name; it is a least share
        if least and int(np.count_nonzero(table.has_letter[ids])) / len(ids) < least:
            return False, "gopher_below_alpha_threshold"
        if self.min_stop_words and self._stop_words_in(ids, table) < self.min_stop_words:
            return False, "gopher_enough_stop_words"
        return None

    def _stop_words_in(self, ids: Ids, table: WordTable) -> int:
        """Return how many different stop words occur; they are pinned, so their numbers are the lowest."""
        pinned = len(table.pinned)
        occurs = np.bincount(ids[ids < pinned], minlength=pinned)
        return sum(occurs[number] > 0 for number, word in enumerate(table.pinned) if word in self.stop_words)
