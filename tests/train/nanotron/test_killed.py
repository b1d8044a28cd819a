"""nanotron killed with SIGKILL, and launched again: the same order, ledger, losses and weights."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smoldata.files import single_writer
from smoltrain.bundle import open_bundle
from smoltrain.ledger import check_ledger
from smoltrain.nanotron.checkpoints import fault_of
from smoltrain.nanotron_weights import read_weights
from smoltrain.runlog import read_log

if TYPE_CHECKING:
    from tests.train.nanotron.conftest import Curriculum, Start

pytestmark = pytest.mark.nanotron
SHORT = ("tokens.train_steps=8", "checkpoints.checkpoint_interval=4")


def contents(run: Path) -> dict[str, Any]:
    """Return what must be equal: the ledger's bytes, losses, rates, weights, nanotron's own counts."""
    last = run / "checkpoints/one/8"
    assert fault_of(last) is None
    ledger = {path.name: path.read_bytes() for path in (run / "one/ledger").iterdir()}
    rows = [(row["step"], row["loss"], row["learning_rate"]) for row in read_log(run / "one/log.jsonl")]
    weights = {name: tensor.numpy().tobytes() for name, tensor in read_weights(last).items()}
    metadata = json.loads((last / "checkpoint_metadata.json").read_text("utf-8"))
    return {"ledger": ledger, "rows": rows, "weights": weights, "metadata": metadata}


@pytest.fixture(scope="module")
def never_killed() -> dict[int, dict[str, Any]]:
    """Keep what runs that nobody killed left, by their ranks: two launches instead of five."""
    return {}


@pytest.mark.parametrize(
    ("point", "ranks", "before"),
    [("step:7", 1, 4), ("weights:8", 1, 4), ("weights:4", 1, 0), ("written:4", 1, 4), ("rank:8", 2, 4)],
)
def test_killed_and_launched_again_it_is_as_if_never_killed(
    curriculum: "Curriculum",
    start: "Start",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    never_killed: dict[int, dict[str, Any]],
    point: str,
    ranks: int,
    before: int,
) -> None:
    bundle = curriculum.bundles["one"]
    if ranks not in never_killed:
        start(bundle, *SHORT, ranks=ranks)
        never_killed[ranks] = contents(tmp_path / "run")
    monkeypatch.setenv("KILL_AT", point)
    start(bundle, *SHORT, ranks=ranks, run="killed", fails=True)
    monkeypatch.delenv("KILL_AT")
    printed = start(bundle, *SHORT, ranks=ranks, run="killed")
    assert f"one: from step {before} of 20" in printed
    assert contents(tmp_path / "killed") == never_killed[ranks]
    assert check_ledger(tmp_path / "killed/one/ledger", open_bundle(bundle)).steps == 8


def test_a_rank_that_outlives_its_torchrun_keeps_a_second_one_out(
    curriculum: "Curriculum", start: "Start", tmp_path: Path
) -> None:
    """The test holds the folder as the first rank does: the next launch says so and writes nothing."""
    (tmp_path / "run/one").mkdir(parents=True)
    with single_writer(tmp_path / "run/one"):
        printed = start(curriculum.bundles["one"], *SHORT, fails=True)
        words = ["nanotron", "run", str(curriculum.bundles["one"]), "--run", str(tmp_path / "run")]
        words += ["--nanotron", str(tmp_path), "--set", "parallelism.dp=1"]
        cli = subprocess.run(
            [sys.executable, "-m", "smoltrain", *words], capture_output=True, text=True, check=False
        )
    assert "is in use by process" in printed
    assert not (tmp_path / "run/one/ledger").exists()
    assert cli.returncode == 1
    assert "is in use by process" in cli.stderr
