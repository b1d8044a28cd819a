"""nanotron itself on our loader: stages resumed in the plan's order, its loss beside the reference's."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smoltrain.bundle import Bundle, open_bundle
from smoltrain.convert import nanotron_to_hf
from smoltrain.engine import Compute, Engine
from smoltrain.ledger import check_ledger
from smoltrain.loader import open_loader
from smoltrain.model import load_model
from smoltrain.runlog import read_log

if TYPE_CHECKING:
    from tests.train.nanotron.conftest import Curriculum, Start

pytestmark = [pytest.mark.nanotron, pytest.mark.timeout(900)]
STEPS = 20


def test_three_stages_are_resumed_and_the_ledgers_are_the_plans(
    curriculum: "Curriculum", start: "Start", tmp_path: Path
) -> None:
    run = tmp_path / "run"
    # Stopped inside stage one, then launched again as it stands; the stages after go on from the one before.
    start(curriculum.bundles["one"], "tokens.train_steps=4", "checkpoints.checkpoint_interval=2", ranks=2)
    printed = start(curriculum.bundles["one"], ranks=2)
    assert "from step 4 of 20" in printed
    for name in ("two", "three"):
        printed = start(curriculum.bundles[name], ranks=2)
        assert "from step 0 of 20" in printed
    steps = []
    for number, (name, folder) in enumerate(curriculum.bundles.items()):
        bundle = open_bundle(folder)
        proof = check_ledger(run / name / "ledger", bundle)
        assert proof.steps == STEPS
        rows = read_log(run / name / "log.jsonl")
        assert [row["step"] for row in rows] == list(range(STEPS))
        steps += [row["loss"] for row in rows]
        last = run / "checkpoints" / name / str(STEPS * (number + 1)) / "checkpoint_metadata.json"
        recorded = json.loads(last.read_text("utf-8"))["metas"]["data_stages"][number]
        counted = {source: windows * 64 for source, windows in proof.windows_by_source.items()}
        assert recorded["consumed_tokens_per_dataset_folder"] == counted
    assert steps[-1] < steps[0] - 0.3  # one run of 60 steps, not three beginnings
    assert not (run / "s3-shards").exists()


def test_the_loss_is_the_reference_trainers(curriculum: "Curriculum", start: "Start", tmp_path: Path) -> None:
    """20 steps of one stage from the same weights, on the same windows, at the same rates."""
    bundle = open_bundle(curriculum.bundles["one"])
    changes = ("tokens.micro_batch_size=6", "tokens.batch_accumulation_per_replica=1")
    start(curriculum.bundles["one"], *changes, "checkpoints.save_initial_state=true")
    rows = read_log(tmp_path / "run/one/log.jsonl")
    weights = nanotron_to_hf(tmp_path / "run/checkpoints/one/0", tmp_path / "first")
    mine = reference_losses(bundle, weights, [row["learning_rate"] for row in rows])
    assert len(mine) == STEPS
    assert max(abs(row["loss"] - loss) for row, loss in zip(rows, mine, strict=True)) < 2e-5


def test_context_parallel_ranks_learn_as_one_does(
    curriculum: "Curriculum", start: "Start", tmp_path: Path
) -> None:
    """A stage on two ranks that share each window, by ring attention, beside the same stage on one."""
    start(curriculum.bundles["one"], "tokens.train_steps=20")
    shutil.copytree(tmp_path / "run", tmp_path / "ring")
    start(curriculum.bundles["two"], "tokens.train_steps=24")
    ring = [
        "model.model_config._attn_implementation=llama3_ring_attention",
        "model.model_config.ring_attn_heads_k_stride=1",
        "parallelism.context_parallel_size=2",
    ]
    start(curriculum.bundles["two"], "tokens.train_steps=24", *ring, run="ring")
    alone, shared = (read_log(tmp_path / run / "two/log.jsonl") for run in ("run", "ring"))
    assert len(alone) == len(shared) == 4
    bundle = open_bundle(curriculum.bundles["two"])
    assert check_ledger(tmp_path / "ring/two/ledger", bundle).steps == 4
    assert max(abs(a["loss"] - b["loss"]) for a, b in zip(alone, shared, strict=True)) < 0.01


def reference_losses(bundle: Bundle, weights: Path, rates: list[float]) -> list[float]:
    """Train with the reference trainer's engine at those rates; return each step's loss before its update."""
    engine = Engine(lambda: load_model(weights), Compute("cpu", "float32"), rates[0])
    losses = []
    for rate, batch in zip(rates, open_loader(bundle), strict=False):
        losses.append(float(engine.backward(batch, bundle.batch_windows, engine.count(batch))))
        engine.update(rate)
    return losses
