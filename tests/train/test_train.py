"""The trainer: the loss falls, the ledger is the plan's prefix, a killed run ends with the same bytes."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")

from smoldata.errors import (  # noqa: E402 - after the check for torch
    BusyError,
    InputError,
    IntegrityError,
    TrainingError,
)
from smoldata.files import single_writer, xxh3_128  # noqa: E402
from smoltrain import checkpoint  # noqa: E402
from smoltrain.bundle import Bundle, open_bundle  # noqa: E402
from smoltrain.engine import Compute, Engine  # noqa: E402
from smoltrain.hyperparameters import SIZES  # noqa: E402
from smoltrain.ledger import check_ledger, segments  # noqa: E402
from smoltrain.loader import open_loader  # noqa: E402
from smoltrain.model import build_config, build_model, load_model  # noqa: E402
from smoltrain.run import RunFolder, Settings  # noqa: E402
from smoltrain.runlog import read_log  # noqa: E402
from smoltrain.torch_data import BatchDataset  # noqa: E402
from smoltrain.train import Result, build_optimizer, schedule_of, train  # noqa: E402

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

STEPS, EVERY = 12, 5


@pytest.fixture(scope="module")
def bundle(small_house: "SmallHouse") -> Bundle:
    return open_bundle(small_house.bundle)


def settings_for(bundle: Bundle) -> Settings:
    return Settings(
        lock=bundle.plan.lock.hash,
        size="tiny",
        steps=STEPS,
        micro_batch=3,
        checkpoint_every=EVERY,
        learning_rate=1e-2,
        rope_theta=50_000.0,
        seed=6,
    )


@pytest.fixture(scope="module")
def finished(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return train(bundle, settings_for(bundle), tmp_path_factory.mktemp("runs") / "trial-tiny")


def small_model(bundle: Bundle) -> Any:
    config = build_config(
        SIZES["tiny"],
        vocab_size=bundle.vocab_size,
        eos_id=bundle.eos_id,
        sequence_length=bundle.sequence_length,
        rope_theta=50_000.0,
    )
    return build_model(config, seed=1)


def mean_loss(model: Any, batch: Any, micro_batch: int) -> float:
    """Return the mean loss of a batch, and leave its gradients in ``model``."""
    engine = Engine(lambda: model, Compute.best("cpu"), 1.0)
    return float(engine.backward(batch, micro_batch, engine.count(batch)))


def test_the_loss_falls_from_that_of_guessing(bundle: Bundle, finished: Result) -> None:
    assert abs(finished.first_loss - math.log(bundle.vocab_size)) < 0.1
    assert finished.last_loss < finished.first_loss - 0.3


def test_the_ledger_is_the_plans_prefix(bundle: Bundle, finished: Result) -> None:
    proof = check_ledger(RunFolder(finished.run).ledger, bundle)
    assert (proof.steps, proof.windows) == (STEPS, STEPS * bundle.batch_windows)
    assert finished.tokens == proof.windows * bundle.sequence_length


def test_the_log_counts_every_token_by_source(bundle: Bundle, finished: Result) -> None:
    rows = read_log(RunFolder(finished.run).log)
    assert [row["step"] for row in rows] == list(range(STEPS))
    proof = check_ledger(RunFolder(finished.run).ledger, bundle)
    for name, windows in proof.windows_by_source.items():
        assert rows[-1][f"data/{name}/tokens"] == windows * bundle.sequence_length
    assert rows[-1]["tokens"] == finished.tokens
    masks = [open_loader(bundle).batch(step).mask.sum() for step in range(STEPS)]
    assert [row["labels"] for row in rows] == masks


def test_only_the_last_checkpoints_stay_and_they_load_in_transformers(
    bundle: Bundle, finished: Result
) -> None:
    kept = checkpoint.complete(RunFolder(finished.run).checkpoints)
    assert [folder.name for folder in kept] == ["step-0000010", "step-0000012"]
    model = load_model(kept[-1])
    assert xxh3_128(kept[-1] / "model.safetensors") == finished.weights_xxh3_128
    batch = open_loader(bundle).batch(STEPS)
    assert mean_loss(model, batch, 6) < finished.first_loss - 0.3


@pytest.mark.parametrize(("keep", "left"), [(0, [1, 2, 3]), (1, [3])])
def test_as_many_checkpoints_stay_as_are_asked_for(
    bundle: Bundle, tmp_path: Path, keep: int, left: list[int]
) -> None:
    train(bundle, replace(settings_for(bundle), steps=3, checkpoint_every=1), tmp_path / "run", keep=keep)
    kept = checkpoint.complete(tmp_path / "run/checkpoints")
    assert [folder.name for folder in kept] == [f"step-{steps:07d}" for steps in left]


def test_a_finished_run_has_nothing_to_do(bundle: Bundle, finished: Result) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.run.rglob("*") if path.name != ".lock"}
    again = train(bundle, settings_for(bundle), finished.run)
    assert replace(again, seconds=0.0) == replace(finished, seconds=0.0)
    assert before == {
        path: path.stat().st_mtime_ns for path in finished.run.rglob("*") if path.name != ".lock"
    }


def test_other_settings_are_refused_with_their_names(bundle: Bundle, finished: Result) -> None:
    with pytest.raises(InputError, match=r"holds another run: steps was 12, asked is 13.*--fresh"):
        train(bundle, replace(settings_for(bundle), steps=13), finished.run)


def test_another_environment_is_said_aloud(
    bundle: Bundle, finished: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished.run, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    facts["environment"]["threads"] += 1
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
    train(bundle, settings_for(bundle), tmp_path / "run")
    assert "the weights may differ in their last bits" in " ".join(capsys.readouterr().err.split())


def test_fresh_starts_again(bundle: Bundle, finished: Result, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.run, run)
    again = train(bundle, replace(settings_for(bundle), steps=2), run, fresh=True)
    assert again.steps == 2
    assert [segment.end for segment in segments(run / "ledger")] == [2]


def test_a_damaged_checkpoint_is_refused(bundle: Bundle, finished: Result, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.run, run)
    path = run / "checkpoints" / "step-0000012" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="the checkpoint is damaged"):
        train(bundle, settings_for(bundle), run)


def test_a_ledger_that_is_not_the_plans_fails_the_run(
    bundle: Bundle, finished: Result, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.run, run)
    segments(run / "ledger")[0].path.unlink()
    with pytest.raises(IntegrityError, match="step 0 is due"):
        train(bundle, settings_for(bundle), run)


def test_a_loss_that_is_not_finite_stops_the_run(bundle: Bundle, tmp_path: Path) -> None:
    wild = replace(settings_for(bundle), learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"step 2: loss .*gradient norm nan"):
        train(bundle, wild, tmp_path / "run")


def test_the_planned_schedule_is_that_of_the_nanotron_file(bundle: Bundle) -> None:
    import yaml

    values = yaml.safe_load((bundle.folder / "nanotron.yaml").read_text())
    schedule, first = schedule_of(bundle, replace(settings_for(bundle), schedule="planned"))
    assert first == values["data_stages"][-1]["start_training_step"] - 1 == 0
    assert schedule.peak == values["optimizer"]["learning_rate_scheduler"]["learning_rate"] == 2e-4
    assert schedule.rate(schedule.warmup_steps) == 2e-4
    assert schedule.decay_start + schedule.decay_steps == bundle.steps + 1
    with pytest.raises(InputError, match="there are scaled and planned"):
        schedule_of(bundle, replace(settings_for(bundle), schedule="other"))


def test_micro_batches_change_only_rounding(bundle: Bundle) -> None:
    batch = open_loader(bundle).batch(0)
    losses, gradients = [], []
    for micro_batch in (1, 4, 6):
        model = small_model(bundle)
        losses.append(mean_loss(model, batch, micro_batch))
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert np.allclose(losses, losses[0], rtol=1e-6)
    assert all(torch.allclose(gradient, gradients[0], atol=1e-6) for gradient in gradients)


def test_embeddings_alone_are_not_decayed(bundle: Bundle) -> None:
    model = small_model(bundle)
    groups = build_optimizer(model, 1.0).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    exempt = {names[id(p)] for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    assert exempt == {"model.embed_tokens.weight"}
    assert sum(len(group["params"]) for group in groups) == len(names)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_torch_dataset_keeps_the_order(bundle: Bundle, workers: int) -> None:
    loader = open_loader(bundle, start_step=3, rank=1, world_size=2)
    loaded = torch.utils.data.DataLoader(BatchDataset(loader), batch_size=None, num_workers=workers)
    assert len(loaded) == len(loader)
    for step, batch in zip(range(3, 12), loaded, strict=False):
        wanted = loader.batch(step)
        assert batch["step"].item() == step
        for name in ("ids", "positions", "labels", "mask"):
            assert (batch[name].numpy() == getattr(wanted, name)).all()


def test_a_second_run_in_the_same_folder_waits(bundle: Bundle, finished: Result) -> None:
    with single_writer(finished.run), pytest.raises(BusyError, match="is in use by process"):
        train(bundle, settings_for(bundle), finished.run)


DRIVER = """
import json, os, resource, signal, sys
from pathlib import Path
import torch, transformers.models.smollm3.modeling_smollm3
import smoltrain.train, smoltrain.checkpoint, smoltrain.ledger, smoltrain.folders, smoltrain.runlog
from smoldata.errors import StorageError
from smoltrain.bundle import open_bundle
from smoltrain.run import Settings

bundle, out = open_bundle(sys.argv[1]), Path(sys.argv[2])
settings = Settings(**json.loads(sys.argv[3]))
points = {
    "before any step": (smoltrain.engine.Engine, "backward", 1),
    "between checkpoints": (smoltrain.train, "append_row", 8),
    "after a ledger segment": (smoltrain.train.checkpoint, "save", 2),
    "while weights are written": (smoltrain.checkpoint, "save_file", 3),
    "while the optimizer is written": (smoltrain.checkpoint, "save_file", 4),
    "while the ledger is written": (smoltrain.ledger.pq, "write_table", 2),
    "while an old checkpoint is removed": (smoltrain.folders.shutil, "rmtree", 5),
}

def kill_at(module, name, nth):
    inner, calls = getattr(module, name), []
    def call(*args, **kwargs):
        calls.append(name)
        if len(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*args, **kwargs)
    setattr(module, name, call)

def limit_files_to(size):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def limit_at(module, name, size):
    inner = getattr(module, name)
    def call(*args, **kwargs):
        limit_files_to(size)
        return inner(*args, **kwargs)
    setattr(module, name, call)

def child(run, before, *arguments):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    before(*arguments)
    try:
        smoltrain.train.train(bundle, settings, run)
    except StorageError as error:
        print(error, flush=True)
    os._exit(0)

def nothing():
    pass

for point, where in points.items():
    run = out / point.replace(" ", "-")
    status = child(run, kill_at, *where)
    assert os.WIFSIGNALED(status), (point, status)
    assert child(run, nothing) == 0, point
for module, name, size in ((smoltrain.train, "write_segment", 2000), (smoltrain.checkpoint, "save", 20000)):
    child(out / f"full-{size}", limit_at, module, name, size)
    assert not list(out.rglob("*.tmp-*"))
    assert child(out / f"full-{size}", nothing) == 0
"""


@pytest.fixture(scope="module")
def broken(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Run into kills and full disks, and go on each time; return the folder of the runs and what was said."""
    out = tmp_path_factory.mktemp("broken")
    settings = json.dumps(asdict(settings_for(bundle)))
    command = [sys.executable, "-c", DRIVER, str(bundle.folder), str(out), settings]
    # The same number of threads, without which the last bits may differ.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    seen = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert seen.returncode == 0, seen.stderr
    return out, seen.stdout.splitlines()


def test_a_run_stopped_anywhere_ends_with_the_same_bytes(
    finished: Result, broken: tuple[Path, list[str]]
) -> None:
    runs = sorted(broken[0].iterdir())
    assert len(runs) == 9
    wanted = run_bytes(finished.run)
    for run in runs:
        assert run_bytes(run) == wanted, run.name


def test_a_refused_write_names_the_file_and_the_reason(broken: tuple[Path, list[str]]) -> None:
    out, (ledger, weights) = broken
    assert ledger.startswith(
        f"cannot write {out}/full-2000/ledger/steps-0000000-0000005.parquet: the file would"
    )
    assert weights.startswith(f"cannot write {out}/full-20000/checkpoints/step-0000005: the file would")


def run_bytes(run: Path) -> dict[str, object]:
    """Return what a run wrote: the log without its timings, hashes of all else."""
    found: dict[str, object] = {}
    for path in sorted(path for path in run.rglob("*") if path.is_file() and path.name != ".lock"):
        found[str(path.relative_to(run))] = xxh3_128(path)
    timings = ("seconds", "tokens_per_second")
    rows = read_log(run / "log.jsonl")
    found["log.jsonl"] = [{key: value for key, value in row.items() if key not in timings} for row in rows]
    return found
