"""Extractors cut real text out of real files; planted facts come through whole."""

import bz2
import json
import textwrap
from pathlib import Path

import pytest
from tests.data.helpers import STDLIB

from smoldata.sample.archive import read_installed, read_standard_library
from smoldata.sample.extract import Piece, extract
from smoldata.sample.gettext import read_catalogue
from smoldata.sample.plain import plain_text, with_formulas
from smoldata.sample.wikipedia import plain


def test_text_is_the_file_itself() -> None:
    path = STDLIB / "json" / "decoder.py"
    assert list(extract("text", path.read_bytes())) == [Piece(path.read_text(encoding="utf-8"))]


def test_bytes_that_are_not_text_give_nothing() -> None:
    assert list(extract("text", b"\xff\xfe\x00")) == []
    for name in ("notebook", "docstrings", "issues", "pull_requests", "gettext", "readme", "plain"):
        assert list(extract(name, b"\xff\xfe\x00 not this")) == [], name  # type: ignore[arg-type]


def test_line_ends_and_byte_order_mark() -> None:
    assert next(extract("text", b"\xef\xbb\xbfa\r\nb\rc\n")).text == "a\nb\nc\n"


def test_pages_hold_the_whole_book_in_order() -> None:
    paragraphs = [f"Paragraph {number}. " + "words " * 200 for number in range(40)]
    pieces = list(extract("pages", "\n\n".join(paragraphs).encode()))
    assert len(pieces) > 3
    assert "\n\n".join(piece.text for piece in pieces) == "\n\n".join(paragraphs)
    assert len({piece.part for piece in pieces}) == len(pieces)


def test_sections_cut_at_headings() -> None:
    text = "Title\n=====\n\nIntro\n\nHow?\n----\n\nSo.\n\n# Why?\n\nBecause.\n"
    pieces = [piece.text for piece in extract("sections", text.encode())]
    assert pieces == ["Title\n=====\n\nIntro\n", "How?\n----\n\nSo.\n", "# Why?\n\nBecause.\n"]


def test_readme_of_an_installed_package() -> None:
    files = dict(read_installed("rich", lambda path: path.endswith(".dist-info/METADATA")))
    (piece,) = extract("readme", next(iter(files.values())))
    assert "Rich is a Python library" in piece.text
    assert "Metadata-Version" not in piece.text


def test_docstrings_of_the_standard_library() -> None:
    files = dict(read_standard_library(lambda path: path == "statistics.py"))
    pieces = list(extract("docstrings", files["statistics.py"]))
    assert any(piece.text.startswith("quantiles\n\nDivide *data* into") for piece in pieces)
    assert all(len(piece.text) > 300 for piece in pieces)


def test_assigned_docstrings_are_found() -> None:
    body = "x" * 400
    pieces = list(extract("docstrings", f'zeta = r"""\n    {body}\n    """\n'.encode()))
    assert [piece.text for piece in pieces] == [f"zeta\n\n{body}\n"]


def test_notebook_becomes_a_script() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "words"]},
        {"cell_type": "code", "source": "x = 1\nprint(x)", "outputs": [{"text": "1"}]},
        {"cell_type": "code", "source": []},
    ]
    (piece,) = extract("notebook", json.dumps({"cells": cells}).encode())
    assert piece.text == "# # Title\n#\n# words\n\nx = 1\nprint(x)\n"


CATALOGUE = textwrap.dedent(
    r"""
    msgid ""
    msgstr "Language: fr\n"

    #: a.py:1
    msgid "Hello"
    msgstr "Bonjour à toutes et à tous, et bienvenue."

    msgid "OK"
    msgstr "D'accord"

    #, fuzzy
    msgid "Bye"
    msgstr "Faux"

    msgid "Untranslated"
    msgstr ""

    msgid "Same"
    msgstr "Same"

    msgid ""
    "Two "
    "lines"
    msgstr ""
    "Deux\n"
    "lignes \"citées\" l'une après l'autre"

    msgid "one"
    msgid_plural "many"
    msgstr[0] "un seul fichier a été enregistré"
    msgstr[1] "%d fichiers ont été enregistrés"

    #~ msgid "old"
    #~ msgstr "vieux"
    """
)


def test_catalogue_gives_translations_only() -> None:
    expected = (
        "Bonjour à toutes et à tous, et bienvenue.\n"
        "Deux\nlignes \"citées\" l'une après l'autre\n"
        "%d fichiers ont été enregistrés\n"
    )
    assert [text for _, text in read_catalogue(CATALOGUE)] == [expected]


def test_dense_scripts_need_fewer_characters() -> None:
    sentence = 'msgid "Delete the chosen files?"\nmsgstr "選択したファイルを削除しますか"'
    catalogue = sentence + '\n\nmsgid "File"\nmsgstr "ファイル"'
    assert [text for _, text in read_catalogue(catalogue)] == ["選択したファイルを削除しますか\n"]


def test_a_long_catalogue_is_cut_without_loss() -> None:
    entries = [f'msgid "m{number}"\nmsgstr "{"mot " * 50}{number}"' for number in range(100)]
    documents = list(read_catalogue("\n\n".join(entries)))
    assert len(documents) > 2
    lines = "".join(text for _, text in documents).splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [str(number) for number in range(100)]


def test_wikipedia_markup_is_cut() -> None:
    markup = (
        "{{Infobox|a={{b}}}}'''Anarchism''' is a [[political philosophy|philosophy]]<ref>x</ref> "
        "of [[self]].\n"
        "[[File:a.jpg|thumb|A [[link]] inside]]\n== History ==\n* one\n<!-- hidden -->"
    )
    assert plain(markup) == "Anarchism is a philosophy of self.\n\nHistory\none"


def test_wikipedia_export_skips_redirects_and_survives_a_cut_end() -> None:
    pages = (
        "<mediawiki><page><title>A</title><revision><text>Real text.</text></revision></page>"
        "<page><title>B</title><revision><text>#REDIRECT [[A]]</text></revision></page>"
        "<page><title>Talk:A</title><revision><text>Chat.</text></revision></page>"
        "<page><title>C</title><revision><text>Cut"
    )
    pieces = list(extract("wikipedia", bz2.compress(pages.encode())))
    assert [(piece.part, piece.text) for piece in pieces] == [("A", "Real text.")]


def recording(path: str, body: object) -> str:
    head = ["https", "GET", "api.github.com", "None", path, "{}", "None", "200", "[('status', '200 OK')]"]
    return "\n".join([*head, json.dumps(body), "", ""])


def test_recorded_answers_become_issues_and_pull_requests() -> None:
    issue = {
        "html_url": "https://github.com/o/r/issues/1",
        "title": "T",
        "body": "Broken\r\nhere",
        "state": "open",
    }
    pull = {
        "html_url": "https://github.com/o/r/pull/2",
        "title": "Fix",
        "body": "Fixes it",
        "base": {"ref": "main"},
        "commits": 3,
    }
    changes = [{"filename": "a.py", "patch": "@@ -1 +1 @@\n-x\n+y"}, {"filename": "b.bin"}]
    data = (
        recording("/repos/o/r/issues/1", issue)
        + recording("/repos/o/r/issues", [issue, {"html_url": "x", "title": "no body"}])
        + recording("/repos/o/r/pulls/2", pull)
        + recording("/repos/o/r/pulls/2/files?page=1", changes)
    ).encode()
    (found,) = extract("issues", data)
    assert found.text == "Title: T\nStatus: open\nusername_0: Broken\nhere\n"
    assert found.url == "https://github.com/o/r/issues/1"
    texts = [piece.text for piece in extract("pull_requests", data)]
    assert texts == [
        "Title: Fix\nBase: main; commits: 3\nusername_0: Fixes it\n",
        "a.py\n@@ -1 +1 @@\n-x\n+y\n",
    ]


def test_plain_text_keeps_sentences_and_cuts_markup() -> None:
    markup = textwrap.dedent(
        """\
        .. _label:

        =====
        Title
        =====

        Call :func:`~a.b.run` or ``stop()``; see `the site <https://example.org>`_
        and *this* word.

        .. note::

            Notes are **read**.

        An example::

            >>> code()

        .. code-block:: python

            more_code()

        * first item
          goes on
        * second

        ==== ====
        a    b
        ==== ====
        """
    )
    assert plain_text(markup) == (
        "Title\n\nCall a.b.run or stop(); see the site and this word.\n\nNotes are read.\n\nAn example:\n\n"
        "* first item goes on\n* second\n\na b\n"
    )


def test_formulas_are_written_as_pages_have_them() -> None:
    markup = "The sum :math:`a+b` is\n\n.. math::\n   :label: x\n\n   \\sum_i a_i\n   = 1\n\nAfter.\n"
    assert with_formulas(markup) == "The sum $a+b$ is\n\n$$\n\\sum_i a_i\n= 1\n$$\n\nAfter.\n"


@pytest.mark.parametrize("path", ["asyncio/tasks.py", "typing.py"])
def test_standard_library_paths_are_relative(path: str) -> None:
    files = dict(read_standard_library(lambda name: name == path))
    assert list(files) == [path]
    assert not Path(path).is_absolute()
