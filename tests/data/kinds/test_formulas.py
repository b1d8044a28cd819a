"""Formulas stay: each way in which pages hold them becomes LaTeX where the formula stood."""

import pytest

pytest.importorskip("lxml", reason="needs the curate group: make setup-curate")

from smoldata.kinds.formulas import with_latex

MATHML = (
    '<math xmlns="http://www.w3.org/1998/Math/MathML"><msub><mi>x</mi><mn>1</mn></msub><mo>&le;</mo><mfrac><mn>1</mn>'
    "<msqrt><mi>&alpha;</mi></msqrt></mfrac><mo>+</mo><munderover><mo>&sum;</mo><mrow><mi>i</mi><mo>=</mo><mn>0</mn>"
    "</mrow><mi>n</mi></munderover><mi>sin</mi><mfenced><mi>i</mi></mfenced></math>"
)
KATEX = (
    '<span class="katex"><span class="katex-mathml"><math><semantics><mrow><mi>c</mi></mrow>'
    '<annotation encoding="application/x-tex">c = \\pm\\sqrt{a}</annotation></semantics></math>'
    '</span><span class="katex-html" aria-hidden="true">drawn</span></span>'
)
WIKIPEDIA = (
    '<span class="mwe-math-element"><math alttext="{\\displaystyle E=mc^{2}}"><mi>E</mi></math>'
    '<img class="mwe-math-fallback-image-inline" alt="{\\displaystyle E=mc^{2}}"></span>'
)


def body(inner: str) -> str:
    """Return what becomes of a paragraph with a formula in it."""
    text = with_latex(f"<html><body><p>Let {inner} be.</p></body></html>")
    start, end = text.index("<p>") + 3, text.index("</p>")
    return text[start:end]


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        (MATHML, r"Let \(x_{1}\leq \frac{1}{\sqrt{\alpha}}+\sum_{i=0}^{n}\sin (i)\) be."),
        (
            KATEX,
            r"Let \(c = \pm\sqrt{a}\) be.",
        ),
        ('<script type="math/tex">a_n</script>', r"Let \(a_n\) be."),
        (
            '<span class="MathJax_Preview">old</span><script type="math/tex; mode=display">\\int x</script>',
            "Let \n\\[\\int x\\]\n be.",
        ),
        (
            WIKIPEDIA,
            'Let <span class="mwe-math-element">\\(E=mc^{2}\\)</span> be.',
        ),
        ('<img class="tex" alt="k!">', r"Let \(k!\) be."),
        ('<math display="block"><mi>y</mi></math>', "Let \n\\[y\\]\n be."),
    ],
)
def test_formulas_become_latex(inner: str, text: str) -> None:
    assert body(inner) == text


@pytest.mark.parametrize("page", ["", "no markup at all", "<p>money: $5</p>", "katex is a library"])
def test_pages_without_formulas_keep_their_words(page: str) -> None:
    assert page.replace("<p>", "").replace("</p>", "") in with_latex(page).replace("<p>", "").replace(
        "</p>", ""
    )
