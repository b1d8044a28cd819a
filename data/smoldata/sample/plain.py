"""reStructuredText or Markdown -> the prose that a reader of the page sees.

Web sets hold pages after extraction; a documentation file is its page before it. Rules on lines and spans,
no parser: what is left is the authors' sentences, word for word.
"""

import re
from collections.abc import Iterator

_FENCE = re.compile(r"^\s*(```|~~~)")
_DIRECTIVE = re.compile(r"^\s*\.\. ")
_UNDERLINE = re.compile(r"^\s*([-=~^\"'`*+#.:_<>])\1{2,}\s*$")
_TABLE = re.compile(r"^\s*(\||\+[-=+]+\+|={2,} +=)")
_FIELD = re.compile(r"^\s*:[\w ]+:(\s|$)")
_PROMPT = re.compile(r"^\s*(>>>|\.\.\. |\$ |\.\.\.$)")
_NOT_PROSE = frozenset(
    [
        "autoclass",
        "autofunction",
        "automethod",
        "automodule",
        "bibliography",
        "code",
        "code-block",
        "contents",
        "csv-table",
        "currentmodule",
        "doctest",
        "figure",
        "glob",
        "graphviz",
        "highlight",
        "image",
        "include",
        "index",
        "inheritance-diagram",
        "ipython",
        "list-table",
        "literalinclude",
        "math",
        "module",
        "plot",
        "raw",
        "rubric",
        "sourcecode",
        "table",
        "testcode",
        "testoutput",
        "testsetup",
        "toctree",
    ]
)
_SPANS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), replacement)
    for pattern, replacement in (
        (r"<!--.*?-->", ""),
        (r"!\[[^\]]*\]\([^)]*\)", ""),
        (r"\[([^\]]*)\]\([^)]*\)", r"\1"),
        (r":[\w:+.-]+:`~?([^`<]*?)\s*(?:<[^`>]*>)?`", r"\1"),
        (r"`([^`<]*?)\s*<[^`>]*>`__?", r"\1"),
        (r"``([^`]*)``", r"\1"),
        (r"`([^`]*)`_?_?", r"\1"),
        (r"\*\*([^*\n]+)\*\*", r"\1"),
        (r"(?<![\w*])\*([^*\n]+)\*(?![\w*])", r"\1"),
        (r"</?[a-zA-Z][^<>\n]*>", ""),
        (r"(?m)^#{1,6}\s+", ""),
        (r"::(?=\s*$|\n)", ":"),
        (r"[ \t]+\n", "\n"),
        (r"\n{3,}", "\n\n"),
    )
)


def plain_text(markup: str) -> str:
    """Return the prose of a documentation file."""
    text = "\n".join(_prose_lines(markup.expandtabs(4).split("\n")))
    for pattern, replacement in _SPANS:
        text = pattern.sub(replacement, text)
    return _unwrapped(text).strip() + "\n"


def _prose_lines(lines: list[str]) -> Iterator[str]:
    """Yield the lines outside code blocks, directives' options, tables, underlines and prompts."""
    in_fence, block_indent = False, -1
    for line in lines:
        if _FENCE.match(line):
            in_fence = not in_fence
            continue
        if in_fence:
            continue
        indent = len(line) - len(line.lstrip())
        if block_indent >= 0 and (not line.strip() or indent > block_indent):
            continue
        if block_indent >= 0:
            # The empty line that ends a block is inside it.
            yield ""
        block_indent = -1
        if _DIRECTIVE.match(line):
            name, colons, _ = line.strip()[3:].partition("::")
            if not colons or name.strip() in _NOT_PROSE:
                block_indent = indent
            continue
        if _UNDERLINE.match(line) or _TABLE.match(line) or _FIELD.match(line) or _PROMPT.match(line):
            continue
        if line.rstrip().endswith("::"):
            block_indent = indent
        yield line.lstrip() if indent else line


def with_formulas(markup: str) -> str:
    """Return reStructuredText with its formulas written as web pages have them: ``$…$`` and ``$$…$$``."""
    text = re.sub(r":math:`([^`]+)`", lambda match: f"${match[1].strip()}$", markup)
    block = re.compile(r"^([ \t]*)\.\. math::[ \t]*([^\n]*)\n((?:[ \t]*\n|\1[ \t]+[^\n]*\n?)*)", re.MULTILINE)
    return block.sub(_displayed, text)


def _displayed(match: re.Match[str]) -> str:
    lines = [match[2].strip(), *(line.strip() for line in match[3].splitlines())]
    kept = [line for line in lines if line and not line.startswith(":")]
    return f"{match[1]}$$\n" + "\n".join(match[1] + line for line in kept) + f"\n{match[1]}$$\n\n"


def _unwrapped(text: str) -> str:
    """Join the lines of each paragraph; list items stay on their own lines."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        joined = re.sub(r"\n(?![*+-] |\d+[.)] |#\. )", " ", paragraph.strip("\n"))
        paragraphs.append(re.sub(r" {2,}", " ", joined))
    return "\n\n".join(paragraphs)
