"""Notebooks and XML dumps as rows; damage is named."""

import bz2
import json
from pathlib import Path

import pytest

from smoldata.errors import SourceError
from smoldata.kinds.stackexchange import question_and_answers
from smoldata.reading import Report, read_rows

WIKI = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/"><siteinfo><sitename>x</sitename></siteinfo>
<page><title>Ada</title><ns>0</ns><id>1</id><revision><id>9</id><timestamp>t</timestamp>
<text>'''Ada''' &amp; co</text></revision></page>
<page><title>B</title><ns>0</ns><id>2</id><redirect title="Ada"/>
<revision><text>#REDIRECT [[Ada]]</text></revision></page></mediawiki>"""
POSTS = """<?xml version="1.0"?><posts>
<row Id="1" PostTypeId="1" AcceptedAnswerId="4" Score="2" Title="On x" Body="&lt;p&gt;q1&lt;/p&gt;" />
<row Id="2" PostTypeId="1" Score="0" Title="Alone" Body="q2" />
<row Id="3" PostTypeId="2" ParentId="1" Score="9" Body="a3" />
<row Id="4" PostTypeId="2" ParentId="1" Score="1" Body="a4" />
<row Id="5" PostTypeId="5" Body="a tag's page" />
<row Id="6" PostTypeId="2" ParentId="77" Score="1" Body="its question is gone" />
</posts>"""


def rows(path: Path) -> list[dict[str, object]]:
    return [row for _, row in read_rows(str(path), (), Report())]


def test_a_wiki_export(tmp_path: Path) -> None:
    (tmp_path / "a.xml.bz2").write_bytes(bz2.compress(WIKI.encode()))
    first, second = rows(tmp_path / "a.xml.bz2")
    assert first == {
        "id": "1",
        "title": "Ada",
        "namespace": "0",
        "redirect": False,
        "text": "'''Ada''' & co",
        "timestamp": "t",
    }
    assert second["redirect"] is True


def test_a_dump_of_posts_becomes_questions_with_answers(tmp_path: Path) -> None:
    (tmp_path / "Posts.xml").write_text(POSTS, encoding="utf-8")
    first, second = rows(tmp_path / "Posts.xml")
    assert first == {
        "qid": 1,
        "title": "On x",
        "question": "<p>q1</p>",
        "answers": [
            {"answer_id": 3, "pm_score": 9, "selected": False, "text": "a3"},
            {"answer_id": 4, "pm_score": 1, "selected": True, "text": "a4"},
        ],
    }
    assert second == {"qid": 2, "title": "Alone", "question": "q2", "answers": []}
    assert question_and_answers(first) == "Q: On x\n\nq1\nA: a4\nA: a3\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [('<row Body="x"/>', "record 0: no post"), ('<row Id="one"/>', "record 0: a post's number")],
)
def test_a_dump_of_something_else(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "Posts.xml").write_text(f"<posts>{row}</posts>", encoding="utf-8")
    with pytest.raises(SourceError, match=message):
        rows(tmp_path / "Posts.xml")


def test_cut_and_hostile_xml(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(WIKI[: WIKI.index("<page><title>B")], encoding="utf-8")
    with pytest.raises(SourceError, match=r"a\.xml: record 1: not well-formed XML, or cut short"):
        rows(path)
    path.write_text('<!DOCTYPE m [<!ENTITY a "aaaa">]><m>&a;</m>', encoding="utf-8")
    with pytest.raises(SourceError, match="declares XML entities"):
        rows(path)
    (tmp_path / "a.xml.bz2").write_bytes(bz2.compress(WIKI.encode())[:-8])
    with pytest.raises(SourceError, match="cut short"):
        rows(tmp_path / "a.xml.bz2")


def test_a_notebook_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": [], "nbformat": 4}), encoding="utf-8")
    assert rows(tmp_path / "a.ipynb") == [{"cells": [], "nbformat": 4}]


@pytest.mark.parametrize(
    ("data", "reason"), [(b"{", "bad_json"), (b"[1]", "not_an_object"), (b'{"a": "\xff"}', "bad_utf8")]
)
def test_a_bad_notebook_is_counted(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.ipynb").write_bytes(data)
    report = Report()
    assert list(read_rows(str(tmp_path / "a.ipynb"), (), report)) == []
    assert report.dropped == {reason: 1}
