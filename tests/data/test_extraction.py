"""Web pages to text: a function of the page alone, formulas kept, personal data and addresses seen to."""

from typing import Any

import pytest

pytest.importorskip("trafilatura", reason="needs the curate group: make setup-curate")

from datatrove.data import Document

from smoldata.extraction import PageSettings, extract_text
from smoldata.reading import Report
from smoldata.recipe import load_pipeline
from smoldata.steps import StepContext, make_steps
from smoldata.watched import watched

PARAGRAPH = "The committee met in the old town hall and agreed on the plan for the new library building. "


def page(*paragraphs: str, head: str = "") -> str:
    """Return a page with an article."""
    body = "".join(f"<p>{text}</p>" for text in paragraphs)
    nav = "<nav>Home About</nav>"
    return f"<html><head><title>t</title>{head}</head><body>{nav}<article>{body}</article></body></html>"


def run(name: str, documents: list[Document], **settings: Any) -> tuple[list[Document], Report]:
    """Run one step over documents, watched as in a build."""
    report = Report()
    context = StepContext("x", None, report, load_pipeline("text").base)
    data: Any = iter(documents)
    for made in make_steps(name, settings, context):
        data = watched(name, made, report).run(data)
    return list(data), report


def test_a_text_does_not_depend_on_the_pages_before_it() -> None:
    pages = [page(*[f"{PARAGRAPH}{number}." * 3, PARAGRAPH * 4]) for number in range(6)]
    alone = [extract_text(one, PageSettings()) for one in pages]
    documents = [Document(text=one, id=str(number)) for number, one in enumerate(pages * 2)]
    together, report = run("page_text", documents)
    assert [document.text for document in together] == alone * 2
    assert report.read == 0
    assert all(text and PARAGRAPH.strip() in text for text in alone)
    assert not any("Home About" in str(text) for text in alone)


def test_pages_without_text_are_counted() -> None:
    texts = ["", "<html></html>", page(PARAGRAPH * 4), page(PARAGRAPH * 40)]
    documents, report = run("page_text", [Document(text=text, id=text) for text in texts], most_bytes=2000)
    assert len(documents) == 1
    assert report.dropped == {"no_main_text": 2, "too_large": 1}


def test_a_time_limit_is_asked_for() -> None:
    documents, report = run("page_text", [Document(text=page(PARAGRAPH * 4), id="a")], seconds=60)
    assert documents[0].text == extract_text(page(PARAGRAPH * 4), PageSettings())
    assert report.read == 0


def test_formulas_are_kept() -> None:
    formula = '<math alttext="x^{2}+y^{2}=z^{2}"><mi>x</mi></math>'
    text = extract_text(
        page(PARAGRAPH + f"So {formula} holds. " + PARAGRAPH * 3), PageSettings(formulas=True)
    )
    assert r"So \(x^{2}+y^{2}=z^{2}\) holds." in str(text)
    assert "x^{2}" not in str(extract_text(page(PARAGRAPH + f"So {formula} holds."), PageSettings()))


def test_personal_data_is_replaced_the_same_in_each_document() -> None:
    text = "Write to ada@lovelace.org or bob@dylan.com at 8.8.8.8, not 10.0.0.1."
    (first, second), _ = run("pii", [Document(text=text, id="a"), Document(text=text, id="b")])
    assert first.text == second.text
    assert "lovelace" not in first.text
    assert "8.8.8.8" not in first.text
    assert "10.0.0.1" in first.text


def test_addresses_are_refused() -> None:
    urls = [
        "https://example.org/news/library",
        None,
        "https://example.org/extra",
        "https://spam.example.net/a",
    ]
    documents = [Document(text="x", id=str(number), metadata={"url": url}) for number, url in enumerate(urls)]
    kept, report = run(
        "url_filter",
        documents,
        lists=False,
        extra_domains=["spam.example.net"],
        extra_urls=["https://example.org/extra"],
    )
    assert [document.id for document in kept] == ["0"]
    assert report.dropped == {"no_url": 1, "url": 1, "subdomain": 1}


def test_broken_encodings_and_tables_are_mended() -> None:
    (document,), _ = run("fix_encoding", [Document(text="donâ€™t", id="a")])
    assert document.text.replace(chr(0x2019), "'") == "don't"
    (document,), _ = run("symbol_lines", [Document(text="a\n|\n|\nb", id="a")])
    assert "|" not in document.text
