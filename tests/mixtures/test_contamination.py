"""Contamination x passes on real shards, against counts made by hand."""

import json
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from smoldata.errors import InputError, IntegrityError
from smolmix.catalog import write_catalog
from smolmix.cli import app
from smolmix.contamination import REPORT, Exposure, Match, exposures, read_report, write_report
from smolmix.literals import fraction_text
from smolmix.plan import Plan, load_plan
from smolmix.plan_files import load_chain, write_plan
from smolmix.planner import plan_stage
from smolmix.recipe import read_recipe
from smolmix.report import write_report as write_page
from smolmix.sql_shell import run_query
from smolmix.supply import SourceSupply, Supply, TokenizerFacts

MATCHES = [
    Match("dclm", "decoder.py", "mmlu", 40),
    Match("dclm", "scanner.py", "mmlu", 2),
    Match("dclm", "decoder.py", "gsm8k", 7),
    Match("finemath-4plus", "headers.py", "gsm8k", 5),
    Match("unknown-source", "x", "mmlu", 1),
]


def sample(build: Path) -> Path:
    return build / "sample"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return write_report(MATCHES, tmp_path / "report.parquet")


def tokens_read(plan_folder: Path, source: str, documents: Sequence[str]) -> int:
    """Count, token by token, what the stage reads of some documents."""
    plan = load_plan(plan_folder)
    length, count = plan.sequence_length + 1, 0
    shards = {row["ordinal"]: row["path"] for row in plan.shards().to_pylist() if row["source"] == source}
    held = {
        ordinal: [
            set(range(row["begin"], row["end"]))
            for row in pq.read_table(f"{plan_folder / path}.docs.parquet").to_pylist()
            if row["id"] in documents
        ]
        for ordinal, path in shards.items()
    }
    for index in range(plan.windows):
        one = plan.at(index)
        if one.source == source:
            window = set(range(one.window * length, (one.window + 1) * length))
            count += sum(len(window & tokens) for tokens in held[one.shard])
    return count


def test_against_a_count_by_hand(built: Path, report: Path) -> None:
    folder = sample(built) / "plans" / "stage2-blog"
    found = exposures(load_chain(folder), read_report(report))
    keys = [(one.stage, one.benchmark, one.source) for one in found]
    assert keys == [
        (stage, *key)
        for stage in ("stage1", "stage2")
        for key in (("gsm8k", "dclm"), ("gsm8k", "finemath-4plus"), ("mmlu", "dclm"))
    ]
    by_key: dict[tuple[str, str, str], Exposure] = dict(zip(keys, found, strict=True))
    manifest = pq.read_table(sample(built) / "tokens/bytes/dclm/manifest.parquet").to_pylist()
    capacity = sum(row["tokens"] // 513 for row in manifest if row["split"] == "train")
    # Stage 1: 40 steps of 8 windows, 85 % of them from dclm: 272; stage 2: 20 steps, 75 %: 120.
    for stage, windows in (("stage1", 272), ("stage2", 120)):
        one = by_key[stage, "mmlu", "dclm"]
        assert (one.documents, one.matched_tokens) == (2, 42)
        assert one.passes == Fraction(windows, capacity)
        assert one.exposure == Fraction(42 * windows, capacity)
        plan = folder.with_name(f"{stage}-blog")
        assert one.tokens_read == tokens_read(plan, "dclm", ["decoder.py", "scanner.py"])
        assert by_key[stage, "gsm8k", "dclm"].exposure == Fraction(7 * windows, capacity)
    assert by_key["stage1", "gsm8k", "finemath-4plus"].exposure == 0
    assert by_key["stage1", "gsm8k", "finemath-4plus"].tokens_read == 0
    assert (by_key["stage1", "mmlu", "dclm"].tokens_read or 0) > 0


def test_a_retraction_takes_it_away(own_build: Path, report: Path) -> None:
    plan = sample(own_build) / "plans" / "stage2-blog"
    (own_build / "ids").write_text("dclm\tdecoder.py\n", "utf-8")
    run("retract", own_build / "ids", "--plan", plan, "--into", plan.with_name("clean"))
    page = write_page(own_build).read_text("utf-8")
    anchors = re.findall(r'<h2 id="([^"]+)">', page)
    assert len(set(anchors)) == len(anchors) == 3  # two curricula, and what a token holds
    assert "documents retracted at step 0" in page
    rows = json.loads(run("contamination", report, "--plan", plan.with_name("clean"), "--json"))
    read = {(one["stage"], one["benchmark"]): one["tokens_read"] for one in rows if one["source"] == "dclm"}
    assert read["stage2", "gsm8k"] == 0
    assert read["stage1", "gsm8k"] > 0
    assert read["stage2", "mmlu"] == tokens_read(plan.with_name("clean"), "dclm", ["scanner.py"])


RECIPE = """\
format_version: 1
name: run
sequence_length: 4
batch_windows: 2
budget: 2 steps
weights: {a: 50%, b: rest}
"""


def test_unknown_sizes_stay_unknown(tmp_path: Path) -> None:
    supply = Supply({"a": SourceSupply("a", None, virtual=True)}, TokenizerFacts("llama-3.2"))
    write_plan(plan_stage(read_recipe(RECIPE, Path("x.yaml")), supply, profile="hub")[0], tmp_path)
    a, b = exposures([load_plan(tmp_path)], [Match("a", "x", "mmlu", 3), Match("b", "y", "mmlu", 3)])
    assert (a.passes, a.exposure, a.tokens_read) == (None, None, None)
    assert (b.passes, b.exposure, b.tokens_read) == (0, 0, None)


def test_the_page_shows_it_only_with_a_report(own_build: Path, report: Path) -> None:
    assert "Contamination" not in write_page(own_build).read_text("utf-8")
    (sample(own_build) / REPORT).write_bytes(report.read_bytes())
    page = write_page(own_build).read_text("utf-8")
    assert page.count("<h3>Contamination</h3>") == 1
    section = page[page.index("<h3>Contamination</h3>") :]
    assert section.index("mmlu") < section.index("</table>")


def test_the_table_for_people(built: Path, report: Path) -> None:
    text = run("contamination", report, "--plan", sample(built) / "plans" / "stage2-blog")
    assert "tokens x passes" in text
    assert "finemath-4plus" in text


def test_a_report_is_read_as_it_was_written(tmp_path: Path, report: Path) -> None:
    assert read_report(report) == sorted(MATCHES)
    assert write_report(reversed(MATCHES), tmp_path / "again").read_bytes() == report.read_bytes()


def test_bad_reports(tmp_path: Path) -> None:
    path = tmp_path / "report.parquet"
    with pytest.raises(InputError, match="cannot read the report"):
        read_report(path)
    pq.write_table(pa.table({"id": ["x"]}), path)
    with pytest.raises(InputError, match="it needs the columns source, id, benchmark, matched_tokens"):
        read_report(path)
    columns = {"source": ["a"], "id": ["x"], "benchmark": ["mmlu"], "matched_tokens": [1]}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(IntegrityError, match="format_version none"):
        read_report(path)
    for bad in ([Match("a", "x", "mmlu", 1), Match("a", "x", "mmlu", 2)], [Match("a", "x", "mmlu", 0)]):
        with pytest.raises(IntegrityError, match="stands twice, or matches"):
            read_report(write_report(bad, path))


def test_the_catalog_has_the_same_rows(own_build: Path, report: Path) -> None:
    write_catalog(own_build)
    query = "SELECT * EXCLUDE (profile, passes, exposure), round(exposure, 6) AS rounded FROM contamination"
    assert run_query(own_build, query).rows == ()
    (sample(own_build) / REPORT).write_bytes(report.read_bytes())
    write_catalog(own_build)
    plans = sample(own_build) / "plans"
    found = exposures([load_plan(plans / name) for name in ("stage1-blog", "stage2-blog")], MATCHES)
    assert list(run_query(own_build, query).rows) == [
        (
            *(one.plan, one.stage, one.benchmark, one.source, one.documents, one.matched_tokens),
            *(fraction_text(value) for value in (one.passes, one.exposure) if value is not None),
            one.tokens_read,
            round(float(one.exposure or 0), 6),
        )
        for one in found
    ]


def test_steps_of_a_document_after_its_retraction(own_build: Path) -> None:
    plan = sample(own_build) / "plans" / "stage2-blog"
    (own_build / "ids").write_text("dclm\tdecoder.py\n", "utf-8")
    run("retract", own_build / "ids", "--plan", plan, "--at-step", 3)
    new = load_plan(plan.with_name("stage2-blog-retracted-3"))
    write_catalog(own_build)
    for document in ("decoder.py", "scanner.py", "encoder.py"):
        query = f"SELECT sample_index FROM steps_of('{document}', 'stage2-blog-retracted-3')"  # noqa: S608 - ours
        told = run_query(own_build, query).rows
        assert [index for (index,) in told] == reading(new, document)
    assert max(reading(new, "decoder.py"), default=0) < 3 * 8
    read = run_query(own_build, "SELECT DISTINCT id FROM docs_at('stage2-blog-retracted-3', 5)").rows
    assert ("decoder.py",) not in read


def reading(plan: Plan, document: str) -> list[int]:
    """Return the sample indices whose window holds a token of a document of dclm, by brute force."""
    assert plan.folder is not None
    paths = {row["ordinal"]: row["path"] for row in plan.shards().to_pylist() if row["source"] == "dclm"}
    spans = [
        (ordinal, row["begin"], row["end"])
        for ordinal, path in paths.items()
        for row in pq.read_table(f"{plan.folder / path}.docs.parquet").to_pylist()
        if row["id"] == document
    ]
    samples = [(index, plan.at(index)) for index in range(plan.windows)]
    return [
        index
        for index, one in samples
        if one.source == "dclm"
        and any(one.shard == s and b < (one.window + 1) * 513 and e > one.window * 513 for s, b, e in spans)
    ]
