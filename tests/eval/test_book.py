"""The score book: what is latest, what compares with published figures, intervals and win rates by hand."""

import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldata.errors import InputError, IntegrityError
from smoleval import book
from smoleval.intervals import interval, is_proportion, wilson
from smoleval.scores import Score, save_scores
from smoleval.scoretable import MARK, grids, others

ONE = Score(
    task="piqa_cf",
    suite="base",
    metric="acc_norm",
    value=0.75,
    stderr=math.sqrt(0.75 * 0.25 / 399),
    items=400,
    task_version="v1",
    data_profile="hub",
    data_sha256="0" * 64,
    checkpoint="run/step-0000010",
    checkpoint_sha256="1" * 64,
    step=10,
    engine="trial 1",
)


def saved(build: Path, *scores: Score, at: int = 0) -> Path:
    path = save_scores(scores, build / "sample" / "scores")
    os.utime(path, ns=(at, at))
    return path


def test_intervals_by_hand() -> None:
    """Wilson's figures as in his paper's formula, worked out for 8 of 10 and 0 of 10."""
    low, high = wilson(0.8, 10)
    z = 1.959963984540054
    middle = (0.8 + z * z / 20) / (1 + z * z / 10)
    half = z * math.sqrt(0.8 * 0.2 / 10 + z * z / 400) / (1 + z * z / 10)
    assert (low, high) == (pytest.approx(middle - half), pytest.approx(middle + half))
    assert (round(low, 3), round(high, 3)) == (0.49, 0.943)
    assert wilson(0.0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert interval(0.8, math.sqrt(0.8 * 0.2 / 9), 10) == (low, high)
    assert interval(0.0, 0.0, 10) == wilson(0.0, 10)
    assert interval(0.5, 0.1, 30) == (pytest.approx(0.304, abs=1e-4), pytest.approx(0.696, abs=1e-4))
    assert interval(62.0, 1.0, 100) == (pytest.approx(60.04, abs=0.01), pytest.approx(63.96, abs=0.01))
    assert interval(0.5, None, 1) is None
    assert not is_proportion(62.0, 1.0, 100)


@given(right=st.integers(0, 200), items=st.integers(2, 200))
def test_wilson_holds_the_share(right: int, items: int) -> None:
    share = min(right, items) / items
    low, high = wilson(share, items)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    wide = wilson(share, items * 4)
    assert wide[1] - wide[0] < high - low


def test_every_published_benchmark_has_its_parts() -> None:
    from smoleval.definition import registry

    named = {(one.benchmark, one.language, one.mode) for one in book.published()}
    assert len(book.published()) == 289
    assert {(one.benchmark, one.language, one.mode) for one in book.parts()} == named
    assert {one.task for one in book.parts()} - set(registry()) == set()
    scales = {one.metric: one.scale for one in book.parts()}
    assert scales["chrf++"] == 1
    assert {scale for metric, scale in scales.items() if metric != "chrf++"} == {100}


def test_the_newest_evaluation_counts_and_the_older_is_history(tmp_path: Path) -> None:
    saved(tmp_path, replace(ONE, value=0.5, task_version="v0"), at=2_000)
    saved(tmp_path, ONE, at=1_000)
    entries = book.read_book(tmp_path)
    assert [entry.score.value for entry in book.latest(entries)] == [0.5]
    with book.connect(entries) as connection:
        assert connection.execute("select count(*) from history").fetchone() == (2,)
        assert connection.execute("select value, file from scores").fetchall() == [
            (0.5, entries[0].file if entries[0].score.value == 0.5 else entries[1].file)
        ]
        joined = (
            "select p.model, p.score from scores s join benchmarks b using (task, metric) join published p "
            "on (p.benchmark, p.language, p.mode) = (b.benchmark, b.language, b.mode) "
            "order by p.score desc limit 1"
        )
        assert connection.execute(joined).fetchone() == ("SmolLM3-3B-Base", 78.89)


def test_a_benchmark_is_the_mean_of_its_parts_and_needs_all(tmp_path: Path) -> None:
    direction = {"suite": "base_multilingual", "metric": "chrf++", "shots": 5}
    there = replace(ONE, task="flores200:fra_Latn-eng_Latn", value=60.0, stderr=3.0, **direction)
    back = replace(ONE, task="flores200:eng_Latn-fra_Latn", value=50.0, stderr=4.0, **direction)
    saved(tmp_path, there)
    assert book.figures(book.read_book(tmp_path)) == []
    saved(tmp_path, back)
    (one,) = book.figures(book.read_book(tmp_path))
    assert (one.benchmark, one.language, one.value, one.comparable) == (
        "Flores-200 (5-shot)",
        "fr",
        55.0,
        True,
    )
    assert one.high == pytest.approx(55 + 1.959964 * 2.5)  # hypot(3, 4) / 2


def test_only_the_benchmarks_own_rows_compare(tmp_path: Path) -> None:
    saved(tmp_path, replace(ONE, data_profile="fixture", value=1.0, stderr=0.0))
    saved(tmp_path, replace(ONE, task="boolq_cf", settings='{"limit":20}'))
    first = {one.benchmark: one for one in book.figures(book.read_book(tmp_path))}
    assert {name: (one.comparable, one.why_not) for name, one in first.items()} == {
        "PIQA": (False, "items of our own in the benchmark's form"),
        "BoolQ": (False, "at most 20 items"),
    }
    (grid,) = grids(book.read_book(tmp_path))
    own = [row[1] for row in grid.rows if row[1]]
    assert all(value.endswith(MARK) for value in own)
    assert any(note.startswith(f"{MARK} not comparable") for note in grid.notes)
    assert grid.rows[-1][1] == ""  # no win rate from figures that do not compare
    saved(tmp_path, ONE)
    second = {one.benchmark: one for one in book.figures(book.read_book(tmp_path))}
    assert second["PIQA"].comparable  # the hub's rows before the fixture's
    assert second["PIQA"].value == 75.0


def test_win_rate_by_hand() -> None:
    values = {"a": {"x": 3.0, "y": 1.0}, "b": {"x": 2.0, "y": 1.0}, "c": {"x": 1.0}, "d": {"z": 9.0}}
    rates = book.win_rates(values)
    assert rates == {
        "a": (pytest.approx(2.5 / 3), 3),  # beats b and c at x, a draw with b at y
        "b": (pytest.approx(1.5 / 3), 3),
        "c": (0.0, 2),
    }


@given(st.dictionaries(st.sampled_from("abcd"), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3))))
def test_wins_of_all_models_are_half_of_all_comparisons(values: dict[str, dict[str, float]]) -> None:
    rates = book.win_rates(values)
    comparisons = sum(count for _, count in rates.values())
    assert sum(rate * count for rate, count in rates.values()) == pytest.approx(comparisons / 2)


def test_published_models_win_rates_come_out_of_the_figures(tmp_path: Path) -> None:
    saved(tmp_path, ONE)
    rates = book.rates(book.figures(book.read_book(tmp_path)), "base")
    assert rates["Qwen3-4B-Base"][0] == max(rate for rate, _ in rates.values())
    assert rates["run/step-0000010"][1] == 5  # one benchmark against five models


def test_of_each_run_the_last_step_is_shown(tmp_path: Path) -> None:
    for step in (2, 8):
        name = f"run/step-{step:07}"
        saved(tmp_path, replace(ONE, step=step, checkpoint=name, checkpoint_sha256=str(step) * 64))
    saved(tmp_path, replace(ONE, checkpoint="SmolLM3-3B", step=None, checkpoint_sha256="3" * 64))
    entries = book.read_book(tmp_path)
    assert {one.score.checkpoint for one in book.newest_of_each_run(entries)} == {
        "run/step-0000008",
        "SmolLM3-3B",
    }
    assert {one.score.checkpoint for one in book.newest_of_each_run(entries, "0002")} == {"run/step-0000002"}
    with pytest.raises(
        InputError, match="no scores of a checkpoint named like 'x'; there are: SmolLM3-3B, run"
    ):
        book.newest_of_each_run(entries, "x")


def test_what_has_no_published_figure_is_said(tmp_path: Path) -> None:
    heldout = replace(
        ONE, task="heldout", suite="heldout", metric="loss", value=3.5, data_profile="generated"
    )
    saved(tmp_path, ONE)
    saved(tmp_path, heldout, replace(heldout, subset="(mixture)"), replace(heldout, subset="email"))
    heads, rows = others(book.read_book(tmp_path))
    assert sorted(row[0] for row in rows) == ["heldout", "heldout (mixture)"]
    assert heads[0] == "task"
    found = book.as_json(book.read_book(tmp_path))
    assert json.loads(json.dumps(found))["figures"][0]["benchmark"] == "PIQA"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, ONE)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(IntegrityError, match=r"piqa_cf-\w+\.parquet is no score file"):
        book.read_book(tmp_path)
    assert book.read_book(tmp_path / "empty") == []
    with pytest.raises(InputError, match="no folder of scores"):
        book.read_book(tmp_path / "empty", [tmp_path / "none"])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from smoleval.cli import app

    saved(tmp_path, ONE)
    app(["scores", "--build", str(tmp_path)], standalone_mode=False)
    printed = capsys.readouterr()
    assert "75.00 [70.5, 79.0]" in printed.out
    assert "78.89" in printed.out
    assert "44 published benchmarks of this mode have no figure" in " ".join(printed.err.split())
    app(["scores", "--build", str(tmp_path), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["figures"][0]["value"] == 75.0
    query = "select task, value from scores"
    app(["scores", "--build", str(tmp_path), "--json", "--sql", query], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == [{"task": "piqa_cf", "value": 0.75}]
    with pytest.raises(InputError, match="tables: scores, history, published, benchmarks"):
        app(["scores", "--build", str(tmp_path), "--sql", "select"], standalone_mode=False)
    with pytest.raises(InputError, match=r"no scores in .*; make some"):
        app(["scores", "--build", str(tmp_path / "empty")], standalone_mode=False)
    assert asdict(ONE)["value"] == 0.75
