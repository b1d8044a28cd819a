"""Every planted n-gram is found, whatever its surroundings; real text without plants gives nothing."""

import random
from collections.abc import Callable

import pytest
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldata.decontamination import match as matching
from smoldata.decontamination.benchmarks import Item
from smoldata.decontamination.index import Index, Rules, build_index
from smoldata.decontamination.match import find_matches
from smoldata.decontamination.words import batches

PROSE = (
    "A merchant walked through the narrow market street before dawn and counted eleven copper coins twice "
    "while his older sister sold warm bread to three tired sailors from the northern harbour."
)


@pytest.fixture(scope="module")
def index(items: list[Item]) -> Index:
    return build_index(items)


def disguised(words: list[str], random_: random.Random) -> str:
    """Return words with other case, punctuation and line ends: the same n-grams."""
    cases: list[Callable[[str], str]] = [str.upper, str.lower, str.title, lambda word: f"“{word}”"]
    gaps = [" ", ", ", "\n", " - ", ". ", "\u00a0"]
    return "".join(random_.choice(cases)(word) + random_.choice(gaps) for word in words)


@settings(max_examples=60)
@given(data=st.data())
def test_every_planted_n_gram_is_found(data: st.DataObject, index: Index, documents: list[str]) -> None:
    seeds = index.seeds[-1]
    at = data.draw(st.integers(0, len(seeds.hashes) - 1))
    target = index.targets[int(seeds.target[at])]
    word = int(seeds.word[at])
    planted = [part.decode() for part in target.text[word : word + seeds.n]]
    host = data.draw(st.integers(0, len(documents) - 1))
    place = data.draw(st.integers(0, len(documents[host])))
    text = disguised(planted, random.Random(at))  # noqa: S311 - which disguise, no secret
    texts = list(documents)
    texts[host] = f"{texts[host][:place]} ~ {text} ~ {texts[host][place:]}"
    found = dict(find_matches(texts, index))
    assert list(found) == [host]
    named = {(one.benchmark, one.item) for one in found[host]}
    assert (target.item.benchmark, target.item.id) in named
    for one in found[host]:
        assert texts[host][one.begin : one.end] == one.span
        assert one.words >= seeds.n


def test_real_text_without_plants_gives_nothing(index: Index, documents: list[str]) -> None:
    assert list(find_matches(documents, index)) == []


def test_a_match_does_not_depend_on_batches(
    index: Index, documents: list[str], items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = next(item.question for item in items if len(item.question.split()) > 30)
    texts = [*documents[:5], documents[5] + long + "\n" + documents[6], *documents[7:]]
    whole = list(find_matches(texts, index))
    assert [number for number, _ in whole] == [5]
    for size in (1, 10_000, 1 << 30):
        monkeypatch.setattr(matching, "batches", lambda texts, size=size: batches(texts, size))
        assert list(find_matches(texts, index)) == whole


def test_an_n_gram_does_not_cross_documents() -> None:
    words = PROSE.split()
    index = build_index([Item("b", "1", PROSE)])
    halves = [" ".join(words[:12]), " ".join(words[12:24])]
    assert list(find_matches(halves, index)) == []
    assert [number for number, _ in find_matches([" ".join(halves)], index)] == [0]


def test_borders_of_question_and_answer_are_looked_for() -> None:
    words = PROSE.split()
    item = Item("b", "1", " ".join(words[:12]), (" ".join(words[12:]),))
    across = " ".join(words[6:19])
    assert [number for number, _ in find_matches(["nothing", across], build_index([item]))] == [1]


def test_short_texts_are_matched_whole_and_too_short_ones_are_counted() -> None:
    words = PROSE.split()
    short = Item("b", "short", " ".join(words[:9]), ("bread",))
    tiny = Item("b", "tiny", "Why so?", ("bread",))
    index = build_index([short, tiny])
    assert index.missing == {"b": 1}
    [(_, [found])] = find_matches([f"He said: {' '.join(words[:9]).upper()}, Bread!"], index)
    assert (found.item, found.rule, found.share) == ("short", "exact", 1.0)
    assert list(find_matches([" ".join(words[:9]), "bread " + " ".join(words[1:9])], index)) == []


def test_programs_are_matched_whole() -> None:
    prompt = 'def add(numbers):\n    """Return the sum of all the numbers in the list, or zero."""\n'
    solution = (
        "    total = 0\n    for number in numbers:\n        total += number * 2 - number\n    return total\n"
    )
    index = build_index([Item("programs", "1", prompt, (solution,), is_code=True)])
    part = "for number in numbers: total += number * 2 - number"
    found = dict(find_matches([part, f"x = 1\n{solution}print(x)", prompt], index))
    assert sorted(found) == [1, 2]
    assert {one.rule for listed in found.values() for one in listed} == {"exact"}


def test_boilerplate_and_numbers_are_no_evidence() -> None:
    words = PROSE.split()
    same = " ".join(words[:15])
    items = [Item("b", str(number), f"{same} {number} {word}") for number, word in enumerate(words[:12])]
    index = build_index([*items, Item("b", "count", " ".join(map(str, range(1, 40))))])
    assert list(find_matches([same, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15"], index)) == []
    assert index.missing["b"] >= 1
    strict = build_index(items, Rules(boilerplate=100))
    assert len(dict(find_matches([same], strict))[0]) == len(items)


def test_the_share_rule_wants_more_than_an_n_gram() -> None:
    words = PROSE.split()
    item = Item("b", "1", PROSE)
    part, most = " ".join(words[:13]), " ".join(words[:25])
    index = build_index([item], Rules(least_share=0.6))
    assert [number for number, _ in find_matches([part, most], index)] == [1]
    everything = dict(find_matches([part, most], build_index([item])))
    assert everything[0][0].share == pytest.approx(13 / len(words), abs=1e-3)
    assert everything[1][0].share == pytest.approx(25 / len(words), abs=1e-3)


def test_decisions_agree_with_datatrove(
    items: list[Item], documents: list[str], index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Datatrove's own hashes of the same items, and its own filter, on planted and clean documents."""
    config = NGramsDecontConfig(n_grams=13, find_query_ngrams=True, find_overlap_ngrams=True)
    # Its constructor asks for lighteval, which hashing does not need.
    monkeypatch.setattr(NGramsDecontIndexer, "_requires_dependencies", [])
    indexer = NGramsDecontIndexer(output_folder="memory://unused", config=config)
    theirs: dict[int, str] = {}
    for item in items:
        for answer in item.answers or ("",):
            theirs |= dict.fromkeys(indexer.compute_hashes(answer, item.question), "email")
    keep = NGramsDecontFilter(index_folder="memory://unused", config=config)
    keep._index_hashes = theirs
    # Plain words: the two split hyphens and apostrophes differently.
    plain = [item for item in items if _is_plain(item.question)]
    planted = [f"{text[:2000]}\n\n{item.question}\n" for text, item in zip(documents, plain, strict=False)]
    texts = [*planted, *(text[:3000] for text in documents[:6])]
    ours = {number for number, _ in find_matches(texts, index)}
    for number, text in enumerate(texts):
        result = keep.filter(Document(text=text, id=str(number)))
        assert (result is not True) == (number in ours), text[-200:]
    assert len(ours) == len(planted) > 3


def _is_plain(text: str) -> bool:
    words = text.replace(".", " ").replace(",", " ").split()
    return len(words) >= 14 and all(word.isalpha() and word.isascii() for word in words)
