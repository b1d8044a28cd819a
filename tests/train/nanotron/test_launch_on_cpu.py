"""nanotron itself on our loader: stages resumed in the plan's order, its loss beside the reference's."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from smoltrain.bundle import Bundle, open_bundle
from smoltrain.hyperparameters import ModelSize, Optimizer
from smoltrain.ledger import check_ledger
from smoltrain.loader import open_loader
from smoltrain.model import build_config, build_model, hidden_states
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


def test_the_loss_is_the_reference_models(curriculum: "Curriculum", start: "Start", tmp_path: Path) -> None:
    """20 steps of one stage from the same weights, on the same windows, at the same rates."""
    bundle = open_bundle(curriculum.bundles["one"])
    changes = ("tokens.micro_batch_size=6", "tokens.batch_accumulation_per_replica=1")
    start(curriculum.bundles["one"], *changes, "checkpoints.save_initial_state=true")
    rows = read_log(tmp_path / "run/one/log.jsonl")
    model = reference_model(bundle, tmp_path / "run/checkpoints/one/0")
    mine = reference_losses(bundle, model, [row["learning_rate"] for row in rows])
    assert len(mine) == STEPS
    assert max(abs(row["loss"] - loss) for row, loss in zip(rows, mine, strict=True)) < 2e-5


def reference_model(bundle: Bundle, checkpoint: Path) -> Any:
    """Return transformers' SmolLM3 with the weights of a checkpoint of nanotron, by the names of both."""
    size = ModelSize(64, 344, 4, 4, 1, learning_rate=0.01)
    config = build_config(
        size, vocab_size=bundle.vocab_size, eos_id=bundle.eos_id, sequence_length=64, rope_theta=50_000.0
    )
    model: Any = build_model(config, seed=1)
    root = checkpoint / "model" / "model"
    weights = {
        "model.embed_tokens.weight": tensor(root / "token_position_embeddings/pp_block/token_embedding")
    }
    weights["model.norm.weight"] = tensor(root / "final_layer_norm/pp_block")
    for layer in range(4):
        here, name = root / "decoder" / str(layer) / "pp_block", f"model.layers.{layer}."
        q, k, v = tensor(here / "attn/qkv_proj").split([64, 16, 16])
        gate, up = tensor(here / "mlp/gate_up_proj").split([344, 344])
        weights |= {
            f"{name}self_attn.{one}_proj.weight": two for one, two in zip("qkv", (q, k, v), strict=True)
        }
        weights |= {f"{name}mlp.gate_proj.weight": gate, f"{name}mlp.up_proj.weight": up}
        weights[f"{name}self_attn.o_proj.weight"] = tensor(here / "attn/o_proj")
        weights[f"{name}mlp.down_proj.weight"] = tensor(here / "mlp/down_proj")
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{name}{norm}.weight"] = tensor(here / norm)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])  # tied to the embedding
    return model


def tensor(folder: Path) -> torch.Tensor:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)["data"]


def reference_losses(bundle: Bundle, model: Any, rates: list[float]) -> list[float]:
    """Train as published (clipping, no decay on embeddings); return each step's loss before its update."""
    values = Optimizer()
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if values.no_decay not in n], "weight_decay": values.weight_decay},
        {"params": [p for n, p in named if values.no_decay in n], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(values.beta1, values.beta2), eps=values.eps)
    losses = []
    for rate, batch in zip(rates, open_loader(bundle), strict=False):
        ids, positions = torch.from_numpy(batch.ids), torch.from_numpy(batch.positions).long()
        states = hidden_states(model, ids, positions)
        logits = torch.nn.functional.linear(states, model.lm_head.weight).flatten(0, 1)
        labels = torch.where(torch.from_numpy(batch.mask), torch.from_numpy(batch.labels), -100).flatten()
        loss = torch.nn.functional.cross_entropy(logits, labels)
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), values.clip_grad)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
    return losses
