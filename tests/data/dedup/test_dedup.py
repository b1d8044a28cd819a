"""Duplicates within a source and across sources: who stays, what is counted and listed, and killed runs."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.data.heuristics.conftest import paragraphs
from typer.testing import CliRunner

from smoldata.cli import app
from smoldata.dedup import across
from smoldata.dedup.across import REASON, REMOVED, dedup_sources
from smoldata.dedup.keys import normalised
from smoldata.errors import InputError, SourceError
from smoldata.merge import MANIFEST, read_manifest
from smoldata.running import run_pipeline

STEPS = """
format_version: 1
name: trial
description: A trial of duplicates.
source: this test
steps:
  - step: {step}
    settings: {settings}
    source: this test
"""


def near(text: str) -> str:
    """Return a text that is nearly the same: the last word of a long text is another."""
    return text.rsplit(" ", 1)[0] + " changed"


def texts() -> list[str]:
    """Return long different texts."""
    return [text for text in paragraphs(200) if len(text.split()) > 120][:8]


def build(folder: Path, name: str, rows: list[str], tasks: int, step: str, settings: str = "{}") -> Path:
    """Build documents of ``rows``, two a raw file, with one deduplicating step."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / f"{step}.yaml"
    recipe.write_text(STEPS.format(step=step, settings=settings))
    raw = folder / f"raw-{name}"
    raw.mkdir(exist_ok=True)
    for number in range(0, len(rows), 2):
        lines = [
            json.dumps({"text": text, "id": f"{name}-{number + place}"})
            for place, text in enumerate(rows[number : number + 2])
        ]
        (raw / f"{number:03d}.jsonl").write_text("\n".join(lines) + "\n")
    output = folder / f"{name}-{tasks}"
    run_pipeline(str(recipe), [str(raw)], output, columns={"id": "id"}, name=name, tasks=tasks, workers=1)
    return output


def documents(folder: Path) -> dict[str, str]:
    """Return the texts of built documents by identifier."""
    frame = pl.concat([pl.read_parquet(folder / row["path"]) for row in read_manifest(folder)])
    return dict(frame.select("id", "text").iter_rows())


def counts(folder: Path) -> tuple[int, int, dict[str, int]]:
    """Return what was read, kept and dropped, and that the sum holds."""
    rows = read_manifest(folder)
    dropped: dict[str, int] = {}
    for row in rows:
        assert row["read"] == row["kept"] + sum(number for _, number in row["dropped"])
        for reason, number in row["dropped"]:
            dropped[reason] = dropped.get(reason, 0) + number
    return sum(row["read"] for row in rows), sum(row["kept"] for row in rows), dropped


def test_near_duplicates_of_a_source_leave_one_whatever_the_tasks(tmp_path: Path) -> None:
    originals = texts()
    rows = [*originals, *(near(text) for text in originals[:5]), "too short to sign"]
    one = build(tmp_path, "web", rows, 1, "minhash_dedup")
    many = build(tmp_path, "web", rows, 4, "minhash_dedup")
    assert documents(one) == documents(many)
    assert counts(one) == counts(many) == (len(rows), len(rows) - 5, {"minhash_dedup": 5})
    listed = pl.read_parquet(one / "removed" / "minhash_dedup.parquet")
    assert listed.height == 5
    left = documents(one)
    assert not set(listed["id"]) & set(left)
    assert set(listed["kept_id"]) <= set(left)
    assert set(listed["cluster_size"]) == {2}


def test_the_one_that_stays_does_not_depend_on_the_order_of_files(tmp_path: Path) -> None:
    rows = [*texts(), *(near(text) for text in texts())]
    forward = build(tmp_path / "a", "web", rows, 2, "minhash_dedup")
    backward = build(tmp_path / "b", "web", rows[::-1], 3, "minhash_dedup")
    assert set(documents(forward).values()) == set(documents(backward).values())


@pytest.mark.parametrize(
    ("how", "dropped"), [("none", 0), ("spaces", 1), ("simplified", 2)], ids=["none", "spaces", "simplified"]
)
def test_exact_duplicates_after_a_stated_normalisation(tmp_path: Path, how: str, dropped: int) -> None:
    text = texts()[0]
    rows = [text, "  " + text.replace(" ", "\u00a0", 3) + "\n", text.upper(), *texts()[1:3]]
    built = build(tmp_path, "web", rows, 2, "exact_dedup", f"{{normalise: {how}}}")
    expected = {"exact_dedup": dropped} if dropped else {}
    assert counts(built) == (len(rows), len(rows) - dropped, expected)


def test_normalisations() -> None:
    assert normalised(" A\u0301\tb ", "none") == " A\u0301\tb "
    assert normalised(" A\u0301\tb ", "spaces") == "\u00c1 b"
    assert normalised("A\u0301, 12.5 B!", "simplified") == "a 0 b"


@pytest.fixture
def two_sources(tmp_path: Path) -> tuple[Path, Path]:
    """Build two sources that share texts, one of them nearly."""
    all_texts = texts()
    first = build(tmp_path, "good", all_texts[:5], 2, "length", "{least_characters: 1}")
    others = [near(all_texts[0]), all_texts[1], *all_texts[5:], near(all_texts[5])]
    second = build(tmp_path, "other", others, 2, "length", "{least_characters: 1}")
    return first, second


def test_across_sources_the_first_named_keeps_its_documents(
    tmp_path: Path, two_sources: tuple[Path, Path]
) -> None:
    good, other = two_sources
    out = tmp_path / "out"
    results = dedup_sources([good, other], out, workers=1)
    assert [(each.source, each.read, each.kept, each.dropped) for each in results] == [
        ("good", 5, 5, 0),
        ("other", 6, 3, 3),
    ]
    assert documents(out / "good") == documents(good)
    read, kept, dropped = counts(out / "other")
    assert (read, kept, dropped) == (6, 3, {REASON: 3})
    removed = pl.read_parquet(out / REMOVED)
    assert sorted(removed["source"]) == ["other"] * 3
    assert sorted(removed["kept_source"]) == ["good", "good", "other"]
    survivors = documents(out / "good") | documents(out / "other")
    assert set(removed["kept_id"]) <= set(survivors)
    assert not set(removed["id"]) & set(survivors)
    swapped = dedup_sources([other, good], tmp_path / "swapped", workers=1)
    assert [(each.source, each.kept) for each in swapped] == [("other", 5), ("good", 3)]


def test_a_second_run_does_nothing_and_a_killed_one_goes_on(
    tmp_path: Path, two_sources: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    dedup_sources(two_sources, whole, workers=1)
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.parquet")}
    dedup_sources(two_sources, whole, workers=1)
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*.parquet")} == before

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    for place in ("_sign", "_decide_and_write", "_write_source"):
        with monkeypatch.context() as patch:
            patch.setattr(across, place, killed)
            with pytest.raises(KeyboardInterrupt):
                dedup_sources(two_sources, cut, workers=1)
        assert not list(cut.rglob(MANIFEST))
    dedup_sources(two_sources, cut, workers=1)
    names = {path.relative_to(whole) for path in before}
    assert {path.relative_to(cut) for path in cut.rglob("*.parquet")} == names
    for name in names:
        assert (cut / name).read_bytes() == (whole / name).read_bytes()


def test_bad_input(tmp_path: Path, two_sources: tuple[Path, Path]) -> None:
    good, other = two_sources
    with pytest.raises(SourceError, match="no documents"):
        dedup_sources([tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(InputError, match="named twice"):
        dedup_sources([good, good], tmp_path / "out")
    path = other / read_manifest(other)[0]["path"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(SourceError, match="not the file that its manifest names"):
        dedup_sources([good, other], tmp_path / "out", workers=1)


def test_the_command_prints_counts(two_sources: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ["dedup", *map(str, two_sources), "--output", str(tmp_path / "out"), "--workers", "1"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "other" in shown.output
    as_json = CliRunner().invoke(app, [*arguments, "--json"])
    assert [row["dropped"] for row in json.loads(as_json.stdout)] == [0, 3]
    nowhere = CliRunner().invoke(app, ["dedup", str(tmp_path / "no"), "--output", str(tmp_path / "out2")])
    assert isinstance(nowhere.exception, SourceError)
