r"""A web page with formulas -> the same page with each formula as LaTeX text, ready for an extractor.

Extractors drop formulas, since they stand in markup: MathML, KaTeX, MathJax scripts, Wikipedia's pictures.
Most pages carry the LaTeX source beside it; here it is put where the formula stood, ``\(…\)`` in a line and
``\[…\]`` on its own. MathML without a source is written out by rules for the common elements. OpenWebMath
(Paster et al. 2023, arXiv:2310.06786) did the same before FineMath and MegaMath. Cost: one parse by lxml.
"""

import re
from typing import Any
from unicodedata import lookup

from lxml import etree, html

_DISPLAY = "display"
_SPACES = re.compile(r"\s+")
# Code point of a sign and the LaTeX command for it.
_OPERATORS = """
2264 leq 2265 geq 2260 neq b1 pm 2213 mp f7 div d7 times 22c5 cdot b7 cdot 221e infty 2211 sum 220f prod
222b int 2202 partial 2207 nabla 2208 in 2209 notin 2282 subset 2286 subseteq 222a cup 2229 cap
2200 forall 2203 exists ac neg 2192 to 21d2 Rightarrow
21d4 Leftrightarrow 21a6 mapsto 2248 approx 2261 equiv 223c sim 221d propto
2026 ldots 22ef cdots 3bb lambda 39b Lambda
"""
_GREEK = """
alpha beta gamma delta epsilon zeta eta theta iota kappa mu nu xi pi rho sigma tau upsilon phi chi psi omega
Gamma Delta Theta Xi Pi Sigma Phi Psi Omega
"""


def _signs() -> dict[str, str]:
    words = _OPERATORS.split()
    signs = {chr(int(code, 16)): f"\\{name} " for code, name in zip(words[::2], words[1::2], strict=True)}
    for name in _GREEK.split():
        size = "SMALL" if name.islower() else "CAPITAL"
        signs[lookup(f"GREEK {size} LETTER {name}")] = f"\\{name} "
    # A minus, braces, and what cannot be seen: function application, times, separator, plus.
    return (
        signs
        | {chr(0x2212): "-", "{": r"\{", "}": r"\}"}
        | dict.fromkeys(map(chr, range(0x2061, 0x2065)), "")
    )


_SIGNS = _signs()


def with_latex(page: str) -> str:
    """Return the page's HTML with every formula as LaTeX text; the page itself if it has none or no HTML."""
    if not re.search(r"<math|katex|math/tex|mwe-math|MathJax|class=\"tex", page):
        return page
    try:
        tree = html.document_fromstring(page)
    except (etree.ParserError, ValueError):
        # An empty page, or one whose declared encoding contradicts that it is decoded text.
        return page
    for element in list(tree.iter("script")):
        _script(element)
    for element in [found for found in tree.iter("span") if "katex" in _classes(found)]:
        _katex(element)
    for element in [
        found
        for found in tree.iter("img")
        if "mwe-math" in " ".join(_classes(found)) or "tex" in _classes(found)
    ]:
        _picture(element)
    for element in list(tree.iter("{*}math", "math")):
        _mathml(element)
    return str(html.tostring(tree, encoding="unicode"))


def _classes(element: Any) -> list[str]:
    return str(element.get("class") or "").split()


def _replace(element: Any, latex: str, *, display: bool) -> None:
    """Put the formula's text where the element stood."""
    parent = element.getparent()
    if parent is None:
        return
    latex = _SPACES.sub(" ", latex).strip()
    text = (f"\n\\[{latex}\\]\n" if display else f"\\({latex}\\)") if latex else ""
    tail = element.tail or ""
    before = element.getprevious()
    if before is not None:
        before.tail = (before.tail or "") + text + tail
    else:
        parent.text = (parent.text or "") + text + tail
    element.tail = None
    parent.remove(element)


def _script(element: Any) -> None:
    """MathJax 2: ``<script type="math/tex; mode=display">``; what it drew before it is dropped."""
    kind = str(element.get("type") or "")
    if not kind.startswith("math/tex"):
        return
    drawn = element.getprevious()
    if drawn is not None and any(name.startswith("MathJax") for name in _classes(drawn)):
        _replace(drawn, "", display=False)
    _replace(element, element.text or "", display="mode=display" in kind)


def _katex(element: Any) -> None:
    if element.getparent() is None:
        return
    source = element.find(".//annotation[@encoding='application/x-tex']")
    if source is None or not source.text:
        return
    outer = element.getparent()
    display = "katex-display" in _classes(outer)
    _replace(outer if display else element, source.text, display=display)


def _picture(element: Any) -> None:
    """Wikipedia's fallback pictures and blogs' ``img.tex`` carry the source in ``alt``."""
    parent = element.getparent()
    alt = str(element.get("alt") or "")
    if parent is None:
        return
    # The picture stands beside MathML of the same formula: one of the two is enough.
    if parent.find(".//{*}math") is not None or parent.find(".//math") is not None:
        parent.remove(element) if not element.tail else _replace(element, "", display=False)
        return
    _replace(element, _without_style(alt), display="display" in " ".join(_classes(element)))


def _mathml(element: Any) -> None:
    if element.getparent() is None:
        return
    latex = element.get("alttext") or _annotation(element) or to_latex(element)
    _replace(element, _without_style(str(latex)), display=element.get(_DISPLAY) == "block")


def _annotation(element: Any) -> str:
    for child in element.iter():
        is_source = isinstance(child.tag, str) and child.tag.rpartition("}")[2] == "annotation"
        if is_source and "tex" in str(child.get("encoding") or "").lower():
            return str(child.text or "")
    return ""


def _without_style(latex: str) -> str:
    match = re.fullmatch(r"\s*\{\\(?:display|text)style\s?(.*)\}\s*", latex, re.DOTALL)
    return match[1] if match else latex


def to_latex(element: Any) -> str:
    """Write presentation MathML out as LaTeX: the common elements; of others, what they hold."""
    if not isinstance(element.tag, str):
        return ""
    name = element.tag.rpartition("}")[2]
    if name in {"mi", "mo", "mn", "mtext", "ms"}:
        return _leaf(name, _SPACES.sub(" ", element.text or "").strip())
    parts = [to_latex(child) for child in element]
    rule = _RULES.get(name)
    if rule is not None and len(parts) == rule[0]:
        return rule[1].format(*(part.strip() for part in parts))
    joiner, pattern = _ROWS.get(name, ("", "{0}"))
    if name == "mfenced":
        joiner, pattern = (
            ", ",
            "{open}{{0}}{close}".format(open=element.get("open", "("), close=element.get("close", ")")),
        )
    return pattern.format(joiner.join(parts).strip())


_RULES: dict[str, tuple[int, str]] = {
    "mfrac": (2, r"\frac{{{0}}}{{{1}}}"),
    "msup": (2, "{0}^{{{1}}}"),
    "msub": (2, "{0}_{{{1}}}"),
    "msubsup": (3, "{0}_{{{1}}}^{{{2}}}"),
    "munder": (2, "{0}_{{{1}}}"),
    "mover": (2, "{0}^{{{1}}}"),
    "munderover": (3, "{0}_{{{1}}}^{{{2}}}"),
    "mroot": (2, r"\sqrt[{1}]{{{0}}}"),
}


_ROWS: dict[str, tuple[str, str]] = {
    "annotation": ("", ""),
    "annotation-xml": ("", ""),
    "msqrt": ("", r"\sqrt{{{0}}}"),
    "mtable": (r" \\ ", r"\begin{{matrix}}{0}\end{{matrix}}"),
    "mtr": (" & ", "{0}"),
}
_FUNCTIONS = frozenset(
    [
        *(
            "arccos",
            "arcsin",
            "arctan",
            "cos",
            "cosh",
            "cot",
            "det",
            "dim",
            "exp",
            "gcd",
            "inf",
            "ker",
            "lim",
        ),
        *("ln", "log", "max", "min", "sec", "sin", "sinh", "sup", "tan", "tanh"),
    ]
)


def _leaf(name: str, text: str) -> str:
    if name == "mtext":
        return rf"\text{{{text}}}" if text else " "
    if name == "mi" and len(text) > 1 and text.isalpha() and text.isascii():
        return rf"\{text} " if text in _FUNCTIONS else rf"\mathrm{{{text}}}"
    return "".join(_SIGNS.get(sign, sign) for sign in text)
