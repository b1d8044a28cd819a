"""Words and hashes against a slow, plain way of making both."""

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from smoldata.decontamination.match import word_places
from smoldata.decontamination.words import Hasher, batches, fold, split

TEXTS = st.lists(st.text(st.sampled_from("abZ09_ \n.,-éÉßİ中日ひกा́’“\u00a0"), max_size=60), max_size=8)  # noqa: RUF001 - real pages hold them


def plain_words(text: str) -> list[str]:
    """Return words as cosmopedia's script does, for text that separates its words."""
    marks = (c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    return re.findall(r"\w+", "".join(marks))


@given(TEXTS)
def test_the_words_are_those_of_the_plain_way(texts: list[str]) -> None:
    words = split(texts)
    assert len(words.first) == len(texts) + 1
    for number in range(len(texts)):
        begin, end = int(words.first[number]), int(words.first[number + 1])
        seen = words.text(begin, end).decode().split(" ") if end > begin else []
        assert seen == re.findall(r"\w+", fold(texts[number]).replace("ा", " "))


@given(st.lists(st.text(st.characters(codec="ascii"), max_size=80), max_size=5))
def test_ascii_words_are_cosmopedias(texts: list[str]) -> None:
    words = split(texts)
    seen = words.text(0, len(words)).decode().split(" ") if len(words) else []
    assert seen == [word for text in texts for word in plain_words(text)]


def test_words_of_european_text_are_cosmopedias() -> None:
    text = "Über die “Straße” — naïve ÉTUDE: l’été n’est pas fini; Привет, мир! Ελληνικά"  # noqa: RUF001 - real pages hold them
    words = split([text])
    assert words.text(0, len(words)).decode().split(" ") == plain_words(text)


@given(TEXTS, st.integers(1, 5))
def test_equal_hashes_are_equal_words(texts: list[str], n: int) -> None:
    words = split(texts)
    grams = Hasher(words).grams(n)
    by_text: dict[bytes, int] = {}
    for value, begin in zip(grams.hashes.tolist(), grams.words.tolist(), strict=True):
        gram = words.text(begin, begin + n)
        assert by_text.setdefault(gram, value) == value
    assert len(set(by_text.values())) == len(by_text)
    expected = sum(max(int(words.first[t + 1] - words.first[t]) - n + 1, 0) for t in range(len(texts)))
    assert len(grams.hashes) == expected


@given(TEXTS, TEXTS)
def test_a_hash_does_not_depend_on_what_stands_before(texts: list[str], before: list[str]) -> None:
    alone = Hasher(split(texts)).grams(2).hashes.tolist()
    after = Hasher(split([*before, *texts])).grams(2).hashes.tolist()
    assert after[len(after) - len(alone) :] == alone


@given(st.one_of(st.text(max_size=80), st.text("aB_9 .é\u0301漢字İß\n", max_size=80)))
def test_places_give_back_the_words(text: str) -> None:
    words = split([text])
    places = word_places(text)
    assert len(places) == len(words)
    for number, (begin, end) in enumerate(places):
        part = split([text[begin:end]])
        # A place may hold neighbours that one character stands for, never less than the word.
        assert words.text(number, number + 1) in part.text(0, len(part)).split(b" ")


@given(TEXTS, st.integers(1, 50))
def test_batches_hold_every_text_once_and_whole(texts: list[str], most: int) -> None:
    cut = list(batches(texts, most))
    assert [text for _, batch in cut for text in batch] == texts
    assert all(texts[begin : begin + len(batch)] == list(batch) for begin, batch in cut)
