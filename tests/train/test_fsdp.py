"""Several processes train what one trains, and any number of them goes on from a checkpoint."""

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")

from smoltrain import checkpoint  # noqa: E402 - after the check for torch
from smoltrain.bundle import Bundle, open_bundle  # noqa: E402
from smoltrain.ledger import check_ledger  # noqa: E402
from smoltrain.run import RunFolder, Settings  # noqa: E402
from smoltrain.runlog import read_log  # noqa: E402
from smoltrain.train import train  # noqa: E402

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

STEPS = 6
SCRIPT = """
import json, os, sys
from pathlib import Path
import transformers.models.smollm3.modeling_smollm3
from smoltrain.bundle import open_bundle
from smoltrain.run import Settings
from smoltrain.train import train

bundle = open_bundle(sys.argv[1])
second = os.fork()  # after the imports, which take longest
os.environ["RANK"] = os.environ["LOCAL_RANK"] = "0" if second else "1"
for port, out, settings in json.loads(sys.argv[2]):
    os.environ["MASTER_PORT"] = str(port)  # one each: the last run's store may still be there
    train(bundle, Settings(**settings), Path(out))
if second:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]))
"""


@pytest.fixture(scope="module")
def bundle(small_house: "SmallHouse") -> Bundle:
    return open_bundle(small_house.bundle)


def settings_for(bundle: Bundle, steps: int = STEPS) -> Settings:
    return Settings(
        lock=bundle.plan.lock.hash,
        size="tiny",
        steps=steps,
        micro_batch=2,
        checkpoint_every=3,
        learning_rate=1e-2,
        rope_theta=50_000.0,
        seed=6,
        heldout_every=3,
        heldout_windows=2,
    )


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def together(bundle: Bundle, runs: list[tuple[Path, Settings]]) -> None:
    """Do runs as two processes over gloo, as torchrun would start them."""
    asked = json.dumps([[free_port(), str(out), asdict(settings)] for out, settings in runs])
    where = {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(bundle.folder), asked],
        env={**os.environ, **where, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr


def stopped_half_way(run: Path, copy: Path) -> Path:
    """Copy a run as a kill after its first checkpoint left it."""
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns(".lock"))
    shutil.rmtree(checkpoint.folder_of(RunFolder(copy).checkpoints, STEPS))
    return copy


def assert_same(one: Path, other: Path, bundle: Bundle) -> None:
    """Compare the logs of two runs, step by step, and prove the second's ledger."""
    assert check_ledger(RunFolder(other).ledger, bundle).steps == STEPS
    for mine, theirs in zip(read_log(one / "log.jsonl"), read_log(other / "log.jsonl"), strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine.keys() - {"seconds", "tokens_per_second"}:
            assert theirs[key] == pytest.approx(mine[key], rel=1e-4), (other.name, mine["step"], key)


def test_two_processes_are_one_trainer(bundle: Bundle, tmp_path: Path) -> None:
    settings, one, both = settings_for(bundle), tmp_path / "one", tmp_path / "both"
    train(bundle, settings, one)
    one_then_two = stopped_half_way(one, tmp_path / "one-then-two")
    together(bundle, [(both, settings), (one_then_two, settings)])
    two_then_one = stopped_half_way(both, tmp_path / "two-then-one")
    train(bundle, settings, two_then_one)
    for other in (both, one_then_two, two_then_one):
        assert_same(one, other, bundle)
    assert any(key.startswith("heldout/") for key in read_log(one / "log.jsonl")[2])
