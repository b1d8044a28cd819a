"""spaCy's tokenizer rules for one language, chunk by chunk.

spaCy (3.8, tokenizer.pyx) cuts a text at white space and splits each chunk by itself: known special cases as
they are; else prefixes and suffixes off its ends, one after the other, and what is left at infixes. This is
done here with spaCy's own tables and regular expressions, without its objects (25 µs a chunk, most of it for
attributes that nobody asks for). Afterwards spaCy merges sequences of tokens that make a special case (``:``
and ``)``), the longest first, of two that overlap only one; so is it done here where the neighbours in a
sequence (bigrams) show that something could be merged.

A sequence may reach over a space: the bigrams tell where, and spaCy itself splits such chunks together.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from string import digits
from typing import Any

import numpy as np

from smoldata.heuristics.lanes import marks_of
from smoldata.heuristics.static import needs_other, never_at_edge

_DIGITS = re.compile("[0-9]")


@dataclass(frozen=True, slots=True)
class Learned:
    """What chunks become, in their order."""

    words: list[str]
    """The words of all chunks, one after the other."""
    counts: list[int]
    """How many words each chunk has."""
    codes: list[str]
    """As in :class:`Pieces`, of each chunk."""
    left: dict[int, int]
    """``joins_left`` by the place of the chunk, where it is not 0."""
    right: dict[int, int]


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a chunk becomes."""

    words: list[str]
    code: str
    """Its tokens for the sentence rule: E an end mark, W anything else but punctuation, which is left out."""
    joins_left: int
    """Column of :attr:`SpacyRules.bigrams`: its first token, before merging; 0 if in no bigram."""
    joins_right: int
    """Row of :attr:`SpacyRules.bigrams`: its last token, before merging; 0 if in no bigram."""


class SpacyRules:
    """The rules of a ``spacy.blank`` pipeline with datatrove's sentencizer."""

    def __init__(self, nlp: Any, *, sentences: bool) -> None:
        """Take the rules of ``nlp``; ``sentences``: datatrove splits sentences, too, with this pipeline."""
        from spacy.attrs import IS_PUNCT, ORTH

        self.nlp, self.sentences = nlp, sentences
        own = nlp.tokenizer
        self._prefix, self._suffix, self._infix = own.prefix_search, own.suffix_search, own.infix_finditer
        searches = [search for search in (self._prefix, self._suffix, self._infix) if search is not None]
        self._letters_are_whole = own.token_match is None and all(map(needs_other, searches))
        self._no_prefix = never_at_edge(self._prefix, last=False)
        self._no_suffix = never_at_edge(self._suffix, last=True, without=digits)
        self._token_match, self._url_match = own.token_match, own.url_match
        self._specials = {case: [token[ORTH] for token in tokens] for case, tokens in own.rules.items()}
        self._is_punctuation = nlp.vocab.lex_attr_getters[IS_PUNCT]
        self._ends = frozenset(nlp.get_pipe("sentencizer").punct_chars)
        self._mark_codes: dict[str, str] = {}
        torn = {case: self._torn(case) for case in own.rules if self._is_looked_for(case)}
        self._torn_tokens = frozenset(map(tuple, torn.values()))
        self._sizes = sorted({len(tokens) for tokens in self._torn_tokens})
        sequences = {case: tokens for case, tokens in torn.items() if len(tokens) > 1}
        pairs = [pair for tokens in sequences.values() for pair in pairwise(tokens)]
        self._bigrams = frozenset(pairs)
        self._rows = {first: row for row, first in enumerate(sorted({first for first, _ in pairs}), 1)}
        self._columns = {word: column for column, word in enumerate(sorted({word for _, word in pairs}), 1)}
        self.bigrams = np.zeros((len(self._rows) + 1, len(self._columns) + 1), np.bool_)
        """Which tokens are neighbours in a sequence, bool[first, second]."""
        self._across: dict[tuple[int, int], set[tuple[str, str]]] = {}
        for tokens in sequences.values():
            for place in range(1, len(tokens)):
                pair = self._rows[tokens[place - 1]], self._columns[tokens[place]]
                self.bigrams[pair] = True
                halves = "".join(tokens[:place]), "".join(tokens[place:])
                self._across.setdefault(pair, set()).add(halves)
        self._merged = tuple(case for case, tokens in torn.items() if tokens != self._specials[case])
        self._merged_alone = frozenset(case for case in self._merged if len(torn[case]) == 1)
        self._rare = frozenset([*self._specials, *torn, *self._rows, *self._columns, *self._ends])
        """Words about which a rule says something of their own: they have no lane."""
        marks = marks_of(self._prefix, self._suffix, self._merged_alone, self._code, self._rows)
        self._marks = marks if self._letters_are_whole else {}

    def _is_looked_for(self, case: str) -> bool:
        """Return whether spaCy looks for a special case among tokens: affixes could have torn it apart."""
        own = self.nlp.tokenizer
        torn = own.find_prefix(case) or own.find_infix(case) or own.find_suffix(case)
        return bool(case.strip() and (torn or " " in case or not own.faster_heuristics))

    def _torn(self, case: str) -> list[str]:
        """Return a special case's tokens as if it were none."""
        return [token for chunk in case.split() for token in self._tokens(chunk, {})]

    def split(self, chunks: Sequence[str]) -> Learned:
        """Return what each chunk, or chunks with a space between them, becomes; raises what spaCy raises."""
        found = Learned([], [1] * len(chunks), ["W"] * len(chunks), {}, {})
        words, rare, marks = found.words, self._rare, self._marks
        for place, chunk in enumerate(chunks):
            if self._letters_are_whole and chunk.isalpha() and chunk.isascii():
                if chunk not in rare:
                    words.append(chunk)
                    continue
            elif chunk[-1] in marks:
                core, mark = chunk[:-1], marks[chunk[-1]]
                if core.isalpha() and core.isascii() and core not in rare and mark.is_cut(chunk):
                    words += (core, chunk[-1])
                    found.counts[place], found.codes[place] = 2, mark.code
                    if mark.joins_right:
                        found.right[place] = mark.joins_right
                    continue
            self._look(place, chunk, found)
        return found

    def _look(self, place: int, chunk: str, found: Learned) -> None:
        """Add what a chunk becomes that has no lane."""
        pieces = self._pieces_of(chunk)
        found.words.extend(pieces.words)
        found.counts[place], found.codes[place] = len(pieces.words), pieces.code
        if pieces.joins_left:
            found.left[place] = pieces.joins_left
        if pieces.joins_right:
            found.right[place] = pieces.joins_right

    def _pieces_of(self, chunk: str) -> Pieces:
        if " " in chunk:
            words = self._by_spacy(chunk)
            return self._pieces(words, words)  # its ends have been looked at
        tokens = self._tokens(chunk, self._specials)
        words = self._merge(tokens) if self._may_merge(tokens) else tokens
        return self._pieces(words, tokens)

    def _merge(self, tokens: list[str]) -> list[str]:
        """Return a chunk's tokens with special cases put together: spaCy's ``_apply_special_cases``.

        Longer sequences go first, of the same length the earlier one. One that overlaps at its ends with
        any that went before is left as it is.
        """
        spans = [
            (start, start + size)
            for start in range(len(tokens))
            for size in self._sizes
            if tuple(tokens[start : start + size]) in self._torn_tokens and start + size <= len(tokens)
        ]
        spans.sort(key=lambda span: (span[0] - span[1], span[0]))
        taken: set[int] = set()
        chosen: dict[int, int] = {}
        for start, end in spans:
            if start not in taken and end - 1 not in taken:
                chosen[start] = end
            taken.update(range(start, end))
        merged: list[str] = []
        place = 0
        while place < len(tokens):
            end = chosen.get(place, place + 1)
            part = tokens[place:end]
            merged += self._specials.get("".join(part), part) if place in chosen else part
            place = end
        return merged

    def _pieces(self, words: list[str], tokens: list[str]) -> Pieces:
        code = "".join([self._code(word) for word in words]) if len(words) > 1 else self._code(words[0])
        return Pieces(words, code, self._columns.get(tokens[0], 0), self._rows.get(tokens[-1], 0))

    def _code(self, word: str) -> str:
        if word[0].isalnum():
            return "E" if word in self._ends else "W"
        code = self._mark_codes.get(word)
        if code is None:
            code = "E" if word in self._ends else "" if self._is_punctuation(word) else "W"
            if len(word) == 1:
                self._mark_codes[word] = code
        return code

    def _may_merge(self, tokens: list[str]) -> bool:
        if len(tokens) == 1:
            return tokens[0] in self._merged_alone
        bigrams = self._bigrams
        return any(pair in bigrams for pair in pairwise(tokens)) or not (
            self._merged_alone.isdisjoint(tokens)
        )

    def _tokens(self, chunk: str, specials: dict[str, list[str]]) -> list[str]:
        """Return a chunk's tokens before merging: ``_split_affixes`` and ``_attach_tokens`` of spaCy."""
        if chunk in specials:
            return list(specials[chunk])
        if self._is_whole(chunk):
            return [chunk]
        prefixes: list[str] = []
        suffixes: list[str] = []
        rest, last_size = chunk, 0
        while rest and len(rest) != last_size and rest not in specials:
            if self._is_whole(rest):
                return [*prefixes, rest, *suffixes[::-1]]
            if self._token_match and self._token_match(rest):
                break
            last_size = len(rest)
            before, after = self._affixes(rest, specials)
            if before:
                prefixes.append(rest[:before])
            if after:
                suffixes.append(rest[-after:])
            rest = rest[before : len(rest) - after]
        return prefixes + (self._middle(rest, specials) if rest else []) + suffixes[::-1]

    def _affixes(self, text: str, specials: dict[str, list[str]]) -> tuple[int, int]:
        """Return how many characters spaCy takes off at either end in one round."""
        before = 0 if text[0] in self._no_prefix else _length(self._prefix, text)
        if before and text[before:] in specials:
            return before, 0
        after = 0 if self._has_no_suffix(text) else _length(self._suffix, text[before:])
        if after and text[:-after] in specials:
            return 0, after
        return before, 0 if before and before + after > len(text) else after

    def _has_no_suffix(self, text: str) -> bool:
        return text[-1] in self._no_suffix and not _DIGITS.search(text)

    def _is_whole(self, text: str) -> bool:
        """Return whether a text that is no special case has surely neither affixes nor infixes."""
        return self._letters_are_whole and text.isascii() and text.isalpha()

    def _middle(self, rest: str, specials: dict[str, list[str]]) -> list[str]:
        if rest in specials:
            return specials[rest]
        infixes = list(self._infix(rest)) if self._infix else []
        if not infixes or (self._token_match and self._token_match(rest)):
            return [rest]
        if self._url_match and self._url_match(rest):
            return [rest]
        tokens, start = [], 0
        for infix in infixes:
            if infix.start() == 0:
                continue
            if infix.start() != start:
                tokens.append(rest[start : infix.start()])
            if infix.start() != infix.end():
                tokens.append(infix.group())
            start = infix.end()
        return [*tokens, rest[start:]] if rest[start:] else tokens

    def _by_spacy(self, text: str) -> list[str]:
        """Return spaCy's own tokens of chunks with a space between them."""
        with self.nlp.memory_zone():
            return [token.text for token in self.nlp.tokenizer(text)]

    def crosses(self, pair: tuple[int, int], before: Sequence[str], after: Sequence[str]) -> bool:
        """Return whether a sequence could stand across the space between two lists of chunks.

        ``pair`` is the row and column of the tokens on either side of the space.
        """
        for head, tail in self._across[pair]:
            left, right = before[-1], after[0]
            near = left.endswith(head) or head.endswith(left)
            near = near and (right.startswith(tail) or tail.startswith(right))
            if near and "".join(before).endswith(head) and "".join(after).startswith(tail):
                return True
        return False

    def merges_in(self, chunks: Sequence[str]) -> bool:
        """Return whether merging could change the tokens of chunks that follow one another."""
        joined = " ".join(chunks)
        return any(case in joined for case in self._merged)


def _length(search: Any, text: str) -> int:
    found = search(text) if search is not None else None
    return 0 if found is None else int(found.end() - found.start())


def rules_of(stock: Any) -> SpacyRules | None:
    """Return the rules behind a splitter of datatrove's, or nothing where chunks are not split alone."""
    from datatrove.utils import word_tokenizers

    if type(stock) is word_tokenizers.WhitespaceTokenizer:
        inner = rules_of(stock._spacy_xx)  # noqa: SLF001 - where datatrove keeps it
        return inner and SpacyRules(inner.nlp, sentences=False)
    if type(stock) is not word_tokenizers.SpaCyTokenizer:
        return None
    from spacy.tokenizer import Tokenizer

    nlp = stock.tokenizer
    if type(nlp.tokenizer) is not Tokenizer:
        return None
    odd = [case for case in nlp.tokenizer.rules if case.strip() and case != " ".join(case.split())]
    return None if odd else SpacyRules(nlp, sentences=True)
