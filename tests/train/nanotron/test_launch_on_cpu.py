"""nanotron itself on our loader: stages resumed in the plan's order, its loss beside the reference's."""

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from smoltrain import heldout
from smoltrain.bundle import Bundle, open_bundle
from smoltrain.convert import nanotron_to_hf
from smoltrain.engine import Compute, Engine
from smoltrain.ledger import check_ledger
from smoltrain.loader import open_loader
from smoltrain.model import load_model, token_losses
from smoltrain.nanotron_weights import read_weights
from smoltrain.run import RunFolder
from smoltrain.runlog import Row, read_log
from smoltrain.validation import held_out
from smoltrain.watch import Watch

if TYPE_CHECKING:
    from tests.train.nanotron.conftest import Curriculum, Start

pytestmark = pytest.mark.nanotron
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
        check_keys(bundle, rows, run / "checkpoints" / name / str(STEPS * (number + 1)))
        last = run / "checkpoints" / name / str(STEPS * (number + 1)) / "checkpoint_metadata.json"
        recorded = json.loads(last.read_text("utf-8"))["metas"]["data_stages"][number]
        counted = {source: windows * 64 for source, windows in proof.windows_by_source.items()}
        assert recorded["consumed_tokens_per_dataset_folder"] == counted
    assert steps[-1] < steps[0] - 0.3  # one run of 60 steps, not three beginnings
    check_heldout(open_bundle(curriculum.bundles["three"]), run / "three")
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


def check_keys(bundle: Bundle, rows: list[Row], last: Path) -> None:
    """Check that rows have the reference trainer's keys, and sums over ranks of the whole model and batch."""
    keys = {"step", "loss", "learning_rate", "grad_norm", "embedding_norm", "labels", "tokens"}
    for row, batch in zip(rows, open_loader(bundle), strict=True):
        sources = {key.split("/")[1] for key in row if key.startswith("data/")}
        data = {f"data/{name}/{what}" for name in sources for what in ("tokens", "passes")}
        assert set(row) == keys | data | {"seconds", "tokens_per_second"}
        assert row["labels"] == int(batch.mask.sum())
    [embedding] = [one for name, one in read_weights(last).items() if "token_embedding" in name]
    assert rows[-1]["embedding_norm"] == pytest.approx(float(embedding.norm()), rel=1e-5)


def check_heldout(bundle: Bundle, run: Path) -> None:
    """Check that its checkpoints have held-out losses in the log's keys: those of converted weights."""
    rows = heldout.score(RunFolder(run), bundle, heldout.Asked(windows=2, device="cpu"))
    assert rows[-1]["step"] == STEPS - 1
    found = {key.split("/")[1]: one for key, one in rows[-1].items() if key.startswith("heldout/")}
    parts = held_out(bundle, 2)
    assert set(found) == {part.source for part in parts}
    model = load_model(nanotron_to_hf(heldout.saved(RunFolder(run))[-1].folder, run / "converted"))
    for part in parts:
        batch = part.batch
        arrays = (torch.from_numpy(one) for one in (batch.ids, batch.positions, batch.labels, batch.mask))
        assert found[part.source] == pytest.approx(float(token_losses(model, *arrays).mean()), rel=1e-5)
    state = Watch(bundle, RunFolder(run).log, STEPS, RunFolder(run).heldout).look()
    assert state is not None
    assert {one.source: one.heldout_loss for one in state.sources if one.heldout_loss} == found
    assert all(loss < math.log(bundle.vocab_size) for loss in found.values())  # it has learnt


def reference_losses(bundle: Bundle, weights: Path, rates: list[float]) -> list[float]:
    """Train with the reference trainer's engine at those rates; return each step's loss before its update."""
    engine = Engine(lambda: load_model(weights), Compute("cpu", "float32"), rates[0])
    losses = []
    for rate, batch in zip(rates, open_loader(bundle), strict=False):
        losses.append(float(engine.backward(batch, bundle.batch_windows, engine.count(batch))))
        engine.update(rate)
    return losses
