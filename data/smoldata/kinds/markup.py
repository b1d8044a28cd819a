"""An HTML fragment, such as a post -> text: paragraphs, lists, code, and formulas as they stand.

Posts are written in Markdown and stored as small, well-formed HTML; a formula is already text (``$…$``). For
whole pages use an extractor. The standard library's parser; linear in the fragment.
"""

import re
from html.parser import HTMLParser

_BLOCKS = frozenset(
    [
        *("article", "blockquote", "dd", "details", "div", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6"),
        *("hr", "ol", "p", "pre", "section", "summary", "table", "tr", "ul"),
    ]
)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.lists: list[int | None] = []
        self.preformatted = 0
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - HTMLParser's
        if tag in {"script", "style"}:
            self.silent += 1
        elif tag == "pre":
            self.preformatted += 1
            self.parts.append("\n\n```\n")
        elif tag == "code" and not self.preformatted:
            self.parts.append("`")
        elif tag in {"ul", "ol"}:
            self.lists.append(1 if tag == "ol" else None)
            self.parts.append("" if len(self.lists) > 1 else "\n\n")
        elif tag == "li":
            self.parts.append("\n" + "  " * (len(self.lists) - 1) + self._marker())
        elif tag == "br":
            self.parts.append("\n")
        elif tag in _BLOCKS:
            self.parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style"}:
            self.silent = max(0, self.silent - 1)
        elif tag == "pre" and self.preformatted:
            self.preformatted -= 1
            self.parts.append("" if "".join(self.parts[-1:]).endswith("\n") else "\n")
            self.parts.append("```\n\n")
        elif tag == "code" and not self.preformatted:
            self.parts.append("`")
        elif tag in {"ul", "ol"} and self.lists:
            self.lists.pop()
            self.parts.append("" if self.lists else "\n\n")
        elif tag in _BLOCKS:
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self.silent:
            return
        self.parts.append(data if self.preformatted else re.sub(r"[ \t\r\n]+", " ", data))

    def _marker(self) -> str:
        number = self.lists[-1] if self.lists else None
        if number is None:
            return "- "
        self.lists[-1] = number + 1
        return f"{number}. "


def fragment_text(html: str) -> str:
    """Return the text of an HTML fragment; code blocks stand between fences, list items get a marker."""
    parser = _Text()
    parser.feed(html)
    parser.close()
    pieces = re.split(r"\n(```\n.*?\n```)\n", "".join(parser.parts), flags=re.DOTALL)
    # Only prose is tidied: every second piece is code.
    tidied = (piece if at % 2 else _tidied(piece) for at, piece in enumerate(pieces))
    return "\n\n".join(piece for piece in tidied if piece)


def _tidied(text: str) -> str:
    text = re.sub(r"(\n[ ]*(?:- |\d+\. ))\s+", r"\1", text)
    text = re.sub(r"[ \t]+\n", "\n", text)
    text = re.sub(r"\n (?! *(?:- |\d+\. ))", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
