"""The page: every score with its numbers as text, no comparison that is none, nothing loaded at all."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.browser import check_loads_nothing, check_renders, needs_chromium
from tests.conftest import _write_documents
from tests.eval.test_book import ONE, saved

from smoldata.errors import InputError
from smoleval.book import read_book
from smoleval.contamination import Found, found, write_items
from smoleval.page import render, write_page
from smoleval.scoretable import MARK
from smolmix.contamination import Match, write_report


class Page(HTMLParser):
    """Tables by caption, identifiers, and what would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.ids: list[str] = []
        self.loads: list[str] = []
        self._cells: list[list[str]] = []
        self._text, self._caption = "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note identifiers, resources, and where a table or row begins."""
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.loads += [values[key] or "" for key in ("src", "href") if tag != "a" and key in values]
        if tag == "table":
            self._cells = []
        if tag == "tr":
            self._cells.append([])
        self._text = ""

    def handle_data(self, data: str) -> None:
        """Gather text."""
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        """Note a caption, a cell, a table."""
        if tag == "caption":
            self._caption = self._text
        if tag in ("td", "th"):
            self._cells[-1].append(self._text)
        if tag == "table":
            self.tables[self._caption] = self._cells


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write scores: hub and fixture figures, a learning curve, a mode, and a decontamination report."""
    build = tmp_path_factory.mktemp("build")
    for step in (1, 2, 3):
        at = {"checkpoint": f"run/step-{step:07}", "checkpoint_sha256": str(step) * 64, "step": step}
        heldout = replace(ONE, **at, task="heldout", suite="heldout", metric="loss", data_profile="generated",
                          value=5.0 - step, stderr=0.1)  # fmt: skip
        saved(build, heldout.__class__(**{**_fields(heldout), "subset": "(mixture)"}))
        saved(build, replace(ONE, **at, value=0.5 + step / 10, stderr=0.02))
        saved(
            build, replace(ONE, **at, task="boolq_cf", data_profile="fixture", value=0.5, stderr=0.5, items=2)
        )
    think = {"suite": "instruct", "mode": "think", "metric": "math_pass@1:16_samples", "data_profile": "hub"}
    saved(
        build,
        replace(
            ONE, checkpoint="a <b>", checkpoint_sha256="9" * 64, step=None, task="aime25", value=0.4, **think
        ),
    )
    matches = [
        Match("dclm", "d1", "piqa_cf", 20),
        Match("dclm", "d2", "piqa_cf", 15),
        Match("wiki", "w", "boolq_cf", 9),
    ]
    write_report(matches, build / "sample" / "contamination.parquet")
    return build


def _fields(score: object) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(score)  # type: ignore[call-overload, no-any-return]  # a Score


@pytest.fixture(scope="module")
def page(build: Path) -> Path:
    return write_page(build, read_book(build))


def test_the_numbers_are_there_as_text(page: Path) -> None:
    seen = Page(page.read_text("utf-8"))
    figures = next(table for name, table in seen.tables.items() if name.startswith("Base models"))
    rows = {row[0]: row for row in figures[1:]}
    assert figures[0][:3] == ["benchmark", "run/step-0000003", "SmolLM3-3B-Base"]
    assert rows["PIQA"][1].startswith("80.00 [")
    assert not rows["PIQA"][1].endswith(MARK)
    assert rows["PIQA"][2] == "78.89"
    assert rows["BoolQ"][1].endswith(MARK)
    curve = seen.tables["heldout (mixture): loss"]
    assert [row[:2] for row in curve[1:]] == [[f"run, step {n}", f"{5.0 - n:.4f}"] for n in (1, 2, 3)]
    contamination = seen.tables["Training documents that hold text of a benchmark, by source"]
    assert contamination[1:] == [
        ["boolq_cf", "wiki", "sample", "1", "9"],
        ["piqa_cf", "dclm", "sample", "2", "35"],
    ]
    everything = next(table for name, table in seen.tables.items() if name.startswith("The latest score"))
    assert len(everything) == 1 + 10


def test_what_does_not_compare_is_in_no_picture_with_published_figures(page: Path) -> None:
    text = page.read_text("utf-8")
    beside = re.search(r'<figure><div[^>]*aria-label="Checkpoints beside.*?</figure>', text, re.DOTALL)
    alone = re.search(r'<figure><div[^>]*aria-label="† Not comparable.*?</figure>', text, re.DOTALL)
    assert beside
    assert alone
    assert "PIQA" in beside[0]
    assert "Qwen3-4B-Base" in beside[0]
    assert "BoolQ" not in beside[0]
    assert "BoolQ" in alone[0]
    assert "Qwen" not in alone[0]


def test_it_stands_alone_and_is_the_same_again(page: Path, build: Path) -> None:
    text = page.read_text("utf-8")
    seen = Page(text)
    assert [one for one in seen.loads if not one.startswith("data:")] == []
    assert len(seen.ids) == len(set(seen.ids))
    assert "a &lt;b&gt;" in text
    assert "<script" not in text
    assert render(read_book(build), found(build)) == text


def test_without_reports_it_says_how_to_get_one(build: Path) -> None:
    text = render(read_book(build), [])
    assert "smoldata decontaminate --benchmarks" in text
    assert render([], []).count("<section") == 2


def test_contamination_is_summed_by_benchmark_and_source(build: Path) -> None:
    assert found(build) == [
        Found("sample", "boolq_cf", "wiki", 1, 9),
        Found("sample", "piqa_cf", "dclm", 2, 35),
    ]
    assert found(build / "none") == []


def test_items_are_what_the_decontamination_reads(tmp_path: Path) -> None:
    from smoldata.decontamination.benchmarks import read_benchmarks

    text = "which of these common household liquids evaporates fastest at room temperature in open air"
    rows = {
        "arc_cf": [
            {"id": "q1", "question": text, "answerKey": "B",
             "choices": {"text": ["water", "pure acetone"], "label": ["A", "B"]}}
        ],
        "mmlu_cf": [{"question": text, "choices": ["oil", "pure ether"], "answer": 1}],
        "flores200:a-b": [{"sentence": text}],
    }  # fmt: skip
    files = write_items(rows, tmp_path)
    assert [path.name for path in files] == ["arc_cf.jsonl", "mmlu_cf.jsonl", "flores200_a-b.jsonl"]
    items = {item.benchmark: item for item in read_benchmarks([tmp_path])}
    assert {name: item.question for name, item in items.items()} == dict.fromkeys(items, text)
    assert items["arc_cf"].answers == ("pure acetone",)
    assert items["mmlu_cf"].answers == ("pure ether",)
    with pytest.raises(InputError, match="piqa_cf has no rows"):
        write_items({"piqa_cf": []}, tmp_path)


def test_planted_items_are_found_and_shown(tmp_path: Path) -> None:
    """From a task's rows to the page: written, searched for, reported, shown."""
    from smoldata.cli import app as data
    from smoleval.cli import app
    from smoleval.data import load_data
    from smoleval.definition import registry

    app(
        ["items", str(tmp_path / "items"), "--tasks", "piqa_cf,boolq_cf", "--profile", "fixture"],
        standalone_mode=False,
    )
    rows = load_data(registry()["boolq_cf"], "fixture", tmp_path).rows
    row = next(iter(rows.values()))[0]
    planted = " ".join(str(value) for value in row.values() if isinstance(value, str))
    texts = [f"Before. {planted} After.", "A text about something else altogether, with nothing of it. " * 5]
    _write_documents(tmp_path / "sample" / "documents" / "wiki", "wiki", texts, files=1)
    words = ["decontaminate", "--benchmarks", str(tmp_path / "items"), "--build", str(tmp_path)]
    data([*words, "--profile", "sample"], standalone_mode=False)
    (one,) = found(tmp_path)
    assert (one.benchmark, one.source, one.documents) == ("boolq_cf", "wiki", 1)
    assert one.matched_tokens > 0


@pytest.mark.system
@needs_chromium
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_it_renders_in_a_browser_without_a_word_on_the_console(page: Path, colours: str) -> None:
    check_renders(page, colours, height=1900)


@pytest.mark.system
@needs_chromium
def test_the_page_forbids_the_browser_to_load_anything(page: Path) -> None:
    check_loads_nothing(page, "Learning curves")
