"""C4's rules (Raffel et al. 2020) with datatrove's decisions and edits, lines looked at once.

Lines without end mark, with too few words, about cookies and the like are taken out; a document with too few
sentences left is dropped. Phrases are first searched for in the whole text.
"""

import sys
from dataclasses import dataclass
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.c4_filters import (
    CITATION_REGEX,
    ELLIPSIS,
    END_PUNCTUATION,
    POLICY_SUBSTRINGS,
)
from datatrove.pipeline.filters.c4_filters import C4QualityFilter as StockFilter

from smoldata.heuristics.splitter import LineSentences, WordSplitter, shared_splitter

Verdict = bool | tuple[bool, str]


class C4QualityFilter(StockFilter):  # type: ignore[misc] # datatrove ships no types
    """datatrove's filter of the same name and arguments, many times faster.

    Its statistics are datatrove's totals (``line-kept`` and so on), counted once a document.
    """

    def __init__(self, *args: Any, splitter: WordSplitter | None = None, **kwargs: Any) -> None:
        """Take datatrove's arguments; ``splitter`` shares splits with other filters."""
        super().__init__(*args, **kwargs)
        self._splitter = splitter

    @property
    def splitter(self) -> WordSplitter:
        """The splitter: its own or, made in the process that runs the filter, the shared one."""
        return self._splitter or shared_splitter(self.language)

    def filter(self, doc: Document) -> Verdict:
        """Take lines out of the document and keep it, or drop it with the rule that it breaks."""
        if not self.split_paragraph:
            return bool_or_reason(super().filter(doc))
        counts: dict[str, int] = {}
        try:
            kept, sentences, reason = self._lines(doc.text, counts)
        finally:
            for name, count in counts.items():
                self.stat_update(name, value=count)
        if reason:
            return False, reason
        if sentences < self.min_num_sentences:
            return False, "too_few_sentences"
        doc.text = "\n".join(kept).strip()
        return True

    def _lines(self, text: str, counts: dict[str, int]) -> tuple[list[str], int, str | None]:
        """Return the lines to keep, their sentences, and why the document is dropped."""
        look = _Suspicion.of(text, self)
        kept: list[str] = []
        sentences = 0
        most = sys.maxsize if self.max_word_length == -1 else self.max_word_length
        counting = self.min_num_sentences != -1
        known = self._known(text) if counting else None
        for place, whole in enumerate(text.splitlines()):
            line = whole.strip()
            counts["line-total"] = place + 1
            words = len(line.split()) if known is None else len(known.lines[place])
            if look.nothing and len(line) <= most:
                fate = "line-kept" if words >= self.min_words_per_line else "line-filter-too_few_words"
            else:
                fate, line = self._fate(line, words, look)
            if fate in _DROPS:
                return kept, sentences, fate
            counts[fate] = counts.get(fate, 0) + 1
            if fate == "line-kept":
                kept.append(line)
                if counting:
                    number = known.count(place, line) if known is not None else None
                    sentences += self.splitter.sentences(line) if number is None else number
        return kept, sentences, None

    def _known(self, text: str) -> "LineSentences | None":
        """Return what is known of the text's lines, if the splitter counts sentences itself."""
        splitter = self.splitter
        return splitter.sentences_of_lines(splitter.split(text)) if splitter.counts_sentences else None

    def _fate(self, line: str, words: int, look: "_Suspicion") -> tuple[str, str]:
        """Return what becomes of a line of so many words, and the line without citations."""
        most = self.max_word_length
        if most != -1 and len(line) > most and any(len(word) > most for word in line.split()):
            return "line-filter-too_long_word", line
        if self.remove_citations and "[" in line:
            line = CITATION_REGEX.sub("", line)
        if self.filter_no_terminal_punct and (not line.endswith(END_PUNCTUATION) or line.endswith(ELLIPSIS)):
            return "line-filter-no_terminal_punc", line
        if words < self.min_words_per_line:
            return "line-filter-too_few_words", line
        return self._phrase(line, look), line

    def _phrase(self, line: str, look: "_Suspicion") -> str:
        """Return what becomes of a line for what it says."""
        lower = line.lower() if look.any else ""
        if look.lorem and "lorem ipsum" in lower:
            return "lorem_ipsum"
        if look.javascript and "javascript" in lower:
            return "line-filter-javascript"
        if look.bracket and "{" in line:
            return "curly_bracket"
        if look.policy and any(phrase in lower for phrase in POLICY_SUBSTRINGS):
            return "line-filter-policy"
        return "line-kept"


_DROPS = frozenset({"lorem_ipsum", "curly_bracket"})


@dataclass(frozen=True, slots=True)
class _Suspicion:
    """Which rules about phrases could apply to a line of this text at all."""

    lorem: bool
    javascript: bool
    bracket: bool
    policy: bool
    nothing: bool
    """No rule but those about the number and length of words applies."""

    @classmethod
    def of(cls, text: str, rules: Any) -> "_Suspicion":
        """Look at the whole text; a citation taken out of a line can make a phrase, so then all could."""
        lower = text.lower()
        cited = "[" in text
        lorem = rules.filter_lorem_ipsum and (cited or "lorem ipsum" in lower)
        javascript = rules.filter_javascript and (cited or "javascript" in lower)
        bracket = rules.filter_curly_bracket and "{" in text
        policy = rules.filter_policy and (cited or any(phrase in lower for phrase in POLICY_SUBSTRINGS))
        some = lorem or javascript or bracket or policy or rules.filter_no_terminal_punct or cited
        return cls(lorem, javascript, bracket, policy, nothing=not some)

    @property
    def any(self) -> bool:
        """Whether a rule needs the line in lower case."""
        return self.lorem or self.javascript or self.policy


def bool_or_reason(result: Any) -> Verdict:
    """Return a filter's result, typed."""
    return (False, str(result[1])) if isinstance(result, tuple) else bool(result)
