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
from importlib.util import find_spec
from itertools import accumulate, chain, pairwise, repeat
from typing import Any

import numpy as np

from smoldata.errors import RecipeError
from smoldata.heuristics.spacy_rules import Learned, SpacyRules, rules_of
from smoldata.heuristics.words import Ids, WordTable

MOST_CHUNKS = 1 << 19
_MOST_CHARACTERS = 1 << 26
_CHUNK = re.compile(r"\S+")
_RUN = re.compile(r"\s+|\S+")
_MISSING = repeat(-1)
_REACH = 32
"""Chunks on either side that a sequence across a space is looked for in: more than the longest has tokens."""


@dataclass(frozen=True, slots=True)
class Split:
    """A text's words as numbers of :class:`WordTable`."""

    text: str
    ids: Ids
    lines: list[list[str]] | None = None
    """Chunks of each of the text's lines, if each chunk is split alone."""
    numbers: Ids | None = None
    """Number of each of these chunks."""


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
        self._numbers: dict[str, int] = {}
        self._count = 0
        self._codes: list[str] = []
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
        return self._split_into([chunks], None)

    def _is_full(self) -> bool:
        return (
            self._count >= self._most_chunks
            or len(self.table) >= 2 * self._most_chunks
            or self._characters >= _MOST_CHARACTERS
        )

    def _split(self, text: str) -> Split:
        if self._rules is None:
            return self._stock_split(text)
        return self._split_into([line.split() for line in text.splitlines()], text)

    def _split_into(self, lines: list[list[str]], text: str | None) -> Split:
        """Split chunks of a text's lines, by default the text with one space between them."""
        chunks = lines[0] if len(lines) == 1 else list(chain.from_iterable(lines))
        numbers = self._number(chunks)
        units = None if numbers is None else self._units(text, chunks, numbers)
        if units is not None and units is not chunks:
            numbers = self._number(units)
        if units is None or numbers is None:
            return self._stock_split(" ".join(chunks) if text is None else text)
        ids = self._flatten(numbers)
        if text is None or units is not chunks:
            return Split(text or "", ids)
        return Split(text, ids, lines, numbers)

    def _stock_split(self, text: str) -> Split:
        words = self._stock.word_tokenize(text)
        self._characters += sum(map(len, words))
        return Split(text, self.table.ids(words))

    def _number(self, chunks: list[str]) -> Ids | None:
        """Return the chunks' numbers, learning new ones; nothing if spaCy refuses one of them."""
        numbers = np.fromiter(map(self._numbers.get, chunks, _MISSING), np.int64, len(chunks))
        missing = np.flatnonzero(numbers < 0)
        if len(missing):
            fresh = [chunks[place] for place in missing.tolist()]
            if not self._learn(list(dict.fromkeys(fresh))):
                return None
            numbers[missing] = [self._numbers[chunk] for chunk in fresh]
        return numbers

    def _learn(self, chunks: list[str]) -> bool:
        assert self._rules is not None, "asked only where there are rules"
        try:
            learned = self._rules.split(chunks)
        except Exception:  # noqa: BLE001 - whatever spaCy raises, datatrove's own call must raise or repair
            return False
        self._remember(chunks, learned)
        return True

    def _remember(self, chunks: list[str], learned: Learned) -> None:
        counts = np.array(learned.counts, np.int64)
        first, end = self._count, self._count + len(chunks)
        pool_end = self._pool_size + len(learned.words)
        self._reserve(end, pool_end)
        self._pool[self._pool_size : pool_end] = self.table.ids(learned.words)
        self._start[first:end] = self._pool_size + np.cumsum(counts) - counts
        self._pieces[first:end] = counts
        for column, joins in ((self._joins_left, learned.left), (self._joins_right, learned.right)):
            for place, value in joins.items():
                column[first + place] = value
        self._pool_size = pool_end
        self._count = end
        self._codes += learned.codes
        self._numbers.update(zip(chunks, range(first, end), strict=True))
        self._characters += sum(map(len, chunks))

    def _reserve(self, chunks: int, pool: int) -> None:
        if pool > len(self._pool):
            self._pool = np.concatenate([self._pool, np.zeros(2 * pool, np.int64)])
        if chunks > len(self._start):
            for name in ("_start", "_pieces", "_joins_left", "_joins_right"):
                column = getattr(self, name)
                setattr(self, name, np.concatenate([column, np.zeros(2 * chunks, column.dtype)]))

    def _units(self, text: str | None, chunks: list[str], numbers: Ids) -> list[str]:
        """Return ``chunks`` or, where spaCy may look over a space of the text, chunks joined there."""
        rules = self._rules
        assert rules is not None, "asked only where there are rules"
        rows, columns = self._joins_right[numbers[:-1]], self._joins_left[numbers[1:]]
        if not (rows.any() and columns.any()):
            return chunks
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

    def sentences(self, line: str) -> int:
        """Return how many sentences datatrove's ``split_into_sentences`` gives for a line."""
        codes = self._line_codes(line) if self.counts_sentences else None
        if codes is not None:
            return _sentences(codes)
        from datatrove.utils.text import split_into_sentences

        return len(split_into_sentences(line, self.language))

    def sentences_of_lines(self, split: Split) -> "LineSentences | None":
        """Return what counts the sentences of a split text's lines; None if they have to be split again."""
        if split.numbers is None or split.lines is None or not self.counts_sentences:
            return None
        known = self._codes
        return LineSentences(split.lines, [known[number] for number in split.numbers.tolist()])

    def _line_codes(self, line: str) -> str | None:
        """Return the codes of a line's tokens; None if datatrove has to be asked."""
        chunks = line.split()
        numbers = self._number(chunks)
        units = None if numbers is None else self._units(line, chunks, numbers)
        if units is not None and units is not chunks:
            numbers = self._number(units)
        if units is None or numbers is None:
            return None
        if " ".join(chunks) == line:
            return "".join([self._codes[number] for number in numbers.tolist()])
        return None if units is not chunks else self._run_codes(line)

    def _run_codes(self, line: str) -> str:
        """Return the codes of a line with white space beyond single spaces."""
        codes = []
        for match in _RUN.finditer(line):
            run = match.group()
            if not run.isspace():
                codes.append(self._codes[self._numbers[run]])
            elif run != " " or match.start() == 0:
                codes.append("W")  # white space beyond one space is a token, and no punctuation
        return "".join(codes)


class LineSentences:
    """Sentences of a text's lines, by what is known of their chunks."""

    def __init__(self, lines: list[list[str]], codes: list[str]) -> None:
        """Take the chunks of each line, and the codes of all chunks."""
        self.lines = lines
        self._codes = codes
        self._ends = list(accumulate(map(len, lines)))

    def count(self, place: int, line: str) -> int | None:
        """Return the sentences of a line, stripped; None if other white space than single spaces is in it."""
        chunks = self.lines[place]
        if " ".join(chunks) != line:
            return None
        end = self._ends[place]
        return _sentences("".join(self._codes[end - len(chunks) : end]))


def _sentences(codes: str) -> int:
    # A sentence starts with the first word after an end mark; other marks between don't count.
    return 1 + codes.count("EW")


def _runs(places: list[int]) -> list[tuple[int, int]]:
    """Return the first and last of each run of ascending numbers that follow one another."""
    breaks = [index for index in range(1, len(places)) if places[index] != places[index - 1] + 1]
    edges = [0, *breaks, len(places)]
    return [(places[start], places[end - 1]) for start, end in pairwise(edges)]


@lru_cache(maxsize=64)
def require_splitter(language: str) -> None:
    """Find out, before any text is split, whether the words of a language can be told apart here.

    Raises:
        RecipeError: what datatrove needs for it is not installed; the message says how to get it.
    """
    from datatrove.utils import word_tokenizers

    missing = ""
    try:
        stock = word_tokenizers.load_word_tokenizer(language)
        if getattr(stock, "language", "") == "ja" and find_spec("sudachipy") is None:
            missing = "Please install `sudachipy` and `sudachidict-core`."
        if type(stock) is word_tokenizers.StanzaTokenizer and find_spec("stanza") is None:
            missing = "Please install `stanza`."
    except ImportError as error:
        missing = str(error)
    if missing:
        raise RecipeError(
            f"the words of {language} cannot be told apart here: {missing} `make setup-languages` installs "
            "the splitters of Chinese, Japanese, Korean, Hindi, Thai and Vietnamese"
        )


@lru_cache(maxsize=8)
def shared_splitter(language: str) -> WordSplitter:
    """Return the splitter of a language that all filters of this process share."""
    return WordSplitter(language)
