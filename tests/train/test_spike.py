"""Spikes of the loss: planted ones are found, in all three kinds of log, and a noisy fall has none."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from smoldata.errors import InputError
from smoltrain.cli import app
from smoltrain.spike import LEAST, Point, find_spikes, read_losses

if TYPE_CHECKING:
    from tests.conftest import SmallHouse


def falling(steps: int, seed: int = 1, noise: float = 0.02) -> list[Point]:
    """Return a loss that falls as training losses do, with noise."""
    at = np.arange(steps)
    rng = np.random.default_rng(seed)
    losses = 2.2 + 9 * np.exp(-at / 60) + 0.3 * np.exp(-at / 700) + rng.normal(0, noise, steps)
    return [Point(int(step), float(loss)) for step, loss in zip(at, losses, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_fall_has_no_spikes(seed: int) -> None:
    assert find_spikes(falling(1500, seed)) == []


@settings(max_examples=20)
@given(
    st.lists(st.integers(400, 1400), min_size=1, max_size=6, unique=True).filter(
        lambda steps: all(abs(a - b) > 1 for a in steps for b in steps if a != b)
    ),
    st.floats(0.5, 5.0),
    st.integers(0, 100),
)
def test_planted_spikes_are_found_and_nothing_else(steps: list[int], height: float, seed: int) -> None:
    points = falling(1500, seed)
    for step in steps:
        points[step] = Point(step, points[step].loss + height)
    assert [spike.step for spike in find_spikes(points)] == sorted(steps)


def test_an_event_of_several_steps_is_one_and_named_by_its_highest() -> None:
    points = falling(600)
    for step, height in ((400, 0.6), (401, 2.0), (402, 0.9)):
        points[step] = Point(step, points[step].loss + height)
    (spike,) = find_spikes(points)
    assert (spike.first, spike.step, spike.last) == (400, 401, 402)
    assert spike.loss == points[401].loss
    assert abs(spike.expected - falling(600)[401].loss) < 0.1


def test_a_loss_that_is_not_finite_is_a_spike_from_the_first_step_on() -> None:
    points = falling(200)
    points[3] = Point(3, float("nan"))
    points[150] = Point(150, float("inf"))
    assert [spike.step for spike in find_spikes(points)] == [3, 150]


def test_a_constant_loss_has_no_spikes_of_rounding() -> None:
    assert find_spikes([Point(step, 2.0 + 1e-6 * (step % 2)) for step in range(300)]) == []


def test_our_log_keeps_the_later_line_of_a_step_and_leaves_a_cut_one_out(tmp_path: Path) -> None:
    lines = [
        json.dumps({"step": step, "loss": loss}) for step, loss in ((0, 9.0), (1, 8.0), (1, 7.5), (2, 7.0))
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + '\n{"step": 3, "lo', "utf-8")
    assert read_losses(tmp_path / "log.jsonl").points == [Point(0, 9.0), Point(1, 7.5), Point(2, 7.0)]


def test_lines_as_nanotron_prints_them(tmp_path: Path) -> None:
    printed = (
        "\x1b[2;3m11/22 06:56:38 [INFO]\x1b[0m: iteration: 3 / 26 | consumed_tokens: 147K | grad_norm: 18.7 "
        "| lm_loss: 11.3 | lr: 0.00012\nother text\n"
        "11/22 06:56:41 [INFO]: iteration: 4 / 26 | grad_norm: 83.1 | lm_loss: 1.34K | lr: 0.00016\n"
    )
    (tmp_path / "out.log").write_text(printed, "utf-8")
    log = read_losses(tmp_path / "out.log")
    assert (log.by_nanotron, log.points) == (True, [Point(3, 11.3), Point(4, 1340.0)])


@pytest.mark.parametrize("head", ["step,loss", "iteration,lm_loss", "Iteration, Loss"])
def test_csv(tmp_path: Path, head: str) -> None:
    (tmp_path / "x.csv").write_text(f"{head}\n1,3.5\n2,3.25\n", "utf-8")
    assert read_losses(tmp_path / "x.csv").points == [Point(1, 3.5), Point(2, 3.25)]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "nothing here", '{"step": 1}\n'])
def test_what_is_no_log_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text, "utf-8")
    with pytest.raises(InputError, match="x"):
        read_losses(tmp_path / "x")
    with pytest.raises(InputError, match="cannot be read"):
        read_losses(tmp_path / "missing")


def test_a_window_too_short_is_refused() -> None:
    with pytest.raises(InputError, match=str(LEAST)):
        find_spikes(falling(50), window=3)


def test_the_command_names_what_was_seen_there(small_house: "SmallHouse", tmp_path: Path) -> None:
    points = falling(120, noise=0.01)
    points[60] = Point(60, 20.0)
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(asdict(p)) + "\n" for p in points), "utf-8")
    given = ["spike", str(tmp_path / "log.jsonl"), "--bundle", str(small_house.bundle)]
    given += ["--tokenizer", str(small_house.tokenizer)]
    result = CliRunner().invoke(app, [*given, "--json"])
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert (found["step"], found["loss"]) == (60, 20.0)
    what = [
        "what",
        "60",
        "--bundle",
        str(small_house.bundle),
        "--tokenizer",
        str(small_house.tokenizer),
        "--json",
    ]
    assert found["seen"] == json.loads(CliRunner().invoke(app, what).stdout)
    shown = CliRunner().invoke(app, given)
    assert found["seen"][0]["document"] in shown.stdout


def test_steps_of_nanotron_are_counted_from_the_stages_first(
    small_house: "SmallHouse", tmp_path: Path
) -> None:
    lines = [f"iteration: {p.step + 1} / 120 | lm_loss: {p.loss:.3f} |\n" for p in falling(120, noise=0.01)]
    lines[60] = "iteration: 61 / 120 | lm_loss: 20.0 |\n"
    (tmp_path / "out").write_text("".join(lines), "utf-8")
    given = ["spike", str(tmp_path / "out"), "--bundle", str(small_house.bundle), "--json"]
    result = CliRunner().invoke(app, [*given, "--tokenizer", str(small_house.tokenizer)])
    (found,) = json.loads(result.stdout)
    assert found["step"] == 61
    assert {one["index"] for one in found["seen"]} == set(range(360, 366))


def test_all_the_text_of_a_step_is_there_when_asked(small_house: "SmallHouse") -> None:
    from smoltrain.bundle import open_bundle
    from smoltrain.loader import open_loader
    from smoltrain.pieces import load_pieces, tokenizer_of

    bundle = open_bundle(small_house.bundle)
    pieces = load_pieces(tokenizer_of(bundle, small_house.tokenizer))
    given = [
        "what",
        "5",
        "--bundle",
        str(small_house.bundle),
        "--tokenizer",
        str(small_house.tokenizer),
        "--full",
    ]
    rows = json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout)
    batch = open_loader(bundle).batch(5)
    for at, index in enumerate(batch.places.index.tolist()):
        seen = "".join(row["text"] for row in rows if row["index"] == index)
        assert seen == pieces.text(batch.ids[at])
    assert rows[0]["text"] in CliRunner().invoke(app, given).stdout
