"""A pattern that is said to need more than letters never matches letters."""

import re
from string import ascii_letters

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldata.heuristics.splitter import shared_splitter
from smoldata.heuristics.static import needs_other
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
