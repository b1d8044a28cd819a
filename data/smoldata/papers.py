"""Whole papers -> those that are running text in one language: the rules of peS2o.

A document is title, abstract and body, with empty lines between paragraphs, as :mod:`smoldata.kinds.paper`
writes it. The rules look at the body alone. Paragraphs that hardly use words of the language (mean log2
probability of a word under -20) are taken out of the text, where word counts are given; the paper's language
is the one that most of its paragraphs are in, where an identifier is given. Words between white space count;
for probabilities a text is split by datatrove's rules for English (peS2o: blingfire's, much alike).

Cost: one look-up a word; the counts of 333,333 words take some 40 MB.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from smoldata.errors import InputError, IntegrityError
from smoldata.files import sha256
from smoldata.rules import PaperSettings

_FRONT: Final = 2
"""Title and abstract."""
_LANGUAGE_CHARACTERS: Final = 2000
_TOP_WORD: Final = re.compile(r"[A-Za-z][a-z]+")


class WordProbabilities:
    """Log probabilities of words by how often they were counted in a large corpus."""

    def __init__(self, counts: dict[str, int]) -> None:
        """Take counts by word in lower case; a word without a count is as frequent as peS2o makes it."""
        total = math.log2(sum(counts.values()))
        self._known = {word: math.log2(count) - total for word, count in counts.items()}
        self._unknown = math.log2(math.sqrt(len(counts)) + 1) - total

    def mean(self, words: Sequence[str]) -> float:
        """Return the mean log2 probability of a word; 0 for no words."""
        known, unknown = self._known, self._unknown
        return sum(known.get(word.lower(), unknown) for word in words) / max(len(words), 1)


@cache
def read_counts(path: Path, digest: str) -> WordProbabilities:
    """Return the words of a table ``word,count``, read once a process; lines without a number are skipped.

    Raises:
        InputError: there is no such file, or no count in it.
        IntegrityError: its sha256 is not ``digest``.
    """
    if not path.is_file():
        raise InputError(f"no table of words at {path}; fetch it and give its path and sha256")
    seen = sha256(path)
    if seen != digest.lower():
        raise IntegrityError(f"{path} has sha256 {seen}, wanted {digest}; fetch it again, or pin this one")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if len(row) == 2 and row[1].isdecimal()]  # noqa: PLR2004
    counts = {word: int(count) for word, count in rows if int(count) > 0}
    if not counts:
        raise InputError(f"{path} holds no lines of the form word,count")
    return WordProbabilities(counts)


class PaperFilter(BaseFilter):  # type: ignore[misc] # datatrove ships no types
    """Drops texts that are no running text: other languages, too short or long, one word or sign all over."""

    name = "paper"

    def __init__(self, settings: PaperSettings, base: Path) -> None:
        """Filter by ``settings``; relative paths start from ``base``."""
        super().__init__()
        self.settings = settings
        self._counts = _found(base, settings.word_counts)
        self._model = _found(base, settings.language_model)
        # What is wrong with a file is told before any work.
        self._probabilities()
        self._identifier()

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep without what is no text, or drop as ``language``, ``few_words`` and so on."""
        rules = self.settings
        parts = [part.strip("\n") for part in doc.text.split("\n\n") if part.strip()]
        front, body = parts[:_FRONT], parts[_FRONT:]
        words = Counter(word for part in body for word in part.split())
        if rules.least_words and words.total() < rules.least_words:
            return False, "few_words"
        if rules.most_words is not None and words.total() > rules.most_words:
            return False, "many_words"
        # Of words that are equally frequent the first in the text counts.
        word, count = words.most_common(1)[0] if words else ("", 0)
        too_often = count > rules.most_frequent_word * words.total()
        if rules.most_frequent_word < 1 and (too_often or not _TOP_WORD.fullmatch(word)):
            return False, "frequent_word"
        if self._model is not None and self._language(body) != rules.language:
            return False, "language"
        valid = self._likely(body)
        if len(valid) < rules.least_paragraphs:
            return False, "few_paragraphs"
        if len(valid) < len(body):
            doc.text = "\n\n".join([*front, *valid]) + "\n"
        return True

    def _likely(self, body: list[str]) -> list[str]:
        """Return the paragraphs that use words of the language."""
        probabilities = self._probabilities()
        if probabilities is None:
            return body
        from smoldata.heuristics.splitter import shared_splitter

        splitter = shared_splitter("eng_Latn")
        least = self.settings.least_log_probability
        return [part for part in body if probabilities.mean(splitter.words(part)) >= least]

    def _language(self, body: list[str]) -> str:
        model = self._identifier()
        found = Counter(model.best(part.strip()[:_LANGUAGE_CHARACTERS])[0] for part in body)
        return found.most_common(1)[0][0] if found else ""

    def _probabilities(self) -> WordProbabilities | None:
        if self._counts is None:
            return None
        return read_counts(self._counts, self.settings.word_counts_sha256 or "")

    def _identifier(self) -> Any:
        if self._model is None:
            return None
        from smoldata.scoring import fasttext_models

        label = f"__label__{self.settings.language}"
        return fasttext_models.load(self._model, self.settings.language_model_sha256 or "", [label])


def _found(base: Path, name: str | None) -> Path | None:
    from smoldata.steps import find_path

    return None if name is None else find_path(base, name)
