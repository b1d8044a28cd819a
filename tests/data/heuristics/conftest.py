"""Texts for the heuristics: real ones, and pieces that the rules of splitters and filters are about."""

import ast
import importlib.metadata
import io
import random
import sysconfig
import tarfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import strategies as st

WEB = Path(__file__).parents[3].parent / "shared" / "data" / "web" / "pages.tar.xz"


@cache
def descriptions(count: int, most_characters: int = 4_000) -> list[str]:
    """Return the long descriptions of installed packages: prose, lists, code, tables, links."""
    texts = {
        str(package.metadata.get_payload() or package.metadata.get("Description") or "")[:most_characters]
        for package in importlib.metadata.distributions()
    }
    return sorted(text for text in texts if len(text) > 200)[:count]


@cache
def paragraphs(count: int) -> list[str]:
    """Return docstrings of the standard library: English prose."""
    names = (
        "argparse",
        "decimal",
        "difflib",
        "doctest",
        "optparse",
        "subprocess",
        "textwrap",
        "threading",
        "turtle",
    )
    texts: list[str] = []
    for name in names:
        tree = ast.parse((Path(sysconfig.get_path("stdlib")) / f"{name}.py").read_text(encoding="utf-8"))
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))
        texts += [text for text in found if text and len(text) > 150]
    return list(dict.fromkeys(texts))[:count]


@pytest.fixture(scope="session")
def web_pages() -> list[str]:
    """Return the text of real web pages, if they are here."""
    if not WEB.exists():
        pytest.skip("real web pages are not here: ../shared/data/web/pages.tar.xz")
    trafilatura = pytest.importorskip("trafilatura")
    texts = []
    with tarfile.open(WEB) as archive:
        pages = [member for member in archive.getmembers() if member.isfile() and member.size < 60_000]
        for member in pages[:24]:
            file = archive.extractfile(member)
            assert isinstance(file, io.BufferedReader)
            text = trafilatura.extract(file.read().decode("utf-8", "replace"), favor_precision=True)
            if text:
                texts.append(text)
    assert len(texts) >= 10
    return texts


# Affixes, contractions, emoticons, abbreviations, addresses, marks, spaces of all kinds, symbols of spaCy.
PIECES = [
    *("the", "be", "to", "of", "and", "that", "have", "with", "word", "Hello", "I", "a", "x", "O", "D", "P"),
    *(
        "don't",
        "it's",
        "It\u2019s",
        "cannot",
        "gonna",
        "he'd've",
        "y'all",
        "o'clock",
        "rock-n-roll",
        "e.g.",
        "a.m.",
    ),
    *(
        "10a.m.",
        "U.S.A.",
        "Mr.",
        "Dr",
        "p.m",
        "St",
        ".",
        "..",
        "...",
        "…",
        ",",
        ";",
        ":",
        "!",
        "?",
        "?!",
        "-",
    ),
    *(
        "--",
        "—",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "\u2019",
        "``",
        "/",
        "\\",
        "*",
        "#",
        "•",
        "|",
        "_",
        "<",
        ">",
    ),
    *(
        ":)",
        ":-)",
        ";)",
        ":(",
        "8)",
        "=D",
        "<3",
        ":/",
        "^_^",
        "(o:",
        "¯\\_(ツ)_/¯",
        "ಠ_ಠ",
        "1",
        "3",
        "33",
        "-1",
    ),
    *("3.14", "1,000", "$5", "5km", "20%", "http://a.b/c?d=e", "www.x.org.", "me@x.org", "a@b", "C++", "c#"),
    *(
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "\r\n",
        "\x0b",
        "\x0c",
        "\x1c",
        "\x85",
        "\u00a0",
        "\u2003",
        "\u2028",
        "\u200b",
    ),
    *("é", "ß", "İ", "Σ", "日本", "。", "भारत", "।", "😀", "🇫🇷", "\u0301", "\ufeff", "\x00", "\udcff"),
    *(
        "lorem ipsum",
        "javascript",
        "Privacy Policy",
        "[1]",
        "[edit]",
        "[citation needed]",
        "use cookies",
    ),
    *(
        "w/o",
        "and/or",
        "°C.",
        "v.s.",
        "..._",
        "'s",
        "\u2019s",
        "'em",
        "ORTH",
        "NOUN",
        "\U0001f468\u200d\U0001f469",
    ),
]
nasty = st.lists(
    st.one_of(
        st.sampled_from(PIECES),
        st.sampled_from([" ", ". ", ", ", "\n"]),
        st.text(max_size=6),
        st.sampled_from(["the cat sat on the mat. ", "and to be with that of have. "]),
    ),
    max_size=60,
).map("".join)


def spell_out(seed: int, size: int) -> str:
    """Return a text of ``size`` pieces drawn at random: more of them than hypothesis likes to draw."""
    source = random.Random(seed)  # noqa: S311 - a test's text, nothing secret
    return "".join(source.choice(PIECES) + source.choice(["", " ", " ", " ", "\n"]) for _ in range(size))
