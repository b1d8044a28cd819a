"""Documents against an index -> matches: which item, by which rule, where in the text.

Texts are split and hashed in batches of about a million characters; each hash that the index holds is checked
by comparing the words. Neighbouring n-grams of one item become one span. Cost: about 50 MB of text a CPU
second while nothing matches; a contaminated document costs some milliseconds more.
"""

import difflib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from smoldata.decontamination.index import Index, Rule, Seeds, Target
from smoldata.decontamination.words import Hasher, Words, batches, fold, split

_RUNS: Final = re.compile(r"[0-9A-Za-z_]+|[^\x00-\x7f]")
"""ASCII words whole, all else that may be in a word character by character."""
_LEAST_PART: Final = 8
"""Words of a question or an answer that are enough to ask which share of it a document holds."""
_WINDOW: Final = 2
"""How many times an item's length around a span is compared with the item."""


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """What a document shares with one item."""

    benchmark: str
    item: str
    rule: Rule
    begin: int
    """The longest span's first character in the document."""
    end: int
    span: str
    """The document's text of that span."""
    words: int
    """Words of the document in any span of this item."""
    share: float
    """Share of the item's words that the document holds in order, around the span."""
    spans: tuple[tuple[int, int], ...] = ()
    """All spans, in characters of the document."""


def find_matches(texts: Sequence[str], index: Index) -> Iterator[tuple[int, list[Match]]]:
    """Yield (number of the text, its matches) for every contaminated text, in order."""
    for offset, batch in batches(texts):
        words = split(batch)
        hasher = Hasher(words)
        spans: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for seeds in index.seeds:
            grams = hasher.grams(seeds.n)
            for at in seeds.find(grams.hashes).tolist():
                _verify(words, int(grams.words[at]), int(grams.hashes[at]), seeds, index, spans)
        for number, matches in _grouped(words, spans, batch, index):
            yield offset + number, matches


def _verify(
    words: Words,
    begin: int,
    value: int,
    seeds: Seeds,
    index: Index,
    spans: dict[tuple[int, int], list[tuple[int, int]]],
) -> None:
    """Compare the words of an equal hash; add (text, target) -> span of words."""
    number = int(words.first.searchsorted(begin, side="right")) - 1
    last = int(words.first[number + 1])
    for which, word in seeds.of(value):
        target = index.targets[which]
        wanted = target.text if target.rule == "exact" else target.text[word : word + seeds.n]
        end = begin + len(wanted)
        if end <= last and words.text(begin, end) == b" ".join(wanted):
            spans[number, which].append((begin, end))


def _grouped(
    words: Words,
    spans: dict[tuple[int, int], list[tuple[int, int]]],
    batch: Sequence[str],
    index: Index,
) -> Iterator[tuple[int, list[Match]]]:
    """Yield the matches of each text: one an item, by its target of most words."""
    by_text: dict[int, dict[tuple[str, str], Match]] = defaultdict(dict)
    places: dict[int, list[tuple[int, int]]] = {}
    for (number, which), listed in sorted(spans.items()):
        if number not in places:
            places = {number: word_places(batch[number])}
        first, target = int(words.first[number]), index.targets[which]
        match = _match(words, first, joined(listed), target, batch[number], places[number])
        if match.share < index.rules.least_share:
            continue
        key = (match.benchmark, match.item)
        best = by_text[number].get(key)
        if best is None or (match.words, match.share) > (best.words, best.share):
            by_text[number][key] = match
    for number in sorted(by_text):
        yield number, sorted(by_text[number].values())


def joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans with those that touch or overlap made one, in order."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _match(
    words: Words,
    first: int,
    spans: Sequence[tuple[int, int]],
    target: Target,
    text: str,
    places: Sequence[tuple[int, int]],
) -> Match:
    begin, end = max(spans, key=lambda span: span[1] - span[0])
    ranges = tuple((places[begin - first][0], places[end - first - 1][1]) for begin, end in spans)
    from_, to = places[begin - first][0], places[end - first - 1][1]
    return Match(
        target.item.benchmark,
        target.item.id,
        target.rule,
        from_,
        to,
        text[from_:to],
        sum(end - begin for begin, end in spans),
        round(_share(words, first, begin, len(places), target), 4),
        ranges,
    )


def _share(words: Words, first: int, begin: int, count: int, target: Target) -> float:
    """Return the share of the item's words that stand around ``begin`` in the same order (difflib's blocks).

    Of the question, the answer and both, the one of which the document holds most.
    """
    size = len(target.text)
    low, high = max(first, begin - _WINDOW * size), min(first + count, begin + _WINDOW * size)
    seen = words.text(low, high).split(b" ")
    blocks = difflib.SequenceMatcher(None, target.text, seen, autojunk=False).get_matching_blocks()
    held = [word for block in blocks for word in range(block.a, block.a + block.size)]
    parts = ((0, size), (0, target.question), (target.question, size))
    return max(
        sum(low <= word < high for word in held) / (high - low)
        for low, high in parts
        if high - low >= _LEAST_PART
    )


def word_places(text: str) -> list[tuple[int, int]]:
    """Return where each normalised word stands in ``text``, in characters.

    About 15 MB a second where most of it is ASCII, 2 where nothing is: for texts that match only.
    """
    places: list[tuple[int, int]] = []
    inside, last = False, 0
    for run in _RUNS.finditer(text):
        begin, end = run.span()
        inside, last = inside and begin == last, end
        if text[begin] < "\x80":
            if inside:
                places[-1] = (places[-1][0], end)
            else:
                places.append((begin, end))
            inside = True
            continue
        for part in fold(text[begin]):
            is_word = part.isalnum() or part == "_"
            if is_word and inside:
                places[-1] = (places[-1][0], end)
            elif is_word:
                places.append((begin, end))
            inside = is_word
    return places
