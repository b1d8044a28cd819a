"""Words and sentences are datatrove's own, whatever the text and however little is remembered."""

import pytest
from datatrove.utils.text import split_into_sentences, split_into_words
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.data.heuristics.conftest import PIECES, descriptions, nasty, paragraphs, spell_out

from smoldata.heuristics.splitter import WordSplitter, shared_splitter

ENGLISH = "eng_Latn"


def agrees(text: str, splitter: WordSplitter) -> None:
    """Assert that words and sentences are datatrove's; where datatrove raises, so does the splitter."""
    language = splitter.language
    try:
        expected = split_into_words(text, language)
    except Exception as error:  # noqa: BLE001 - whatever it is
        with pytest.raises(type(error)):
            splitter.words(text)
        return
    assert splitter.words(text) == expected
    for line in text.splitlines()[:5]:
        assert splitter.sentences(line) == len(split_into_sentences(line, language)), line


@given(nasty)
@example("2014: p. 1")  # ":p" over the space keeps "p." from being merged
@example("Tel.: (030)")
@example("so : ) or 8 ) - D")
@example("Hello.  World. \n .  ) foo")
def test_nasty_text_is_split_as_datatrove_splits_it(text: str) -> None:
    if "\udcff" in text:
        text = text.replace(
            "\udcff", ""
        )  # spaCy cannot hold lone surrogates, and no reader of ours gives any
    agrees(text, shared_splitter(ENGLISH))


@pytest.mark.parametrize("seed", range(15))
def test_long_random_texts_are_split_alike(seed: int) -> None:
    agrees(spell_out(seed, 400).replace("\udcff", ""), shared_splitter(ENGLISH))


def test_all_pairs_of_pieces_over_a_space_are_split_alike() -> None:
    pieces = [piece for piece in PIECES if piece.strip() and piece != "\udcff"]
    splitter = shared_splitter(ENGLISH)
    for left in pieces:
        text = " ".join(f"{left} {right}\n" for right in pieces)
        assert splitter.words(text) == split_into_words(text, ENGLISH)


def test_every_special_case_between_other_chunks() -> None:
    splitter = shared_splitter(ENGLISH)
    assert splitter._rules is not None
    cases = [case for case in splitter._rules.nlp.tokenizer.rules if case.strip()]
    frames = ("{}", "({})", "{}.", "{},", "x-{}", "{}'s", "“{}”", "{}/{}", "a {} b", ": {}", "{} )", "- {} -")
    for frame in frames:
        text = " ".join(frame.replace("{}", case) for case in cases)
        assert splitter.words(text) == split_into_words(text, ENGLISH), frame


def test_real_text_is_split_alike() -> None:
    for text in [*descriptions(60), *paragraphs(60)]:
        agrees(text, shared_splitter(ENGLISH))


def test_web_pages_are_split_alike(web_pages: list[str]) -> None:
    for text in web_pages:
        agrees(text, shared_splitter(ENGLISH))


@pytest.mark.parametrize("language", ["fra_Latn", "spa_Latn", "rus_Cyrl", "ell_Grek", "fas_Arab"])
def test_other_languages_with_rules_are_split_alike(language: str) -> None:
    splitter = WordSplitter(language)
    cases = [
        "EE. UU. y más",
        "в т.ч. и т. д.",
        "\u0391\u03b3. \u0393\u03c1. \u03ba\u03b1\u03b9",
        "l'homme d\u2019un aujourd'hui",
        "z.B. u.a. usw.",
        "م. س .ق ",
    ]
    # French rules are a hundred times slower than others, in spaCy.
    real = [] if language == "fra_Latn" else [*descriptions(1), spell_out(1, 100).replace("\udcff", "")]
    for text in [*cases, *real]:
        agrees(text, splitter)


def test_a_language_without_rules_is_left_to_datatrove() -> None:
    class Letters:
        """Split into letters."""

        def word_tokenize(self, text: str) -> list[str]:
            return [letter for letter in text if letter.strip()]

    splitter = WordSplitter(ENGLISH)
    splitter._stock, splitter._rules = Letters(), None
    assert splitter.words("ab c\nab") == ["a", "b", "c", "a", "b"]
    assert not splitter.counts_sentences


@pytest.fixture(scope="module")
def forgetful() -> WordSplitter:
    """Return a splitter that remembers hardly anything."""
    return WordSplitter(ENGLISH, most_chunks=3)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(nasty, min_size=2, max_size=4))
def test_forgetting_changes_nothing(forgetful: WordSplitter, texts: list[str]) -> None:
    splitter = forgetful
    for text in texts:
        agrees(text.replace("\udcff", ""), splitter)


def test_the_word_that_spacy_fails_on_is_a_word() -> None:
    for _ in range(3):
        assert shared_splitter(ENGLISH).words("so IS_ALPHA, IS_ALPHA") == ["so", "IS_ALPHA", ",", "IS_ALPHA"]


def test_memory_is_bounded() -> None:
    splitter = WordSplitter(ENGLISH, most_chunks=100)
    for number in range(40):
        splitter.split(" ".join(f"word{number}x{place}" for place in range(30)))
        assert splitter.remembered <= 130
        assert len(splitter.table) <= 260


def test_pinned_words_keep_their_numbers() -> None:
    splitter = WordSplitter(ENGLISH, most_chunks=5)
    splitter.pin({"the", "of"})
    splitter.pin({"with"})
    for text in ("with all of the words", "a b c d e f g h", "the end of it"):
        splitter.split(text)
        assert [splitter.table.numbers[word] for word in splitter.table.pinned] == [0, 1, 2]
    assert set(splitter.table.pinned) == {"the", "of", "with"}
