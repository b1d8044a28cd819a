"""FineWeb's own rules (Penedo et al. 2024, section 3.6) with datatrove's decisions."""

from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter as StockFilter
from datatrove.pipeline.filters.gopher_repetition_filter import find_duplicates

from smoldata.heuristics.splitter import WordSplitter, shared_splitter

Verdict = bool | tuple[bool, str]


class FineWebQualityFilter(StockFilter):  # type: ignore[misc] # datatrove ships no types
    """datatrove's filter of the same name and arguments, many times faster."""

    def __init__(self, *args: Any, splitter: WordSplitter | None = None, **kwargs: Any) -> None:
        """Take datatrove's arguments; ``splitter`` shares splits with other filters."""
        super().__init__(*args, **kwargs)
        self._splitter = splitter
        single = all(len(mark) == 1 for mark in self.stop_chars)
        self._stop_set = frozenset(self.stop_chars) if single else None

    @property
    def splitter(self) -> WordSplitter:
        """The splitter: its own or, made in the process that runs the filter, the shared one."""
        return self._splitter or shared_splitter(self.language)

    def filter(self, doc: Document) -> Verdict:
        """Keep, or drop with the rule that the document breaks."""
        text = doc.text
        lines = [line for line in text.split("\n") if line and not line.isspace()]
        if not lines:
            return False, "empty"
        ratio = self._ended(lines) / len(lines)
        if ratio < self.line_punct_thr and not (ratio == 0 and self.line_punct_exclude_zero):
            return False, "line_punct_ratio"
        if (
            sum(len(line) <= self.short_line_length for line in lines) / len(lines)
            > self.short_line_threshold
        ):
            return False, "short_line_ratio"
        if len(set(lines)) < len(lines):
            characters = len(text) - text.count("\n")
            if find_duplicates(lines)[1] / characters > self.char_duplicates_ratio:
                return False, "char_dup_ratio"
        elif self.char_duplicates_ratio < 0:
            return False, "char_dup_ratio"
        return self._is_list(text)

    def _ended(self, lines: list[str]) -> int:
        if self._stop_set is None:
            return sum(line.endswith(self.stop_chars) for line in lines)
        return sum(line[-1] in self._stop_set for line in lines)

    def _is_list(self, text: str) -> Verdict:
        breaks = text.count("\n")
        # There are at least as many words as chunks between spaces in a spaced language's text; no more of
        # them are counted than show that there are enough words.
        if self.splitter.splits_chunks and self.new_line_ratio > 0:
            enough = int(breaks / self.new_line_ratio) + 1
            if breaks / len(text.split(None, enough)) <= self.new_line_ratio:
                return True
        if breaks / len(self.splitter.split(text).ids) > self.new_line_ratio:
            return False, "list_ratio"
        return True
