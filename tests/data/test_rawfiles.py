"""Notebooks and XML dumps as rows; damage is named."""

import bz2
import json
from pathlib import Path

import pytest

from smoldata.errors import SourceError
from smoldata.reading import Report, read_rows

WIKI = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/"><siteinfo><sitename>x</sitename></siteinfo>
<page><title>Ada</title><ns>0</ns><id>1</id><revision><id>9</id><timestamp>t</timestamp>
<text>'''Ada''' &amp; co</text></revision></page>
<page><title>B</title><ns>0</ns><id>2</id><redirect title="Ada"/>
<revision><text>#REDIRECT [[Ada]]</text></revision></page></mediawiki>"""
POSTS = '<?xml version="1.0"?><posts><row Id="1" Type="1" Body="&lt;p&gt;q&lt;/p&gt;"/><row Id="2"/></posts>'


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


def test_a_dump_of_posts(tmp_path: Path) -> None:
    (tmp_path / "Posts.xml").write_text(POSTS, encoding="utf-8")
    assert rows(tmp_path / "Posts.xml") == [{"Id": "1", "Type": "1", "Body": "<p>q</p>"}, {"Id": "2"}]


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
