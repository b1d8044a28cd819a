"""Items of evaluation sets -> an index of 64-bit hashes that a document's n-grams are looked up in.

Two rules, each with its source:

- ``ngram``: a document shares 13 words in a row with an item, in its question, an answer, or across the
  border between the two (FineMath's card: "13-gram overlaps against test sets", following Qwen2.5-Math;
  borders as datatrove's ``NGramsDecontConfig`` with all three kinds on). Left out, because they are no
  evidence: n-grams that ten items of one benchmark share (its boilerplate; GPT-3 left frequent ones out as
  well), and those of fewer than four different words that hold a letter (``1, 2, 3, ...``).
- ``exact``: a document holds a whole text of an item, word for word: questions with their answer and answers
  of 8 to 12 words (8: GPT-3's least n, Brown et al. 2020, appendix C), and prompts and solutions of
  programming tasks, whose 13-grams are everywhere in code (BigCode's decontamination of The Stack:
  HumanEval's docstrings and solutions as substrings). A text under 8 words can't be told from common speech.

An item without any text to look for is counted in ``missing``. Hashes are sorted; a table of 2**24 bits
answers most look-ups with one read, ``searchsorted`` the rest; in the end the words themselves are compared.
25,000 items of twelve benchmarks: 1.4 million n-grams, 34 MB, 4 s.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np

from smoldata.decontamination.benchmarks import Item
from smoldata.decontamination.words import I64, U64, Grams, Hasher, Words, split
from smoldata.files import digest_values

Rule = Literal["ngram", "exact"]
WORDS: Final = 13
LEAST_WORDS: Final = 8
BOILERPLATE: Final = 10
DIFFERENT: Final = 4
_TABLE_BITS: Final = 24
_ROWS: Final = 1 << 16
_SPACE: Final = 32


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts as contamination."""

    words: int = WORDS
    """n of the n-grams."""
    least_words: int = LEAST_WORDS
    """A whole text of fewer words is not looked for."""
    boilerplate: int = BOILERPLATE
    """An n-gram of so many items of a benchmark is no evidence."""
    least_different: int = DIFFERENT
    """An n-gram of fewer different words with a letter is no evidence."""
    least_share: float = 0.0
    """A document must also hold this share of the words, in order; Qwen2.5-Math: 0.6, cosmopedia: 0.5."""


@dataclass(frozen=True, slots=True)
class Target:
    """A text of an item that is looked for."""

    item: Item
    rule: Rule
    text: tuple[bytes, ...]
    """Its normalised words."""
    question: int
    """How many of them are the question's; the rest is an answer."""


@dataclass(frozen=True)
class Seeds:
    """Hashes of n-grams of one length, sorted, and where each stands."""

    n: int
    hashes: U64
    """[seeds] ascending; equal ones stand for several targets."""
    target: I64
    """Number of the target."""
    word: I64
    """Its first word in the target."""

    @cached_property
    def table(self) -> Any:
        """Bits by the hash's first 24 bits: false means that no seed begins so."""
        table = np.zeros(1 << _TABLE_BITS, bool)
        table[(self.hashes >> np.uint64(64 - _TABLE_BITS)).astype(np.int64)] = True
        return table

    def find(self, hashes: U64) -> I64:
        """Return which of ``hashes`` are among the seeds', as positions in ``hashes``."""
        if not len(self.hashes):
            return np.zeros(0, np.int64)
        maybe = np.flatnonzero(self.table[(hashes >> np.uint64(64 - _TABLE_BITS)).astype(np.int64)])
        at = np.minimum(np.searchsorted(self.hashes, hashes[maybe]), len(self.hashes) - 1)
        found: I64 = maybe[self.hashes[at] == hashes[maybe]]
        return found

    def of(self, value: int) -> Iterator[tuple[int, int]]:
        """Yield (target, its word) of every seed with this hash."""
        at = int(np.searchsorted(self.hashes, np.uint64(value)))
        while at < len(self.hashes) and int(self.hashes[at]) == value:
            yield int(self.target[at]), int(self.word[at])
            at += 1


@dataclass(frozen=True)
class Index:
    """What :func:`build_index` makes."""

    rules: Rules
    targets: tuple[Target, ...]
    seeds: tuple[Seeds, ...]
    missing: dict[str, int]
    """Items by benchmark that cannot be found: no text is long enough, or nothing in it is evidence."""
    digest: str
    """Of items and rules: another value makes results stale."""


def build_index(items: Sequence[Item], rules: Rules | None = None) -> Index:
    """Return the index over the texts of ``items``."""
    rules = rules or Rules()
    targets = [target for item in items for target in _targets(item, rules)]
    words = split([b" ".join(target.text).decode() for target in targets])
    hasher = Hasher(words)
    seeds = [
        _whole_seeds(targets, words, hasher, rules.least_words, rules.words),
        _all_seeds(targets, words, hasher, rules),
    ]
    found = {number for one in seeds for number in np.unique(one.target).tolist()}
    known = {(targets[number].item.benchmark, targets[number].item.id) for number in found}
    missing = Counter(item.benchmark for item in items if (item.benchmark, item.id) not in known)
    proof = [(item.benchmark, item.id, item.question, item.answers, item.is_code) for item in items]
    settings = {name: getattr(rules, name) for name in Rules.__slots__}
    digest = digest_values(proof, settings)
    return Index(rules, tuple(targets), tuple(seeds), dict(sorted(missing.items())), digest)


def _targets(item: Item, rules: Rules) -> Iterator[Target]:
    """Yield what is looked for of an item, under which rule."""
    question, *answers = (_words(text) for text in (item.question, *item.answers))
    if item.is_code:
        listed = [(question, len(question)), *((answer, 0) for answer in answers)]
        yield from (
            Target(item, "exact", text, size) for text, size in listed if len(text) >= rules.least_words
        )
        return
    for answer in answers or [()]:
        text = question + answer
        rule: Rule = "ngram" if len(text) >= rules.words else "exact"
        if len(text) >= rules.least_words:
            yield Target(item, rule, text, len(question))
        if question and rules.least_words <= len(answer) < rules.words:
            yield Target(item, "exact", answer, 0)


def _words(text: str) -> tuple[bytes, ...]:
    words = split([text])
    return tuple(words.text(0, len(words)).split(b" ")) if len(words) else ()


def _whole_seeds(targets: Sequence[Target], words: Words, hasher: Hasher, n: int, below: int) -> Seeds:
    """Return the first n-grams of texts that are matched whole and are shorter than ``below`` words."""
    grams = hasher.grams(n)
    owner = np.searchsorted(words.first, grams.words, side="right") - 1
    short = np.array([target.rule == "exact" and len(target.text) < below for target in targets], bool)
    chosen = np.flatnonzero((grams.words == words.first[owner]) & short[owner]) if targets else owner
    return _sorted(n, grams.hashes[chosen], owner[chosen], np.zeros(len(chosen), np.int64))


def _all_seeds(targets: Sequence[Target], words: Words, hasher: Hasher, rules: Rules) -> Seeds:
    """Return the n-grams that are evidence, and the first ones of long texts that are matched whole."""
    import polars as pl

    grams = hasher.grams(rules.words)
    owner = np.searchsorted(words.first, grams.words, side="right") - 1
    exact = np.array([target.rule == "exact" for target in targets], bool)[owner]
    chosen = np.where(exact, grams.words == words.first[owner], _is_evidence(hasher, grams, rules))
    items = {key: number for number, key in enumerate({(t.item.benchmark, t.item.id) for t in targets})}
    frame = pl.DataFrame(
        {
            "hash": grams.hashes,
            "target": owner,
            "word": grams.words - words.first[owner],
            "exact": exact,
            "item": np.array([items[t.item.benchmark, t.item.id] for t in targets], np.int64)[owner],
            "benchmark": pl.Series([t.item.benchmark for t in targets], dtype=pl.Categorical).gather(owner),
        }
    ).filter(pl.Series(chosen))
    shared = pl.col("item").n_unique().over("hash", "benchmark")
    frame = frame.filter(pl.col("exact") | (shared < rules.boilerplate))
    frame = frame.unique(["hash", "item", "exact"], keep="first", maintain_order=True)
    return _sorted(rules.words, *(frame[name].to_numpy() for name in ("hash", "target", "word")))


def _is_evidence(hasher: Hasher, grams: Grams, rules: Rules) -> Any:
    """Tell of each n-gram whether it has enough different words with a letter."""
    words = hasher.words
    raw = np.frombuffer(words.buffer, np.uint8)
    letters = np.concatenate([np.zeros(1, np.int64), np.cumsum((raw > ord("_")) & (raw != _SPACE))])
    single = hasher.grams(1).hashes
    single = np.where(letters[words.ends] > letters[words.starts], single, 0)
    enough = np.zeros(len(grams.words), bool)
    for begin in range(0, len(enough), _ROWS):
        rows = single[grams.words[begin : begin + _ROWS, None] + np.arange(rules.words)]
        rows.sort(axis=1)
        new = rows[:, 1:] != rows[:, :-1]
        enough[begin : begin + _ROWS] = new.sum(axis=1) + (rows[:, 0] != 0) >= rules.least_different
    return enough


def _sorted(n: int, hashes: U64, target: I64, word: I64) -> Seeds:
    order = np.lexsort((word, target, hashes))
    return Seeds(n, hashes[order], target[order], word[order])
