"""nanotron's configuration: published settings reproduced, the batch shared out exactly, rules enforced."""

import copy
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from smoldata.errors import InputError
from smolmix.nanotron import SHARDS_FOLDER, Launch, emit
from smolmix.nanotron_schema import NanotronConfig, load_config, parse_config

STEPS = {"stage1": 3_450_000, "stage2": 748_000, "stage3": 522_000}
WEIGHTS = {"dclm": Fraction(74, 201), "finemath-4plus": Fraction(1, 3), "fineweb-edu": Fraction(60, 201)}


def full_plan(
    name: str, before: dict[str, Any] | None, *, steps: int, sequence: int = 4096, batch: int = 576
) -> dict[str, Any]:
    """Give a plan of the published size, by hand."""
    start = before["start_step"] + before["steps"] if before else 0
    windows = steps * batch
    sources = [
        {"name": source, "weight": str(weight), "windows": int(weight * windows), "offset_windows": 0,
         "status": "virtual",
         "capacity_windows": None}
        for source, weight in WEIGHTS.items()
    ]  # fmt: skip
    return {
        "name": name, "preset": "released", "unit": "windows", "sequence_length": sequence,
        "batch_windows": batch, "steps": steps, "start_step": start, "seed": 6,
        "follows": before and {"name": before["name"], "lock": before["lock"]["hash"]},
        "tokenizer": {"name": "llama-3.2", "sha256": "f" * 64, "eos_id": 128001, "token_width": 4,
                      "vocab_size": 128256},
        "sources": sources, "lock": {"hash": name.ljust(32, "0")},
    }  # fmt: skip


@pytest.fixture
def released() -> list[Any]:
    plans: list[Any] = []
    for name, steps in STEPS.items():
        plans.append(full_plan(name, plans[-1] if plans else None, steps=steps))
    return plans


def test_the_released_stages_come_out_as_published(released: list[Any]) -> None:
    config = emit(released[2], released[:2]).config
    assert [stage.start_training_step for stage in config.data_stages] == [1, 3_450_001, 4_198_001]
    schedule = config.optimizer.learning_rate_scheduler
    assert (schedule.lr_decay_starting_step, schedule.lr_decay_steps) == (4_198_001, 522_000)
    assert (schedule.learning_rate, schedule.lr_warmup_steps) == (2e-4, 2000)
    assert (config.parallelism.dp, config.tokens.micro_batch_size) == (192, 3)
    assert config.tokens.batch_accumulation_per_replica == 1
    assert (config.gpus, config.batch_windows, config.tokens.train_steps) == (384, 576, 4_720_000)
    for stage, earlier in ((0, 0), (1, 1)):
        one = emit(released[stage], released[:earlier]).config
        assert one.optimizer.learning_rate_scheduler == schedule
        assert one.tokens.train_steps == sum(list(STEPS.values())[: stage + 1])


def test_notes_carry_the_numbers_of_the_stock_loader(released: list[Any]) -> None:
    notes = {note.code: note.message for note in emit(released[2], released[:2]).notes}
    assert "27.2 GB each" in notes["index-memory"]  # 10 bytes x 4,720,000 steps x 576 windows
    assert "consumption-record" in notes
    released[0]["sources"][0]["capacity_windows"] = released[0]["sources"][0]["windows"] // 3
    notes = {note.code: note.message for note in emit(released[0]).notes}
    assert "up to 4 times: dclm" in notes["repeats-linked"]


def test_long_context_is_a_new_lineage(released: list[Any]) -> None:
    long = full_plan("long_context_32k", released[2], steps=20_000, sequence=32_768, batch=72)
    config = emit(long, released).config
    assert [stage.start_training_step for stage in config.data_stages] == [1]
    assert (config.gpus, config.tokens.batch_accumulation_per_replica) == (96, 6)
    assert config.tokens.train_steps == 20_000
    schedule = config.optimizer.learning_rate_scheduler
    assert (schedule.lr_warmup_steps, schedule.lr_decay_starting_step, schedule.lr_decay_steps) == (
        1000,
        1000,
        19_000,
    )
    assert not config.checkpoints.load_optimizer
    assert config.checkpoints.resume_checkpoint_path == "checkpoints/stage3"
    model = config.model.architecture
    assert (model.rope_theta, model.max_position_embeddings) == (2_000_000.0, 32_768)
    assert model.attn_implementation == "llama3_ring_attention"


def test_mid_training_goes_on_from_the_long_context_model(released: list[Any]) -> None:
    before = [*released, full_plan("long_context_64k", released[2], steps=22_000, sequence=65_536, batch=36)]
    mid = full_plan("mid", before[-1], steps=33_378, sequence=32_768, batch=128)
    config = emit(mid, before).config
    assert config.gpus == 64
    assert config.model.architecture.rope_theta == 5_000_000.0
    optimizer = config.optimizer
    assert (optimizer.clip_grad, optimizer.weight_decay) == (0.2, 0.0)
    schedule = optimizer.learning_rate_scheduler
    assert (schedule.lr_warmup_steps, schedule.lr_decay_starting_step) == (1002, 1002)  # 3 %, rounded up
    assert (schedule.learning_rate, schedule.min_decay_lr, schedule.lr_decay_style) == (2e-5, 2e-6, "cosine")
    assert config.parallelism.recompute_layer


def test_weights_and_folders_come_from_the_plan(stage2_plan: dict[str, Any], built: Path) -> None:
    stage1 = yaml.safe_load((built / "sample/plans/stage1-blog/plan.json").read_text("utf-8"))
    emitted = emit(stage2_plan, [stage1], Launch(model="debug"))
    dataset = emitted.config.data_stages[-1].data.dataset
    assert dataset.dataset_folder == [
        f"{SHARDS_FOLDER}/{one}" for one in ("dclm", "finemath-4plus", "stack-edu-python")
    ]
    assert dataset.dataset_weights == [0.75, 0.1, 0.15]
    assert (dataset.token_size_in_bytes, dataset.vocab_size) == (2, 257)
    assert emitted.config.model.architecture.eos_token_id == 256
    assert {note.code for note in emitted.notes} >= {"tokenizer-name", "loader-order"}
    assert load_text(emitted.text) == emitted.config


def load_text(text: str) -> NanotronConfig:
    return parse_config(yaml.safe_load(text))


@given(dp=st.integers(1, 64), each=st.integers(1, 64))
def test_gpus_share_the_batch_exactly(dp: int, each: int) -> None:
    plan = full_plan("stage1", None, steps=10, batch=dp * each)
    config = emit(plan, (), Launch(gpus=2 * dp)).config
    assert config.batch_windows == dp * each
    assert config.gpus == 2 * dp
    assert config.tokens.micro_batch_size <= 3


def test_gpus_that_do_not_fit_are_refused_with_those_that_do(released: list[Any]) -> None:
    with pytest.raises(InputError, match=r"7 GPUs cannot share 576.*2, 4, 6, 8, 12"):
        emit(released[0], (), Launch(gpus=7))


def test_plans_that_do_not_follow_are_refused(released: list[Any]) -> None:
    with pytest.raises(InputError, match="stage3 follows stage2"):
        emit(released[2], released[:1])
    changed = copy.deepcopy(released)
    changed[0]["lock"]["hash"] = "other"
    with pytest.raises(InputError, match="stage2 follows stage1"):
        emit(changed[1], changed[:1])


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        (("tokens", "micro_batch_sise"), 3, "micro_batch_sise"),
        (("tokens", "train_steps"), "many", "train_steps"),
        (("tokens", "train_steps"), 1, "after train_steps"),
        (("tokenizer", "tokenizer_name_or_path"), "other", "tokenizer_name"),
        (("model", "model_config", "vocab_size"), 100, "vocab_size"),
        (("model", "model_config", "no_rope_layer"), 5, "no_rope_layer"),
        (("model", "model_config", "_use_qkv_packed"), False, "_use_qkv_packed"),
        (("parallelism", "tp"), 3, "tp 3"),
        (("model", "dtype"), "float32", "accumulate_grad_in_fp32"),
    ],
)
def test_a_wrong_configuration_is_refused(
    released: list[Any], path: tuple[str, ...], value: object, wanted: str
) -> None:
    values = yaml.safe_load(emit(released[1], released[:1]).text)
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(InputError, match=wanted):
        parse_config(values)


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [", "utf-8")
    with pytest.raises(InputError, match=r"x\.yaml"):
        load_config(tmp_path / "x.yaml")


NANOTRON = os.environ.get("NANOTRON")
NEEDS = (
    "make test-nanotron NANOTRON=<checkout of branch smollm3, with its own environment in NANOTRON_PYTHON>"
)


@pytest.mark.nanotron
@pytest.mark.skipif(not NANOTRON, reason=f"needs nanotron: {NEEDS}")
def test_nanotron_itself_reads_what_we_write(released: list[Any], tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.yaml").write_text(emit(released[number], released[:number]).text, "utf-8")
    long = full_plan("long_context_32k", released[2], steps=20_000, sequence=32_768, batch=72)
    (tmp_path / "3.yaml").write_text(emit(long, released).text, "utf-8")
    script = (
        "import sys; from nanotron.config import get_config_from_file\n"
        "for path in sys.argv[1:]:\n"
        "    config = get_config_from_file(path)\n"
        "    print(config.global_batch_size, config.tokens.train_steps, len(config.data_stages))\n"
    )
    environment = os.environ | {
        "PYTHONPATH": f"{NANOTRON}/src" + os.pathsep + os.environ.get("PYTHONPATH", "")
    }
    done = subprocess.run(
        [os.environ.get("NANOTRON_PYTHON", sys.executable), "-c", script,
         *(str(tmp_path / f"{number}.yaml") for number in range(4))],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()[-4:]] == [
        ["576", "3450000", "1"], ["576", "4198000", "2"], ["576", "4720000", "3"], ["72", "20000", "1"],
    ]  # fmt: skip


@pytest.mark.nanotron
@pytest.mark.skipif(not os.environ.get("SMOLLM"), reason="needs SMOLLM=<checkout of huggingface/smollm>")
def test_the_five_official_files_fit_our_schema() -> None:
    folder = Path(os.environ["SMOLLM"]) / "text/pretraining/smollm3"
    configs = [load_config(path) for path in sorted(folder.glob("*.yaml"))]
    assert sorted((one.gpus, one.batch_windows, len(one.data_stages)) for one in configs) == [
        (96, 36, 1), (96, 72, 1), (384, 576, 1), (384, 576, 2), (384, 576, 3),
    ]  # fmt: skip
