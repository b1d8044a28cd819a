"""Issues and pull requests: who said what, without bots, mail and names."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldata.kinds import Unrenderable
from smoldata.kinds.discussion import Event, is_bot, issue, masked, pull_request, readable, without_mail

PULL: dict[str, Any] = {
    "title": "Read tabs everywhere",
    "body": "Closes the issue about tabs.",
    "user": {"login": "ada"},
    "state": "open",
    "merged": True,
}
LONG = "The parser stops at the first tab character. " * 6


def test_an_issue_in_the_stack_s_columns() -> None:
    events = [
        {"author": "ada-l", "action": "opened", "title": "Tabs", "description": LONG, "comment": None},
        {"author": "codecov-io", "action": "created", "comment": "Coverage 80 %"},
        {"author": "grace", "action": "created", "comment": "Thanks @ada-l, see #3.\r\nFixed."},
        {"author": "ada-l", "action": "closed", "comment": ""},
    ]
    assert issue({"events": events}) == (
        f"Title: Tabs\nusername_0: {LONG.strip()}\nusername_1: Thanks @username_0, see #3.\nFixed.\n"
        "Status: Issue closed\n"
    )


def test_an_issue_in_github_s_own_columns() -> None:
    row = {
        "title": "Tabs",
        "body": LONG,
        "user": {"login": "ada"},
        "state": "open",
        "comments": [
            {"user": {"login": "dependabot[bot]"}, "body": "Bump."},
            {"user": {"login": "grace"}, "body": "Yes."},
        ],
    }
    assert issue(row) == f"Title: Tabs\nusername_0: {LONG.strip()}\nusername_1: Yes.\n"
    assert issue(row | {"comments": 2}) == f"Title: Tabs\nusername_0: {LONG.strip()}\n"


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([], "no_events"),
        ([{"author": "travis-ci", "comment": LONG}], "bot"),
        ([{"author": "ada", "comment": " "}, {"author": "travis-ci", "comment": LONG}], "empty_text"),
        ([{"author": "ada", "comment": "short"}, {"author": "bob", "comment": "too"}], "too_short"),
        ([{"author": "ada", "comment": "x" * 7001}], "one_author"),
        ([{"author": "ada", "comment": "x" * 30}] * 11, "one_author"),
        (["x"], "bad_event"),
    ],
)
def test_what_is_no_discussion_has_a_reason(events: list[Any], reason: str) -> None:
    # "bob" ends in neither of the bots' endings; "one_author" needs the size as well.
    with pytest.raises(Unrenderable, match=f"^{reason}$"):
        issue({"events": events})


def test_two_authors_may_write_more() -> None:
    events = [{"author": "ada", "comment": "x" * 7001}, {"author": "grace", "comment": "y"}]
    assert issue({"events": events}).startswith("username_0: xxx")


@pytest.mark.parametrize(
    ("name", "bot"),
    [
        ("renovate[bot]", True),
        ("SparkQA", True),
        ("my-ci", True),
        ("k8s-merge", True),
        ("robot", True),
        ("ada", False),
    ],
)
def test_bots_are_told_by_name(name: str, bot: bool) -> None:
    assert is_bot(name) == bot


def test_mail_is_cut() -> None:
    text = (
        "I agree.\n\nOn 1/2/2020 10:11 AM, someone wrote:\n> quoted\n> more\n"
        "Reply to this email directly, view it on GitHub:\n________________________\n"
    )
    assert without_mail(text) == "I agree."
    assert without_mail("a > b\n> a quote of my own") == "a > b\n> a quote of my own"


def test_long_comments_keep_both_ends() -> None:
    lines = [f"line {number}" for number in range(200)]
    (event,) = readable([Event("ada", "\n".join(lines))])
    assert event.text.split("\n") == [*lines[:60], "[Truncated]", *lines[-20:]]


names = st.text(st.sampled_from("abAB-1"), min_size=1, max_size=5)


@given(st.lists(st.tuples(names, st.text(max_size=30)), min_size=1, max_size=6))
def test_no_author_s_name_stays(pairs: list[tuple[str, str]]) -> None:
    events = [Event(name, f"{text} @{name} said") for name, text in pairs]
    result = masked(events)
    for (shown, text), (name, _) in zip(result, pairs, strict=True):
        assert shown.startswith("username_")
        assert text.endswith(f" @{shown} said")
        assert f"@{name} said" not in text


def test_a_pull_request() -> None:
    row = {
        "pull_request": {
            "title": "Read tabs everywhere",
            "body": "Closes #3, which ada found.",
            "user": {"login": "ada"},
            "base": {"ref": "main"},
            "state": "closed",
            "merged": True,
        },
        "files": [{"filename": "a.py", "patch": "@@ -1 +1 @@\n-x\n+y"}],
        "reviews": [
            {"user": {"login": "grace"}, "body": "Good."},
            {"user": {"login": "x[bot]"}, "body": "beep"},
        ],
        "review_comments": [
            {"user": {"login": "grace"}, "body": "Why?", "path": "a.py", "diff_hunk": "@@ -1 +1 @@\n+y"}
        ],
        "comments": [
            {"user": {"login": "ada"}, "body": "Because of the tabs, grace."},
            {"user": {"login": "ada"}, "body": "Too short."},
        ],
    }
    assert pull_request(row) == (
        "Title: Read tabs everywhere\nBase: main\n"
        "username_0: Closes #3, which username_0 found.\n\na.py\n@@ -1 +1 @@\n-x\n+y\n\n"
        "username_1: Good.\n\n"
        "username_1: on a.py:\n@@ -1 +1 @@\n+y\nWhy?\n\n"
        "username_0: Because of the tabs, username_1.\n\nStatus: merged\n"
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"user": {"login": "x[bot]"}}, "bot"),
        ({"title": ""}, "no_title"),
        ({"title": "Read tabs"}, "short_title"),
        ({"title": "Bump dependencies of x"}, "title_of_a_tool"),
        ({"title": "Release 1.0 is here"}, "title_of_a_tool"),
        ({"body": " "}, "short_description"),
        ({"body": "A description by Qwiet AI, long enough"}, "description_of_a_tool"),
        ({"merged": False}, "not_merged"),
        ({"body": "> On Mon, someone wrote:\n> this\nReply to this email directly"}, "short_description"),
    ],
)
def test_a_pull_request_that_says_nothing(change: dict[str, Any], reason: str) -> None:
    pull = PULL | change
    with pytest.raises(Unrenderable, match=f"^{reason}$"):
        pull_request({"pull_request": pull})


def test_pull_requests_are_cut_as_published() -> None:
    body = "\n".join(f"Line {number} of the description." for number in range(90))
    row = {
        "pull_request": PULL | {"title": "t" * 600, "body": body, "merged": False},
        "reviews": [{"user": {"login": "grace"}, "body": "Yes.", "state": "APPROVED"}],
        "review_comments": [
            {"user": {"login": "grace"}, "body": "Why?", "path": "a.py", "diff_hunk": "+" * 10_001}
        ],
    }
    text = pull_request(row)
    title, said = text.split("\n")[0], text[text.index("username_0") :]
    assert title == "Title: " + "t" * 500 + "…"
    assert said.startswith("username_0: Line 0 of the description.\n")
    assert len(said.partition("\n\nusername_1")[0]) <= len("username_0: ") + 1001
    assert "username_1: Yes.\n\nusername_1: on a.py:\nWhy?\n\nStatus: open\n" in text
    files = [{"filename": f"{number}.py", "patch": "+" * 2000} for number in range(50)]
    with pytest.raises(Unrenderable, match=r"^too_long$"):
        pull_request(row | {"files": files})
