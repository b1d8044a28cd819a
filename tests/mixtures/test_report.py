"""The report: every number of the plans, no network, the same bytes twice, and it works in a browser."""

import html
import json
import re
import shutil
import sys
from collections import defaultdict
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.browser import browse, check_loads_nothing, check_renders, needs_chromium

import smolmix
from smoldata.errors import InputError, IntegrityError
from smoldata.registry import Registry, load_registry
from smolmix.figure_files import write_figures
from smolmix.report import write_report
from smolmix.report_curriculum import curricula
from smolmix.report_figures import ribbons
from smolmix.report_flow import FLOW, Flow, flow_picture
from smolmix.report_html import Drawn, as_table
from smolmix.report_sections import Section


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


def test_characters_and_bytes_a_token_are_those_of_the_manifests(page: Path, built: Path) -> None:
    tables = Page(page.read_text("utf-8")).tables
    caption = (
        "Characters and bytes a token by {}, bytes (published for English: 3.94 characters): the numbers"
    )
    rows = {row[0]: row[1:] for row in tables[caption.format("source")][1:]}
    files = sorted(built.glob("sample/tokens/bytes/*/manifest.parquet"))
    assert set(rows) == {path.parent.name for path in files}
    whole: dict[str, list[int]] = defaultdict(lambda: [0] * 4)
    for path in files:
        sums = pl.read_parquet(path).select(
            pl.col("documents").sum(), (pl.col("tokens") - pl.col("documents")).sum(),
            pl.col("text_characters").sum(), pl.col("text_bytes").sum(),
        ).row(0)  # fmt: skip
        _, tokens, characters, size = sums
        assert rows[path.parent.name][:4] == [f"{one:,}" for one in sums]
        assert rows[path.parent.name][4:] == [f"{characters / tokens:.3f}", f"{size / tokens:.3f}"]
        assert rows[path.parent.name][5] == "1.000"  # a token is a byte here
        known = load_registry().sources.get(path.parent.name)
        language = (known and known.language) or "several, or not listed"
        whole[language] = [a + b for a, b in zip(whole[language], sums, strict=True)]
    languages = {row[0]: row[1:5] for row in tables[caption.format("language")][1:]}
    assert languages == {name: [f"{one:,}" for one in sums] for name, sums in whole.items()}


def test_a_section_without_its_data_is_left_out(own_build: Path) -> None:
    shutil.rmtree(own_build / "sample/tokens")
    text = write_report(own_build).read_text("utf-8")
    assert "Characters and bytes a token" not in text
    assert text.count("<svg") == 3


def test_a_section_is_added_by_naming_it(own_build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(profile: Path, _registry: Registry, prefix: str) -> list[Drawn]:
        table = as_table("how many: the numbers", ["what", "n"], [["<i>", "7"]], {"n"})
        return [Drawn("count", f"how many & where {profile.name}", f'<svg id="{prefix}"></svg>', table)]

    new = Section("trial", "A <new> section", lambda profile: profile.name == "sample", draw)
    monkeypatch.setattr("smolmix.report_sections.SECTIONS", (new,))
    text = write_report(own_build).read_text("utf-8")
    assert '<h2 id="sample-trial">A &lt;new&gt; section (sample)</h2>' in text
    assert '<a href="#sample-trial">' in text
    assert "how many &amp; where sample" in text
    assert Page(text).tables["how many: the numbers"][1] == ["<i>", "7"]


def test_a_broken_manifest_is_named(own_build: Path) -> None:
    manifest = own_build / "sample/tokens/bytes/dclm/manifest.parquet"
    manifest.write_bytes(b"PAR1 no")
    with pytest.raises(IntegrityError, match=r"dclm.manifest\.parquet cannot be read as Parquet"):
        write_report(own_build)


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
    assert len(pictures) == 5
    for picture in pictures:
        root = ET.fromstring(picture)  # noqa: S314 - our own text
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"]
    assert all(caption.split(" (")[0] in str(Page(text).tables) for caption in
               map(html.unescape, re.findall(r"<figcaption>(.*?)</figcaption>", text)))  # fmt: skip


def test_the_flow_table_holds_the_tokens_of_the_plans(page: Path, stage2_plan: dict[str, Any]) -> None:
    rows = {
        row[0]: row for row in Page(page.read_text("utf-8")).tables["Tokens from source to domain to stage"]
    }
    wanted = {one["name"]: one for one in stage2_plan["sources"] if one["windows"]}
    for name, one in wanted.items():
        assert rows[name][1] == one["domain"]
        assert rows[name][3] == f"{one['tokens']:,}"
    assert "wiki-mcq-14m" not in rows  # no token of it is read


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["web", "code"]), st.integers(0, 10**13)),
        min_size=1,
    )
)
def test_bands_of_a_flow_are_as_high_as_its_bars(drawn: list[tuple[str, str, int]]) -> None:
    flows = [
        Flow(f"{domain}-{name}", domain, f"stage{number % 2}", tokens)
        for number, (name, domain, tokens) in enumerate(drawn)
    ]
    picture = flow_picture("x", "a < b", flows, most=4)
    if not any(tokens for *_, tokens in drawn):
        assert picture == ""
        return
    root = ET.fromstring(picture)  # noqa: S314 - our own text
    bars = [one.attrib for one in root if one.tag.endswith("rect")]
    labels = [one.text or "" for one in root if one.tag.endswith("text")]
    assert len(bars) == len(labels)
    # A bar is at least half a point high, so that it can be seen; heights are written with two digits.
    sums: dict[str, float] = defaultdict(float)
    for bar in bars:
        sums[bar["x"]] += float(bar["height"])
    assert all(-0.01 * len(bars) <= total - FLOW <= 0.51 * len(bars) for total in sums.values())
    assert len(sums) == 3


def test_the_mixture_steps_at_a_stage_and_does_not_slope() -> None:
    stages = [("one", 600, {"a": 85.0, "b": 15.0}), ("two", 400, {"a": 60.0, "b": 40.0})]
    picture = ET.fromstring(ribbons("x", "t", stages))  # noqa: S314 - our own text
    lines = [one.attrib["d"] for one in picture.iter() if "line" in one.attrib.get("class", "").split()]
    points = [[tuple(map(float, pair.split())) for pair in re.findall(r"[\d.]+ [\d.]+", d)] for d in lines]
    (sloping,) = [line for line in points if len({round(y, 3) for _, y in line}) > 2]
    for (x, y), (u, v) in pairwise(sloping):
        assert x == pytest.approx(u) or y == pytest.approx(v)


def test_figures_are_files_of_their_own(built: Path, tmp_path: Path) -> None:
    paths = write_figures(built, tmp_path / "figures")
    assert [path.name for path in paths] == [
        *(f"sample-stage2-blog-{name}.svg" for name in ("mixture", "flow", "passes")),
        *(f"sample-compression-bytes-{name}.svg" for name in ("sources", "languages")),
    ]
    before = [path.read_bytes() for path in paths]
    for text in before:
        assert ET.fromstring(text).attrib["viewBox"]  # noqa: S314 - our own text
    assert [path.read_bytes() for path in write_figures(built, tmp_path / "figures")] == before
    with pytest.raises(InputError, match="make mixture"):
        write_figures(tmp_path / "nothing", tmp_path / "figures")


def test_figures_as_png(built: Path, tmp_path: Path) -> None:
    pytest.importorskip("resvg_py", reason="needs resvg-py: pip install 'resvg-py>=0.5,<1'")
    pictures = [path for path in write_figures(built, tmp_path, png=True) if path.suffix == ".png"]
    assert len(pictures) == 5
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_png_without_its_package_says_what_to_install(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(InputError, match="resvg-py"):
        write_figures(built, tmp_path, png=True)


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


@pytest.mark.system
@needs_chromium
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_it_renders_in_a_browser_without_a_word_on_the_console(page: Path, colours: str) -> None:
    check_renders(page, colours, height=1400)


@pytest.mark.system
@needs_chromium
def test_the_page_forbids_the_browser_to_load_anything(page: Path) -> None:
    check_loads_nothing(page, "stage2: sources")


_WALK = """<script>
const stops = [...document.querySelectorAll('a[href], summary, .scroll')];
document.querySelectorAll('details').forEach((one) => { one.open = true; });
const reaches = (one) => { one.focus(); return one.tabIndex >= 0 && document.activeElement === one; };
const reached = stops.filter(reaches);
const wide = [...document.querySelectorAll('svg')].filter((one) => one.getBoundingClientRect().width > 300);
const loaded = performance.getEntriesByType('resource').filter((one) => !one.name.startsWith('data:'));
document.title = JSON.stringify([stops.length, reached.length, wide.length, loaded.length]);
</script>"""


@pytest.mark.system
@needs_chromium
def test_everything_is_reached_by_keyboard_and_nothing_is_requested(page: Path) -> None:
    """A script walks a copy whose ban on scripts is lifted; the page itself has none."""
    walked = page.with_name("walked.html")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text("utf-8"))
    walked.write_text(text.replace("</body>", f"{_WALK}</body>"), "utf-8")
    found = re.search(r"<title>(\[.*?\])</title>", browse(walked, "--dump-dom").stdout)
    assert found
    stops, reached, pictures, requests = json.loads(found[1])
    links, tables, figures, details = (text.count(tag) for tag in ("<a ", "<table>", "<figure>", "<details"))
    assert stops == reached == links + tables + figures + details
    assert pictures == 5
    assert requests == 0
