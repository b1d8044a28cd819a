"""Bytes of a package's file -> real text: one function an extractor of the registry, named as there.

Texts are cut from files and joined again, never written by us. Bytes that are not UTF-8 are left out.
"""

import ast
import bz2
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from email import message_from_string
from typing import Any

from smoldata.registry import Extractor
from smoldata.sample.gettext import read_catalogue
from smoldata.sample.github import read_replayed
from smoldata.sample.plain import plain_text, with_formulas
from smoldata.sample.wikipedia import read_dump

_PAGE_CHARACTERS = 6000
_MIN_DOCSTRING_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Piece:
    """A text cut out of a file."""

    text: str
    part: str = ""
    """Names the piece inside its file; empty when the file is one piece."""
    url: str | None = None


def extract(name: Extractor, data: bytes) -> Iterator[Piece]:
    """Yield the texts that an extractor finds in ``data``; a file that it cannot read yields none."""
    for piece in _EXTRACTORS[name](data):
        if piece.text.strip():
            yield piece


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        return None


def _text(data: bytes) -> Iterator[Piece]:
    text = _decoded(data)
    if text is not None:
        yield Piece(text)


def _plain(data: bytes) -> Iterator[Piece]:
    """Give a documentation page as its reader sees it."""
    yield Piece(plain_text(_decoded(data) or ""))


def _formulas(data: bytes) -> Iterator[Piece]:
    yield Piece(with_formulas(_decoded(data) or ""))


def _pages(data: bytes) -> Iterator[Piece]:
    """Cut a book at empty lines into pages of about 6,000 characters (as a site that serves it would)."""
    text = _decoded(data) or _latin(data)
    page: list[str] = []
    number = 0
    for paragraph in re.split(r"\n\s*\n", text):
        page.append(paragraph.strip("\n"))
        if sum(map(len, page)) >= _PAGE_CHARACTERS:
            number += 1
            yield Piece("\n\n".join(page), str(number))
            page = []
    if page:
        yield Piece("\n\n".join(page), str(number + 1))


def _latin(data: bytes) -> str:
    return data.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")


def _sections(data: bytes) -> Iterator[Piece]:
    """Cut a list of questions and answers at its headings (underlined, ``#``, or an ``a?`` line)."""
    text = _decoded(data) or ""
    heading = re.compile(r"^(?:[^\n]+\n([-=~^\"'`*+#])\1{3,}|#{1,4} [^\n]+)$", re.MULTILINE)
    starts = [match.start() for match in heading.finditer(text)] or [0]
    for number, (begin, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True), 1):
        yield Piece(text[begin:end].strip() + "\n", str(number))


def _readme(data: bytes) -> Iterator[Piece]:
    """Give the long description of a package's metadata (its README)."""
    message = message_from_string(_decoded(data) or "")
    body = message.get_payload()
    if isinstance(body, str):
        described = body.strip() or str(message.get("Description") or "")
        home = str(message.get("Home-page") or "")
        yield Piece(plain_text(described), url=home if home.startswith("http") else None)


def _gettext(data: bytes) -> Iterator[Piece]:
    for part, text in read_catalogue(_decoded(data) or ""):
        yield Piece(text, part)


def _wikipedia(data: bytes) -> Iterator[Piece]:
    for title, text in read_dump(bz2.decompress(data)):
        yield Piece(text, title, "https://en.wikipedia.org/wiki/" + title.replace(" ", "_"))


def _notebook(data: bytes) -> Iterator[Piece]:
    """Turn a notebook into a script: markdown cells as comments, code cells as they are, no outputs."""
    try:
        notebook: Any = json.loads(data)
        cells: list[dict[str, Any]] = notebook["cells"]
        yield Piece("\n\n".join(_script(cells)) + "\n")
    except (ValueError, KeyError, TypeError, AttributeError):
        return


def _script(cells: Iterable[dict[str, Any]]) -> Iterator[str]:
    for cell in cells:
        source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        if source.strip():
            is_code = cell["cell_type"] == "code"
            yield source if is_code else "\n".join(f"# {line}".rstrip() for line in source.splitlines())


def _docstrings(data: bytes) -> Iterator[Piece]:
    """Give the longer docstrings of a module: definitions, formulas, worked examples."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text, name = ast.get_docstring(node), getattr(node, "name", "module")
        else:
            # Some packages keep the docstrings of generated functions as assigned constants.
            text, name = _assigned(node)
        if text and len(text) >= _MIN_DOCSTRING_CHARACTERS:
            yield Piece(f"{name}\n\n{with_formulas(text)}\n", f"{name}:{getattr(node, 'lineno', 0)}")


def _assigned(node: ast.AST) -> tuple[str | None, str]:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        value = node.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return inspect.cleandoc(value.value), node.targets[0].id
    return None, ""


def _issues(data: bytes) -> Iterator[Piece]:
    yield from (Piece(text, part, url) for part, url, text in read_replayed(data, pulls=False))


def _pull_requests(data: bytes) -> Iterator[Piece]:
    yield from (Piece(text, part, url) for part, url, text in read_replayed(data, pulls=True))


_EXTRACTORS: dict[Extractor, Callable[[bytes], Iterator[Piece]]] = {
    "text": _text,
    "plain": _plain,
    "formulas": _formulas,
    "pages": _pages,
    "sections": _sections,
    "readme": _readme,
    "gettext": _gettext,
    "wikipedia": _wikipedia,
    "notebook": _notebook,
    "docstrings": _docstrings,
    "issues": _issues,
    "pull_requests": _pull_requests,
}
