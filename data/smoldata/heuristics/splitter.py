"""Text -> words, exactly as datatrove's splitter gives them, with every chunk between spaces split once.

datatrove splits English with spaCy's rules. These work on one chunk between spaces at a time, but datatrove
runs them in a memory zone, where spaCy keeps no results: every "the" goes through three regular expressions.
Here the rules see each distinct chunk once (:mod:`smoldata.heuristics.spacy_rules`), and a document is a
dictionary look-up a chunk.

One rule looks across spaces: spaCy merges known sequences of tokens (``:`` ``)``), the longest first, and a
sequence that stands across a space can keep another from being merged. Chunks of which this could be true are
split together. A language whose splitter is not spaCy's rules is split by datatrove itself.

One word is an exception: ``IS_ALPHA``, the name of spaCy's first symbol. spaCy fails on it or not, depending
on the texts before, and datatrove then takes it out; here it is a word as any other, whatever came before.

Cost: about 80 ns a chunk, 10 to 25 µs for one not seen before; some 300 bytes a distinct chunk, and all are
forgotten when ``most_chunks`` are kept.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from smoldata.heuristics.spacy_rules import Pieces, SpacyRules, rules_of
from smoldata.heuristics.words import Ids, WordTable

MOST_CHUNKS = 1 << 19
_MOST_CHARACTERS = 1 << 26
_CHUNK = re.compile(r"\S+")
_RUN = re.compile(r"\s+|\S+")
_REACH = 32
"""Chunks on either side that a sequence across a space is looked for in: more than the longest has tokens."""
_CHUNK = re.compile(r"\S+")
_RUN = re.compile(r"\s+|\S+")
_REACH = 32
"""Chunks on either side that a sequence across a space is looked for in: more than the longest has tokens."""


@dataclass(frozen=True, slots=True)
class Split:
    """A text's words as numbers of :class:`WordTable`."""

    text: str
    ids: Ids
    plain: bool
    """Every line of the text, too, is split chunk by chunk."""


class WordSplitter:
    """Splits texts of one language; remembers what it split, and the last text whole."""

    def __init__(self, language: str, *, most_chunks: int = MOST_CHUNKS) -> None:
        """Use the splitter that datatrove assigns to ``language``."""
        from datatrove.utils.text import PUNCTUATION_SET
        from datatrove.utils.word_tokenizers import load_word_tokenizer

        self.language = language
        self.table = WordTable(frozenset(PUNCTUATION_SET))
        self._stock: Any = load_word_tokenizer(language)
        self._rules: SpacyRules | None = rules_of(self._stock)
        self._most_chunks = most_chunks
        self._forget()

    def _forget(self) -> None:
        self.table.clear()
        self._last: Split | None = None
        self._characters = 0
        self._numbers = _Numbers()
        self._count = 0
        self._codes: dict[str, str] = {}
        self._pool = np.zeros(1 << 12, np.int64)
        self._pool_size = 0
        self._start = np.zeros(1 << 12, np.int64)
        self._pieces = np.zeros(1 << 12, np.int64)
        self._joins_left = np.zeros(1 << 12, np.int64)
        self._joins_right = np.zeros(1 << 12, np.int64)

    def pin(self, words: Iterable[str]) -> None:
        """Give words fixed low numbers in the table (:meth:`WordTable.pin`)."""
        if not self.table.pinned_set.issuperset(words):
            self.table.pin(sorted(words))
            self._forget()

    @property
    def remembered(self) -> int:
        """How many distinct chunks are remembered."""
        return self._count

    @property
    def counts_sentences(self) -> bool:
        """Whether :meth:`sentences` is worked out here and not by datatrove."""
        return self._rules is not None and self._rules.sentences

    @property
    def splits_chunks(self) -> bool:
        """Whether each chunk between spaces gives at least one word."""
        return self._rules is not None

    def words(self, text: str) -> list[str]:
        """Return the words of a text: what ``datatrove.utils.text.split_into_words`` returns."""
        ids = self.split(text).ids.tolist()
        words = self.table.words  # after splitting, which may begin a new table
        return [words[number] for number in ids]

    def split(self, text: str) -> Split:
        """Return the words of a text as numbers, which hold until the next text is split."""
        if self._last is not None and self._last.text == text:
            return self._last
        if self._is_full():
            self._forget()
        self._last = self._split(text)
        return self._last

    def split_chunks(self, chunks: list[str]) -> Split:
        """Return the words of chunks with one space between them, none of which holds white space."""
        if self._is_full():
            self._forget()
        if self._rules is None:
            return self._stock_split(" ".join(chunks))
        return self._split_into(chunks, None)

    def _is_full(self) -> bool:
        return (
            self._count >= self._most_chunks
            or len(self.table) >= 2 * self._most_chunks
            or self._characters >= _MOST_CHARACTERS
        )

    def _split(self, text: str) -> Split:
        if self._rules is None:
            return self._stock_split(text)
        return self._split_into(text.split(), text)

    def _split_into(self, chunks: list[str], text: str | None) -> Split:
        """Split chunks of a text, by default the text with one space between them."""
        units = self._units(text, chunks)
        numbers = None if units is None else self._number(units)
        if numbers is None:
            return self._stock_split(" ".join(chunks) if text is None else text)
        return Split(text or "", self._flatten(numbers), plain=units is chunks)

    def _stock_split(self, text: str) -> Split:
        words = self._stock.word_tokenize(text)
        self._characters += sum(map(len, words))
        return Split(text, self.table.ids(words), plain=False)

    def _number(self, chunks: list[str]) -> Ids | None:
        """Return the chunks' numbers, learning new ones; nothing if spaCy refuses one of them."""
        numbers = np.fromiter(map(self._numbers.__getitem__, chunks), np.int64, len(chunks))
        if self._numbers.fresh:
            fresh, self._numbers.fresh = self._numbers.fresh, []
            if not self._learn(fresh):
                for chunk in fresh:
                    del self._numbers[chunk]
                return None
        return numbers

    def _learn(self, chunks: list[str]) -> bool:
        assert self._rules is not None, "asked only where there are rules"
        try:
            learned = self._rules.split(chunks)
        except Exception:  # noqa: BLE001 - whatever spaCy raises, datatrove's own call must raise or repair
            return False
        self._remember(chunks, learned)
        return True

    def _remember(self, chunks: list[str], learned: list[Pieces]) -> None:
        flat = [word for pieces in learned for word in pieces.words]
        counts = np.fromiter((len(pieces.words) for pieces in learned), np.int64, len(learned))
        first, end = self._count, self._count + len(chunks)
        pool_end = self._pool_size + len(flat)
        self._reserve(end, pool_end)
        self._pool[self._pool_size : pool_end] = self.table.ids(flat)
        self._start[first:end] = self._pool_size + np.cumsum(counts) - counts
        self._pieces[first:end] = counts
        self._joins_left[first:end] = [pieces.joins_left for pieces in learned]
        self._joins_right[first:end] = [pieces.joins_right for pieces in learned]
        self._pool_size = pool_end
        self._count = end
        self._codes.update(zip(chunks, [pieces.code for pieces in learned], strict=True))
        self._characters += sum(map(len, chunks))

    def _reserve(self, chunks: int, pool: int) -> None:
        if pool > len(self._pool):
            self._pool = np.concatenate([self._pool, np.zeros(2 * pool, np.int64)])
        if chunks > len(self._start):
            for name in ("_start", "_pieces", "_joins_left", "_joins_right"):
                column = getattr(self, name)
                setattr(self, name, np.concatenate([column, np.zeros(2 * chunks, column.dtype)]))

    def _units(self, text: str | None, chunks: list[str]) -> list[str] | None:
        """Return ``chunks`` or, where spaCy may look over a space of the text, chunks joined there.

        None if spaCy refuses a chunk.
        """
        numbers = self._number(chunks)
        if numbers is None:
            return None
        rules = self._rules
        assert rules is not None, "asked only where there are rules"
        rows, columns = self._joins_right[numbers[:-1]], self._joins_left[numbers[1:]]
        suspects = np.flatnonzero(rules.bigrams[rows, columns])
        if not len(suspects):
            return chunks
        pairs = zip(suspects.tolist(), rows[suspects].tolist(), columns[suspects].tolist(), strict=True)
        links = [place for place, row, column in pairs if self._joins((row, column), chunks, place)]
        return self._joined(" ".join(chunks) if text is None else text, chunks, links) if links else chunks

    def _joins(self, pair: tuple[int, int], chunks: list[str], place: int) -> bool:
        """Return whether a sequence of tokens could reach over the white space after chunk ``place``."""
        assert self._rules is not None, "asked only where there are rules"
        before = chunks[max(0, place + 1 - _REACH) : place + 1]
        return self._rules.crosses(pair, before, chunks[place + 1 : place + 1 + _REACH])

    def _joined(self, text: str, chunks: list[str], links: list[int]) -> list[str]:
        """Return the chunks with those joined that merging could change together."""
        rules = self._rules
        assert rules is not None, "asked only where there are rules"
        if not any(rules.merges_in(chunks[first : last + 2]) for first, last in _runs(links)):
            return chunks
        spans = [match.span() for match in _CHUNK.finditer(text)]
        # Other white space is a token of its own, over which no rule looks.
        held = {place for place in links if text[spans[place][1] : spans[place + 1][0]] == " "}
        units, first = [], 0
        for place in range(len(chunks)):
            if place in held:
                continue
            run = chunks[first : place + 1]
            units += [" ".join(run)] if len(run) > 1 and rules.merges_in(run) else run
            first = place + 1
        return chunks if len(units) == len(chunks) else units

    def _flatten(self, numbers: Ids) -> Ids:
        counts = self._pieces[numbers]
        starts = self._start[numbers]
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        if total == len(numbers):
            return self._pool[starts]
        return self._pool[np.repeat(starts - ends + counts, counts) + np.arange(total)]

    def sentences(self, line: str, *, plain: bool = False) -> int:
        """Return how many sentences datatrove's ``split_into_sentences`` gives for a line.

        ``plain`` promises that the line's chunks stand in the last text split, in this order, and that this
        split was plain: then nothing is checked again.
        """
        if self.counts_sentences:
            chunks = line.split()
            units = chunks if plain else self._units(line, chunks)
            codes = None if units is None else self._sentence_codes(line, chunks, units)
            if codes is not None:
                # A sentence starts with the first word after an end mark; other marks between don't count.
                return 1 + codes.count("EW")
        from datatrove.utils.text import split_into_sentences

        return len(split_into_sentences(line, self.language))

    def _sentence_codes(self, line: str, chunks: list[str], units: list[str]) -> str | None:
        """Return the codes of a line's tokens; None if datatrove has to be asked."""
        known = self._codes
        if units is not chunks and self._number(units) is None:
            return None
        if " ".join(chunks) == line:
            return "".join([known[unit] for unit in units])
        if units is not chunks:
            return None
        codes = []
        for match in _RUN.finditer(line):
            run = match.group()
            if not run.isspace():
                codes.append(known[run])
            elif run != " " or match.start() == 0:
                codes.append("W")  # white space beyond one space is a token, and no punctuation
        return "".join(codes)


class _Numbers(dict[str, int]):
    """Numbers of chunks; one that is not known gets the next number and waits in ``fresh`` to be learned."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh: list[str] = []

    def __missing__(self, chunk: str) -> int:
        number = self[chunk] = len(self)
        self.fresh.append(chunk)
        return number


def _runs(places: list[int]) -> list[tuple[int, int]]:
    """Return the first and last of each run of ascending numbers that follow one another."""
    breaks = [index for index in range(1, len(places)) if places[index] != places[index - 1] + 1]
    edges = [0, *breaks, len(places)]
    return [(places[start], places[end - 1]) for start, end in pairwise(edges)]


@lru_cache(maxsize=8)
def shared_splitter(language: str) -> WordSplitter:
    """Return the splitter of a language that all filters of this process share."""
    return WordSplitter(language)
