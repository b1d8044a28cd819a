"""A pattern that is said to need more than letters never matches letters."""

import re
from string import ascii_letters

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldata.heuristics.splitter import shared_splitter
from smoldata.heuristics.static import lone_mark, needs_other, never_at_edge
from smoldata.heuristics.words import hash_words

NEEDS = [r"[0-9]+km", r"(?<=[0-9])km", r"\.$", r"a-b|c\.", r"(?:x\?)+", r"(?=;)a", r"[!-@]"]
MAY = [
    r"a",
    r"[a-z]+",
    r".",
    r"\w",
    r"x*",
    r"a|\.",
    r"(?<!\.)$",
    r"[^a]",
    r"(?:\.)*",
    r"(?!\.)b",
    r"[\[-a]",
    r"",
]


@pytest.mark.parametrize("pattern", NEEDS)
def test_patterns_that_need_more_than_letters(pattern: str) -> None:
    assert needs_other(re.compile(pattern).search)
    assert not needs_other(re.compile(pattern, re.IGNORECASE).search)


@pytest.mark.parametrize("pattern", MAY)
def test_patterns_that_may_match_letters(pattern: str) -> None:
    assert not needs_other(re.compile(pattern).search)


def test_what_is_no_pattern_is_not_judged() -> None:
    assert not needs_other(lambda text: text)


@given(st.text(ascii_letters, min_size=1, max_size=30))
def test_english_rules_never_touch_letters(text: str) -> None:
    rules = shared_splitter("eng_Latn")._rules
    assert rules is not None
    assert rules._letters_are_whole
    assert rules._prefix(text) is None
    assert rules._suffix(text) is None
    assert not list(rules._infix(text))


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8))
def test_hashes_of_words_one_by_one_are_those_of_many(words: list[str]) -> None:
    many = hash_words(words * 101)
    assert many[: len(words)].tolist() == hash_words(words).tolist()


LANGUAGES = ("eng_Latn", "deu_Latn", "ita_Latn", "rus_Cyrl")
some_chunks = st.one_of(
    st.text(ascii_letters, min_size=1, max_size=6).flatmap(
        lambda core: st.sampled_from(",.:;!?'\u2019s").map(lambda mark: core + mark)
    ),
    st.text("aAsSkmKMgbUST09.,:;!?'\u2019\u201c\u201d()-+%$°…µ²м", min_size=1, max_size=8),
    st.text(min_size=1, max_size=8).filter(lambda text: text.split() == [text]),
)


@pytest.mark.parametrize("language", LANGUAGES)
@settings(max_examples=300)
@given(chunk=some_chunks)
def test_what_was_proved_of_affixes_holds(language: str, chunk: str) -> None:
    rules = shared_splitter(language)._rules
    assert rules is not None
    mark = rules._marks.get(chunk[-1])
    if mark is not None and chunk[:-1].isascii() and chunk[:-1].isalpha():
        assert rules._prefix(chunk) is None
        found = rules._suffix(chunk)
        assert found is None or found.span() == (len(chunk) - 1, len(chunk))
        assert mark.is_cut(chunk) == (found is not None)
    if chunk[0] in rules._no_prefix:
        assert rules._prefix(chunk) is None
    if rules._has_no_suffix(chunk):
        assert rules._suffix(chunk) is None


def test_most_chunks_of_english_have_a_lane() -> None:
    rules = shared_splitter("eng_Latn")._rules
    assert rules is not None
    assert set(rules._marks) == set(",.:;!?")
    assert {"a", "m", "9", "-"} <= rules._no_prefix
    assert {"a", "m", "9"} <= rules._no_suffix


PREFIX = r"^§|^\(|^\+(?![0-9])"


@pytest.mark.parametrize(
    ("prefix", "suffix", "behind"),
    [
        (PREFIX, r",$|\.\.+$|(?<=[0-9])(?:km|m)$", 0),
        (PREFIX, r"(?<=[a-z])\.$|(?<=[A-Z][A-Z])\.$|,$", 2),
        (PREFIX, r"(?<![A-Z])\.$", 1),
        (PREFIX, r"[a-z]\.$", None),  # would take a letter, too
        (PREFIX, r"[.,]?$", None),  # could take nothing
        (PREFIX, r"\.\b", None),
        (PREFIX, r"(?:x|\.)$", None),
        (PREFIX, r"[^a]$", None),
        (r"^U", r"\.$", None),
        (r"\(", r"\.$", 0),
        (r"\(|\.", r"\.$", None),  # not tied to the start
        (r"^(?:a?)\.", r"\.$", None),
        (PREFIX, r"(?i)\.$", None),
    ],
)
def test_a_mark_alone_is_a_suffix(prefix: str, suffix: str, behind: int | None) -> None:
    assert lone_mark(re.compile(prefix).search, re.compile(suffix).search, ".") == behind


@pytest.mark.parametrize(
    ("pattern", "last", "without", "never", "may"),
    [
        (r"^ab|^\(", False, "", "bx)", "a("),
        (r"km$|\.$", True, "", "kx", "m."),
        (r"(?<=[0-9])(?:km|m)$|\.$", True, "0123456789", "mx", "."),
        (r"(?:a|bc)+$", True, "", "b", "ac"),
        (r"x(?!y)$", True, "", "y", "x"),
        (r"[^a]$", True, "", "", "ab"),
        (r"(?:a)*$", True, "", "", "ab"),
        (r"\w$", True, "", "", "ab"),
    ],
)
def test_edges_of_matches(pattern: str, last: bool, without: str, never: str, may: str) -> None:
    found = never_at_edge(re.compile(pattern).search, last=last, without=without)
    assert set(never) <= found
    assert not set(may) & found
