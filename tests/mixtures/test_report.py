"""The report: every number of the plans, no network, the same bytes twice, and it works in a browser."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import smolmix
from smolmix.report import curricula, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page(HTMLParser):
    """Cells, identifiers, links and resources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self._rows: list[list[str]] = []
        self._text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note identifiers, links and what would be loaded."""
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []
        self.links += [values["href"] or ""] if tag == "a" else []
        self.loads += [values[key] or "" for key in ("src", "href", "data") if tag != "a" and key in values]
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        self._text = ""

    def handle_data(self, data: str) -> None:
        """Gather the text of a cell."""
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        """Close a cell or a caption."""
        if tag in {"td", "th"}:
            self._rows[-1].append(self._text)
        elif tag == "caption":
            self.tables[self._text] = self._rows = []


@pytest.fixture(scope="module")
def page(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = Path(shutil.copytree(built, tmp_path_factory.mktemp("report") / "build"))
    return write_report(build)


def test_the_two_stages_are_one_curriculum(built: Path) -> None:
    (one,) = curricula(built)
    assert [plan["name"] for plan in one.plans] == ["stage1", "stage2"]


def test_tables_hold_the_numbers_of_the_plans(page: Path, stage2_plan: dict[str, Any]) -> None:
    tables = Page(page.read_text("utf-8")).tables
    rows = {row[0]: row for row in tables["stage2: sources"][1:]}
    assert set(rows) == {one["name"] for one in stage2_plan["sources"]}
    for one in stage2_plan["sources"]:
        row = rows[one["name"]]
        assert row[1:4] == [one["domain"], one["status"], one["weight"]]
        assert row[6:8] == [f"{one['windows']:,}", f"{one['tokens']:,}"]
    shares = {row[0]: row[1:] for row in tables["Mixture over tokens, percent by group: the numbers"][1:]}
    assert shares["web"] == ["85.000", "75.000"]
    assert shares["math"] == ["0.000", "10.000"]
    shown = {row[0]: row[1:] for row in tables["Blog, released and planned, percent by domain"][1:]}
    assert [shown[f"{stage}: web"][2] for stage in ("stage1", "stage2")] == ["85.000", "75.000"]
    dclm = 100 * smolmix.weights("stage2", "blog")["dclm"]
    assert float(shown["stage2: web"][0]) == pytest.approx(float(dclm), abs=0.001)
    locks = tables["Locks: one hash over inputs, recipe, tokenizer, seeds and code"]
    assert stage2_plan["lock"]["hash"] in locks[-1]
    assert stage2_plan["findings"][0]["message"] in tables["stage2: findings"][1]


def test_the_page_loads_nothing_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    parsed = Page(text)
    assert parsed.loads == ["data:,"]
    assert "<script" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert all(link.startswith("#") and link[1:] in parsed.ids for link in parsed.links)
    assert len(set(parsed.ids)) == len(parsed.ids)


def test_every_table_can_be_scrolled_by_keyboard(page: Path) -> None:
    text = page.read_text("utf-8")
    region = r'<div class="scroll" role="region" tabindex="0" aria-label="[^"]+"><table>\s*<caption>'
    assert len(re.findall(region, text)) == text.count("<table>") >= 7


def test_pictures_are_valid_and_named_and_each_has_a_table(page: Path) -> None:
    text = page.read_text("utf-8")
    pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(pictures) == 2
    for picture in pictures:
        root = ET.fromstring(picture)  # noqa: S314 - our own text
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"]
    assert all(caption.split(" (")[0] in str(Page(text).tables) for caption in
               map(html.unescape, re.findall(r"<figcaption>(.*?)</figcaption>", text)))  # fmt: skip


def test_twice_gives_the_same_bytes(own_build: Path, page: Path) -> None:
    assert write_report(own_build).read_bytes() == page.read_bytes()


def test_text_of_findings_cannot_become_markup(own_build: Path) -> None:
    path = own_build / "sample/plans/stage2-blog/plan.json"
    plan = json.loads(path.read_text("utf-8"))
    plan["findings"][0]["message"] = "<script>alert(1)</script> & <b>"
    path.write_text(json.dumps(plan), "utf-8")
    text = write_report(own_build).read_text("utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;b&gt;" in text


def test_an_empty_build_says_what_to_do(tmp_path: Path) -> None:
    assert "make mixture STAGE=2" in write_report(tmp_path).read_text("utf-8")


def browse(page: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--enable-logging=stderr",
        "--v=0",
    ]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    return subprocess.run(
        [CHROMIUM, *flags, profile, *arguments, page.as_uri()],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.system
@pytest.mark.skipif(not CHROMIUM, reason="needs chromium: make test-system installs it")
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_it_renders_in_a_browser_without_a_word_on_the_console(page: Path, colours: str) -> None:
    picture = page.parent / f"{colours}.png"
    dark = ["--blink-settings=preferredColorScheme=0"] if colours == "dark" else []
    done = browse(page, *dark, f"--screenshot={picture}", "--window-size=1100,1400")
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr
    assert picture.stat().st_size > 20_000


@pytest.mark.system
@pytest.mark.skipif(not CHROMIUM, reason="needs chromium: make test-system installs it")
def test_the_page_forbids_the_browser_to_load_anything(page: Path) -> None:
    """The control of the test above: with one picture from elsewhere, the console is not silent."""
    slipped = page.with_name("slipped.html")
    picture = '<img src="http://127.0.0.1:9/x.png" alt="">'
    slipped.write_text(page.read_text("utf-8").replace("</main>", f"{picture}</main>"), "utf-8")
    done = browse(slipped, "--dump-dom")
    assert "stage2: sources" in done.stdout
    assert "CONSOLE" in done.stderr
    assert "Content Security Policy" in done.stderr
