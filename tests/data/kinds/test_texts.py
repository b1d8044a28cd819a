"""Questions with answers, articles, papers, conversations: golden texts in the published columns."""

from typing import Any

import pytest

from smoldata.kinds import RENDERERS, Unrenderable, render_function, renderer
from smoldata.kinds.chat import contents, conversation, problem
from smoldata.kinds.markup import fragment_text
from smoldata.kinds.paper import paper
from smoldata.kinds.stackexchange import question_and_answers
from smoldata.kinds.wikipedia import article

ANSWERS = [
    {"answer_id": 3, "pm_score": 9, "selected": False, "text": "<p>Most votes.</p>"},
    {"answer_id": 2, "pm_score": 1, "selected": True, "text": "<p>Accepted.</p>"},
    {"answer_id": 1, "pm_score": 9, "selected": False, "text": "<p>As many, older.</p>"},
    {"answer_id": 4, "pm_score": 0, "selected": False, "text": "<p> </p>"},
]


def test_answers_are_ranked() -> None:
    row = {"question": "<p>Why <code>x</code>?</p>", "answers": ANSWERS, "title": "On x"}
    assert question_and_answers(row) == (
        "Q: On x\n\nWhy `x`?\nA: Accepted.\nA: As many, older.\nA: Most votes.\n"
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": None, "answers": ANSWERS}, "no_question"),
        ({"question": "<p>q</p>", "answers": []}, "no_answer"),
    ],
)
def test_a_question_alone_is_no_document(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unrenderable, match=f"^{reason}$"):
        question_and_answers(row)


def test_a_fragment_keeps_code_lists_and_formulas() -> None:
    html = (
        "<p>Use   <code>f</code> &amp; see:</p>\n"
        "<pre><code>def f():\n    return 1  # two  spaces\n</code></pre>\n"
        "<ul><li>one</li><li><p>two</p></li></ul><ol><li>a<ul><li>b</li></ul></li></ol>"
        "<blockquote>said</blockquote><p>$x^2$<br>end<script>no()</script></p>"
    )
    assert fragment_text(html) == (
        "Use `f` & see:\n\n```\ndef f():\n    return 1  # two  spaces\n```\n\n- one\n- two\n\n1. a\n  - b\n\n"
        "said\n\n$x^2$\nend"
    )


def test_an_article_has_its_title_and_no_markup() -> None:
    row = {
        "title": "Ada",
        "namespace": "0",
        "redirect": False,
        "text": "'''Ada''' was a [[mathematician|writer]].{{cite}}",
    }
    assert article(row) == "Ada\n\nAda was a writer.\n"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"redirect": True}, "redirect"),
        ({"text": "#REDIRECT [[B]]"}, "redirect"),
        ({"namespace": "10"}, "not_an_article"),
        ({"text": None}, "empty_text"),
        ({"text": "{{only a template}}"}, "empty_text"),
    ],
)
def test_pages_that_are_no_articles(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unrenderable, match=f"^{reason}$"):
        article({"title": "A", "namespace": "0", "text": "words"} | change)


def test_a_paper_joins_its_parts() -> None:
    row = {
        "title": "T",
        "abstract": "A.",
        "sections": [{"heading": "1 Intro", "text": "Text."}, "More.", {"text": ""}],
    }
    assert paper(row) == "T\n\nA.\n\n1 Intro\n\nText.\n\nMore.\n"
    with pytest.raises(Unrenderable, match=r"^no_abstract$"):
        paper({"title": "T", "abstract": None})


MESSAGES = [
    {"role": "system", "content": "/think"},
    {"role": "user", "content": " 1+1? "},
    {"role": "assistant", "content": "<think>Add.</think>\n2"},
]
SHARED = [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}]


def test_conversations() -> None:
    assert (
        conversation({"messages": MESSAGES})
        == "system: /think\n\nuser: 1+1?\n\nassistant: <think>Add.</think>\n2\n"
    )
    assert contents({"messages": MESSAGES}) == "/think\n\n1+1?\n\n<think>Add.</think>\n2"
    assert conversation({"conversations": SHARED}) == "user: 1+1?\n\nassistant: 2\n"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": None}, "no_messages"),
        ({"messages": []}, "no_messages"),
        ({"messages": ["x"]}, "bad_message"),
        ({"messages": [{"role": "user"}]}, "bad_message"),
        ({"messages": MESSAGES[:2]}, "no_answer"),
    ],
)
def test_conversations_without_an_answer(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unrenderable, match=f"^{reason}$"):
        conversation(row)


def test_a_problem_and_its_solution() -> None:
    assert (
        problem({"problem": " 1+1? ", "generated_solution": "<think>…</think> 2"})
        == "1+1?\n\n<think>…</think> 2\n"
    )
    with pytest.raises(Unrenderable, match=r"^no_solution$"):
        problem({"problem": "p", "generated_solution": ""})


def test_every_name_stands_for_a_function() -> None:
    for name in RENDERERS:
        assert callable(render_function(name)), name
        assert renderer(name).summary
