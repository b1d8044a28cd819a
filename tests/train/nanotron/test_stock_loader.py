"""nanotron's own loader: the windows that we say it reads, and stages that it goes on to by itself."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from smolmix.bundle import write_bundle
from smolmix.nanotron import Launch
from smolmix.nanotron_blend import blend
from smolmix.nanotron_schema import load_config
from smolmix.nanotron_shards import link_shards
from smoltrain.bundle import open_bundle
from smoltrain.windows import targets

if TYPE_CHECKING:
    from tests.conftest import SmallHouse
    from tests.train.nanotron.conftest import Curriculum, Start

pytestmark = pytest.mark.nanotron
HARNESS = Path(__file__).with_name("cpu.py")
WINDOWS = 1000
SCRIPT = """
import sys
import numpy as np
from nanotron.config import get_config_from_file
from nanotron.data.tokenized_bytes import get_tb_dataloader, get_tb_datasets
from nanotron.parallel import ParallelContext

config_file, windows, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
config = get_config_from_file(config_file)
groups = ParallelContext(tensor_parallel_size=1, pipeline_parallel_size=1, data_parallel_size=1)
batch, length = config.global_batch_size, config.tokens.sequence_length
dataset = config.data_stages[0].data.dataset
blended, _ = get_tb_datasets(
    config=dataset, global_batch_size=batch, sequence_length=length, train_steps=config.tokens.train_steps,
    current_iteration=0, parallel_context=groups, eos_token_id=config.model.model_config.eos_token_id,
    seed=config.data_stages[0].data.seed, consumed_samples=0, consumed_tokens_per_dataset_folder={},
    last_stages_consumed_tokens_per_dataset_folder={},
)
loader = get_tb_dataloader(
    dataset=blended, sequence_length=length, micro_batch_size=config.tokens.micro_batch_size,
    global_batch_size=batch, cfg=dataset, num_workers=0, consumed_samples=0,
    num_samples=config.tokens.train_steps * batch, parallel_context=groups, input_pp_rank=0, output_pp_rank=0,
    dataloader_pin_memory=False, use_position_ids=True, use_doc_masking=True,
)
parts, seen = [], 0
for micro in loader:
    parts.append({key: np.asarray(value) for key, value in micro.items()})
    seen += len(parts[-1]["input_ids"])
    if seen >= windows:
        break
np.savez(out, **{key: np.concatenate([part[key] for part in parts])[:windows] for key in parts[0]})
"""


def test_the_first_thousand_windows_are_those_that_we_simulate(
    small_house: "SmallHouse", checkout: Path, tmp_path: Path
) -> None:
    bundle = write_bundle(
        small_house.build / "plans/trial",
        tmp_path / "trial",
        recipe=b"x",
        launch=Launch(model="debug", gpus=1),
    )
    link_shards(bundle, tmp_path)
    stock = read_stock(bundle, checkout, tmp_path)
    mine = simulated(bundle, tmp_path)
    assert len(stock["input_ids"]) == WINDOWS
    for key, wanted in mine.items():
        assert stock[key].dtype.kind == wanted.dtype.kind
        assert np.array_equal(stock[key], wanted), key
    assert not mine["label_mask"].all()  # documents end inside windows


def read_stock(bundle: Path, checkout: Path, run: Path) -> dict[str, np.ndarray]:
    """Return what the real loader yields, read in nanotron's own environment."""
    script, out = run / "read.py", run / "stock.npz"
    script.write_text(SCRIPT, "utf-8")
    root = Path(__file__).resolve().parents[3]
    paths = [str(checkout / "src"), *(str(root / name) for name in ("data", "tokenize", "mixtures", "train"))]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    python = os.environ.get("NANOTRON_PYTHON", sys.executable)
    words = [
        python,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=1",
        str(HARNESS),
        str(script),
    ]
    words += [str(bundle / "nanotron.yaml"), str(WINDOWS), str(out)]
    done = subprocess.run(words, cwd=run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    with np.load(out) as arrays:
        return dict(arrays)


def simulated(bundle: Path, run: Path) -> dict[str, np.ndarray]:
    """Return the same windows by our account: greedy blend, links in the order of their names, our masks."""
    config, opened = load_config(bundle / "nanotron.yaml"), open_bundle(bundle)
    dataset = config.data_stages[0].data.dataset
    assert dataset.dataset_weights is not None
    order = blend(dataset.dataset_weights, config.tokens.train_steps * config.batch_windows)
    rows = {name: folder_windows(run / name, opened.sequence_length + 1) for name in dataset.dataset_folder}
    chosen = [
        rows[dataset.dataset_folder[folder]][place]
        for folder, place in zip(order.folder[:WINDOWS], order.place[:WINDOWS], strict=True)
    ]
    made = targets(np.stack(chosen), opened.eos_id)
    return {
        "input_ids": made.ids,
        "position_ids": made.positions.astype(np.int64),
        "label_ids": made.labels,
        "label_mask": made.mask,
    }


def folder_windows(folder: Path, length: int) -> np.ndarray:
    """Return the windows of a folder of links as nanotron counts them."""
    files = [np.fromfile(link, "<u2") for link in sorted(folder.iterdir())]
    return np.concatenate([ids[: ids.size // length * length].reshape(-1, length) for ids in files])


def test_its_own_launch_goes_from_stage_to_stage(
    curriculum: "Curriculum", start: "Start", tmp_path: Path
) -> None:
    """run_train.py as it is, on our configuration and links: stage two goes on from the checkpoint of one."""
    run = tmp_path / "run"
    for name, steps in (("one", 20), ("two", 40)):
        bundle = curriculum.bundles[name]
        link_shards(bundle, run)
        printed = start(bundle, loader="stock")
        assert f"iteration: {steps} / {steps}" in printed
        metadata = json.loads(
            (run / f"checkpoints/{name}/{steps}/checkpoint_metadata.json").read_text("utf-8")
        )
        stages = metadata["metas"]["data_stages"]
        assert [stage["consumed_train_samples"] for stage in stages] == [120] * len(stages)
        assert stages[-1]["name"] == name
    config = load_config(curriculum.bundles["one"] / "nanotron.yaml").data_stages[0].data.dataset
    assert config.dataset_weights is not None
    counts = blend(config.dataset_weights, 20 * 6).counts.tolist()
    wanted = {folder: 64 * count for folder, count in zip(config.dataset_folder, counts, strict=True)}
    assert stages[0]["consumed_tokens_per_dataset_folder"] == wanted
