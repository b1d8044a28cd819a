"""Letters in prose, by the published rule; expected ones are worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoleval.metrics.letters import chosen_letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Answer: B", "B"),
        ("Answer: B) Paris", "B"),
        ("Answer: B\n\nThat was all.", "B"),
        ("**Answer: (C)**", "C"),
        ("ANSWER: it must be D.", "D"),
        ("The answer is A, not B, I think", "A"),
        ("Answer: A\nNo, wait.\nAnswer: B", "B"),
        ("The final answer is C. I hope it is correct. Answer: B", "C"),
        ("My final answer to this question is (B)", "B"),
        ("A: first\nthen I think", "A"),
        ("Well\nC.", "C"),
        ("It is B.", ""),
        ("Answer: E", ""),
        ("Answer: Berlin", ""),
        ("", ""),
    ],
)
def test_announced_letters(text: str, letter: str) -> None:
    assert chosen_letter(text, "ABCD", "answer") == letter


@pytest.mark.parametrize(
    ("text", "letter"), [("It is B.", "B"), ("It is (C), or D maybe", "D"), ("xBx", "B"), ("it is b", "")]
)
def test_unannounced_letters_count_where_the_task_says_so(text: str, letter: str) -> None:
    assert chosen_letter(text, "ABCD", "answer", unannounced=True) == letter


def test_the_word_is_the_languages_and_the_letters_the_questions() -> None:
    assert chosen_letter("Réponse : C", "ABCD", "réponse") == "C"
    assert chosen_letter("Answer: C", "ABCD", "réponse") == ""
    assert chosen_letter("Answer: J", "ABCDEFGHIJ", "answer") == "J"
    assert chosen_letter("Answer: C", "AB", "answer") == ""


@given(
    st.text(st.characters(exclude_characters="AaBbCcDd")),
    st.sampled_from("ABCD"),
    st.text("x \n.", max_size=60),
)
def test_the_last_announcement_counts_whatever_stands_around_it(before: str, letter: str, after: str) -> None:
    assert chosen_letter(f"{before}\nAnswer: {letter}\n{after}", "ABCD", "answer") == letter
