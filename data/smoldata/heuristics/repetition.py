"""Gopher's repetition rules (Rae et al. 2021, table A1) with datatrove's decisions, bounds first.

``filter`` follows datatrove's rule by rule, in its order; each rule is first tried by a bound that costs a
few microseconds, and only where that does not decide are n-grams compared as strings.
"""

from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.gopher_repetition_filter import (
    GopherRepetitionFilter as StockFilter,
)
from datatrove.pipeline.filters.gopher_repetition_filter import (
    find_duplicates,
    find_top_duplicate,
    get_n_grams,
)

from smoldata.heuristics.ngrams import (
    Grams,
    TopBound,
    duplicate_characters,
    sizes_to_count,
    top_characters,
)
from smoldata.heuristics.splitter import WordSplitter, shared_splitter

_PARAGRAPH, _LINE = r"\n{2,}", r"\n+"
Verdict = bool | tuple[bool, str]


class GopherRepetitionFilter(StockFilter):  # type: ignore[misc] # datatrove ships no types
    """datatrove's filter of the same name and arguments, several times faster."""

    def __init__(self, *args: Any, splitter: WordSplitter | None = None, **kwargs: Any) -> None:
        """Take datatrove's arguments; ``splitter`` shares splits with other filters."""
        super().__init__(*args, **kwargs)
        self._splitter = splitter

    @property
    def splitter(self) -> WordSplitter:
        """The splitter: its own or, made in the process that runs the filter, the shared one."""
        return self._splitter or shared_splitter(self.language)

    def filter(self, doc: Document) -> Verdict:
        """Keep, or drop with the rule that the document breaks."""
        text = doc.text
        if not text:
            return False, "empty"
        return self._repeated_parts(text) or self._repeated_grams(text) or True

    def _repeated_parts(self, text: str) -> tuple[bool, str] | None:
        stripped = text.strip()
        plain = self.paragraph_exp.pattern == _PARAGRAPH and "\n\n" not in stripped
        paragraphs = [stripped] if plain else self.paragraph_exp.split(stripped)
        number, characters = _duplicates(paragraphs)
        if self.dup_para_frac and number / len(paragraphs) > self.dup_para_frac:
            return False, "dup_para_frac"
        if self.dup_para_char_frac and characters / len(text) > self.dup_para_char_frac:
            return False, "dup_para_char_frac"
        lines = _lines(text) if self._line_splitter.pattern == _LINE else self._line_splitter.split(text)
        number, characters = _duplicates(lines)
        if self.dup_line_frac and number / len(lines) > self.dup_line_frac:
            return False, "dup_line_frac"
        if self.dup_line_char_frac and characters / len(text) > self.dup_line_char_frac:
            return False, "dup_line_char_frac"
        return None

    def _repeated_grams(self, text: str) -> tuple[bool, str] | None:
        splitter = self.splitter
        ids = splitter.split(text).ids
        grams = Grams.of(ids, splitter.table)
        bound = None if splitter.table.has_space else TopBound(grams, len(text))
        for n, share in self.top_n_grams:
            if len(ids) < n or (bound is not None and bound.is_below(n, share)):
                continue
            if self._top(text, grams, n) / len(text) > share:
                return False, f"top_{n}_gram"
        joined = ""
        for n, share in sizes_to_count(grams, self.dup_n_grams, len(text)):
            joined = joined or "".join(splitter.words(text))
            if duplicate_characters(grams, n, joined) / len(text) > share:
                return False, f"duplicated_{n}_n_grams"
        return None

    def _top(self, text: str, grams: Grams, size: int) -> int:
        """Return the characters of the most frequent n-gram, each time that it occurs."""
        splitter = self.splitter
        if not splitter.table.has_space:
            exact = top_characters(grams, size, splitter.split(text).ids)
            if exact is not None:
                return exact
        return int(find_top_duplicate(get_n_grams(splitter.words(text), size)))


def _lines(text: str) -> list[str]:
    """Return what a text is split into at one or more line breaks, as a regular expression does it."""
    lines = [line for line in text.split("\n") if line]
    if text.startswith("\n"):
        lines.insert(0, "")
    if text.endswith("\n"):
        lines.append("")
    return lines


def _duplicates(parts: list[str]) -> tuple[int, int]:
    """Return how many parts occurred before, and their characters."""
    if len(set(parts)) == len(parts):
        return 0, 0
    number, characters = find_duplicates(parts)
    return number, characters
