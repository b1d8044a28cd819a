"""Statistics against counting in Python; parts add up to the whole, whatever the parts."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.helpers import own_source, real_texts, write_registry

from smoldata.build import Built, build_documents, built_documents
from smoldata.cli import main
from smoldata.documents import DOCUMENT_SCHEMA
from smoldata.errors import SourceError
from smoldata.registry import load_registry
from smoldata.statistics.figures import profile_figures
from smoldata.statistics.tables import (
    STATISTICS,
    is_fresh,
    merged,
    of_files,
    read_statistics,
    score_bin,
    write_statistics,
)

SCORES = st.dictionaries(st.sampled_from("ab"), st.floats(), max_size=2)
ROWS = st.lists(
    st.tuples(st.text("aé中 ", min_size=1, max_size=20), st.sampled_from(["en", "de", None]), SCORES),
    max_size=12,
)


def lay(path: Path, rows: list[tuple[str, str | None, dict[str, float]]]) -> Path:
    """Write documents to the contract."""
    documents: list[dict[str, Any]] = [
        {"id": str(at), "text": text, "source": "s", "language": language, "scores": sorted(scores.items())}
        for at, (text, language, scores) in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(documents, schema=DOCUMENT_SCHEMA), path)
    return path


@settings(max_examples=40)
@given(rows=ROWS, cut=st.integers(0, 12))
def test_parts_add_up_to_the_whole_and_to_what_counting_gives(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str | None, dict[str, float]]], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("s")
    first, second = lay(folder / "a.parquet", rows[:cut]), lay(folder / "b.parquet", rows[cut:])
    whole = merged([of_files("s", [first, second])])
    assert merged([of_files("s", [second]), of_files("s", [first])]).equals(whole)
    by_language = Counter(language or "" for _, language, _ in rows)
    assert dict(whole.filter(kind="language").select("name", "documents").iter_rows()) == by_language
    lengths: Counter[float] = Counter()
    for text, _, _ in rows:
        lengths[float(1 << (len(text).bit_length() - 1))] += 1
    assert dict(whole.filter(kind="length").select("low", "documents").iter_rows()) == lengths
    assert whole.filter(kind="total")["text_bytes"].sum() == sum(len(text.encode()) for text, _, _ in rows)
    scored = Counter(name for _, _, scores in rows for name in scores)
    counted = whole.filter(kind="score").group_by("name").agg(pl.col("documents").sum())
    assert dict(counted.iter_rows()) == scored


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_a_score_is_in_its_bin(value: float) -> None:
    low, high = (pl.select(end).item() for end in score_bin(pl.lit(value)))
    near = 1e-9 * max(1.0, abs(value))
    assert low - near <= value <= high + near
    assert (
        high - low == pytest.approx(1 / 20)
        if abs(value) < 8
        else {abs(low), abs(high)} == {low_of(value)} | {2 * low_of(value)}
    )


def low_of(value: float) -> float:
    return float(1 << (int(abs(value)).bit_length() - 1))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_what_is_no_number_has_a_bin_of_its_own(value: float | None) -> None:
    assert [pl.select(end).item() for end in score_bin(pl.lit(value, pl.Float64))] == [None, None]


@pytest.fixture
def house(tmp_path: Path) -> tuple[Path, Built]:
    """Build a source of real text; return its folder and what the build counted."""
    (tmp_path / "raw").mkdir()
    texts = [*real_texts(12), "short", "short"]
    rows = [{"text": text, "quality": at / 3, "id": str(at)} for at, text in enumerate(texts)]
    for part in range(3):
        lines = [json.dumps(row) + "\n" for row in rows[part::3]]
        (tmp_path / "raw" / f"{part}.jsonl").write_text("".join(lines))
    columns = {"text": ["text"], "id": "id", "scores": ["quality"]}
    entry = own_source(tmp_path / "raw", columns=columns, licence="MIT")
    registry = load_registry(write_registry(tmp_path / "own.yaml", {"mine": entry}))
    [built] = build_documents(["mine"], registry=registry, build=tmp_path / "build", tasks=3, workers=1)
    return tmp_path / "build" / "sample" / "documents" / "mine", built


def test_a_built_source(house: tuple[Path, Built]) -> None:
    folder, built = house
    table = read_statistics(folder)
    funnel = dict(table.filter(kind="funnel").select("name", "documents").iter_rows())
    drops = dict(table.filter(kind="drop").select("name", "documents").iter_rows())
    assert funnel == {"read": built.read, "kept": built.kept}
    assert drops == built.dropped
    assert funnel["read"] == funnel["kept"] + sum(drops.values())
    [total] = table.filter(kind="total").to_dicts()
    texts = [row["text"] for row in built_documents(folder)]
    assert total["documents"] == built.kept == len(texts)
    assert total["text_bytes"] == built.text_bytes
    assert total["text_characters"] == sum(map(len, texts))
    for kind in ("language", "licence", "length", "score"):
        assert table.filter(kind=kind)["documents"].sum() == built.kept
    assert table.filter(kind="licence")["name"].to_list() == ["MIT"]


def test_they_are_kept_and_made_anew_when_documents_change(house: tuple[Path, Built]) -> None:
    folder, _ = house
    assert is_fresh(folder), "a build writes them"
    path = folder / STATISTICS
    before = path.read_bytes()
    path.unlink()
    assert not is_fresh(folder)
    assert write_statistics(folder).read_bytes() == before
    manifest = pq.read_table(folder / "manifest.parquet")
    pq.write_table(manifest.slice(0, 1), folder / "manifest.parquet")
    assert not is_fresh(folder)
    assert (
        read_statistics(folder).filter(kind="total")["documents"].item() == manifest["documents"][0].as_py()
    )


def test_pictures_are_still_and_the_same(house: tuple[Path, Built]) -> None:
    folder, built = house
    first, second = profile_figures(folder.parent), profile_figures(folder.parent)
    assert first == second
    assert set(first) == {"documents-funnel", "documents-lengths", "documents-score-quality"}
    for svg in first.values():
        assert svg.startswith("<svg role=")
        assert "<script" not in svg
    assert all(reason in first["documents-funnel"] for reason in built.dropped)
    assert profile_figures(folder / "nothing") == {}


def test_the_command(
    house: tuple[Path, Built], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, built = house
    build = str(folder.parents[2])
    figures = folder.parents[2] / "figures"
    for extra in (["--figures", str(figures)], ["--json", "--source", "mine"]):
        monkeypatch.setattr(sys, "argv", ["smoldata", "statistics", "--build", build, *extra])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        seen = capsys.readouterr().out
        assert f"{built.kept:,}" in seen
    rows = json.loads(seen)
    assert sum(row["documents"] for row in rows if row["kind"] == "length") == built.kept
    assert len(list(figures.glob("*.svg"))) == 3
    assert (folder / STATISTICS).is_file()


def test_no_documents_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"manifest\.parquet is missing"):
        read_statistics(tmp_path)
