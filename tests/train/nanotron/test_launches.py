"""Launches: the configuration keeps nanotron's rules, commands are what a person types, faults are named."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.train.nanotron.conftest import write_checkpoint
from typer.testing import CliRunner

from smoldata.errors import InputError
from smoltrain.cli import app
from smoltrain.nanotron import commands, probe
from smoltrain.nanotron.doctor import Finding, examine, sources_digest
from smoltrain.nanotron.settings import changed, prepare

if TYPE_CHECKING:
    from tests.train.nanotron.conftest import Curriculum


def test_a_first_stage_begins_with_random_weights_and_opens_no_folder(
    curriculum: "Curriculum", tmp_path: Path
) -> None:
    launch = prepare(curriculum.bundles["one"], tmp_path)
    assert (launch.stage, launch.resumes) == ("one", None)
    written = yaml.safe_load(launch.file.read_text("utf-8"))
    assert [stage["data"]["dataset"] for stage in written["data_stages"]] == [None]
    assert "s3" not in launch.file.read_text("utf-8")
    stock = prepare(curriculum.bundles["one"], tmp_path, loader="stock")
    assert yaml.safe_load(stock.file.read_text("utf-8"))["data_stages"][0]["data"]["dataset"][
        "dataset_folder"
    ]


def test_a_later_stage_goes_on_from_the_one_before_or_is_refused(
    curriculum: "Curriculum", tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"two goes on from .*checkpoints/one.*no checkpoint"):
        prepare(curriculum.bundles["two"], tmp_path)
    write_checkpoint(tmp_path / "checkpoints/one/20")
    launch = prepare(curriculum.bundles["two"], tmp_path)
    assert launch.resumes == "checkpoints/one/20"
    stages = launch.config.data_stages
    assert [(one.name, one.start_training_step) for one in stages] == [("one", 1), ("two", 21)]


def test_a_second_launch_goes_on_from_the_stages_own_checkpoint_with_its_schedule(
    curriculum: "Curriculum", tmp_path: Path
) -> None:
    for name in ("one/20", "two/30"):
        write_checkpoint(tmp_path / "checkpoints" / name)
    fresh = ("checkpoints.load_optimizer=false", "checkpoints.load_lr_scheduler=false")
    launch = prepare(curriculum.bundles["two"], tmp_path, changes=fresh)
    assert launch.resumes == "checkpoints/two/30"
    assert launch.config.checkpoints.load_optimizer
    assert launch.config.checkpoints.load_lr_scheduler


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tokens.train_stepz=3", "train_stepz"),
        ("tokens.train_steps", "write it as"),
        ("nothing.there=1", "no such place"),
        ("data_stages.7.name=x", "no such place"),
        ("tokens.train_steps=[", "is not YAML"),
    ],
)
def test_changes_that_do_not_fit_are_named(
    curriculum: "Curriculum", tmp_path: Path, change: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prepare(curriculum.bundles["one"], tmp_path, changes=[change])


def test_changes_reach_into_lists() -> None:
    assert changed({"a": [{"b": 1}]}, ["a.0.b=2.5"]) == {"a": [{"b": 2.5}]}


def test_the_plan_prints_both_ways_and_the_slurm_script_is_sound(
    curriculum: "Curriculum", tmp_path: Path
) -> None:
    bundle, script = curriculum.bundles["two"], tmp_path / "exact.sbatch"
    words = ["nanotron", "plan", str(bundle), "--nanotron", "nt", "--run", str(tmp_path / "run")]
    words += ["--sbatch", str(script), "--set", "parallelism.dp=6", "--set", "tokens.micro_batch_size=1"]
    words += ["--set", "tokens.batch_accumulation_per_replica=1", "--gpus-per-node", "2"]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["first_step"], facts["last_step"]) == (21, 40)
    assert (facts["nodes"], facts["gpus_per_node"], facts["resumes_from"]) == (3, 2, "checkpoints/one")
    assert "run_train.py --config-file" in facts["commands"]["stock"]
    assert "-m smoltrain.nanotron.launch --bundle" in facts["commands"]["plan"]
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    text = script.read_text("utf-8")
    assert "#SBATCH --nodes=3\n" in text
    assert '--node_rank="$SLURM_PROCID"' in text
    looked, started = text.index("-m smoltrain.nanotron.checkpoints"), text.index("srun ")
    assert looked < started  # a job that is started again looks first what it goes on from
    shown = CliRunner().invoke(app, words).stdout
    assert "smolmix link-shards" in shown
    assert "sbatch exact.sbatch" in shown


def test_a_far_store_and_the_bound_of_its_cache_reach_every_rank(
    curriculum: "Curriculum", tmp_path: Path
) -> None:
    words = ["nanotron", "plan", str(curriculum.bundles["one"]), "--nanotron", "nt", "--run", str(tmp_path)]
    words += ["--root", "s3://bucket/run", "--cache", str(tmp_path / "cache"), "--cache-gb", "250"]
    far = f"--root s3://bucket/run --cache {tmp_path / 'cache'} --cache-gb 250.0"
    facts = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert facts["commands"]["plan"].endswith(far)
    assert far in CliRunner().invoke(app, words).stdout  # the commands to type as well


def test_more_nodes_than_one_are_not_started_here(curriculum: "Curriculum", tmp_path: Path) -> None:
    words = ["nanotron", "run", str(curriculum.bundles["one"]), "--nanotron", "nt", "--run", str(tmp_path)]
    result = CliRunner().invoke(app, [*words, "--set", "parallelism.dp=3", "--gpus-per-node", "2"])
    assert isinstance(result.exception, InputError)
    assert "3 GPUs, 2 nodes of 2" in str(result.exception)


def test_our_packages_are_on_the_path_of_the_launch(tmp_path: Path) -> None:
    place = commands.Place(tmp_path, tmp_path / "nt", tmp_path, "python")
    made = commands.environment(place, {"PYTHONPATH": "mine", "WANDB_MODE": "online"})
    script = (
        "from importlib.util import find_spec as f; assert all(map(f, ('smoltrain', 'smolmix', 'smoldata')))"
    )
    isolated = [sys.executable, "-S", "-c", script]
    assert subprocess.run(isolated, env={**os.environ, **made}, check=False).returncode == 0
    assert made["PYTHONPATH"].endswith("mine")
    assert (made["WANDB_MODE"], made["CUDA_DEVICE_MAX_CONNECTIONS"]) == ("online", "1")


@pytest.fixture
def nothing_there(tmp_path: Path) -> Path:
    """Return a checkout whose sources are others and cannot be imported."""
    folder = tmp_path / "nanotron" / "src" / "nanotron"
    folder.mkdir(parents=True)
    (folder / "trainer.py").write_text("raise ImportError('of flash_attn')\n")
    (folder / "__init__.py").write_text("")
    return tmp_path / "nanotron"


def test_the_doctor_names_each_thing_that_is_missing_and_what_to_do(nothing_there: Path) -> None:
    found = {one.what: one for one in examine(nothing_there, sys.executable)}
    assert found["nanotron's sources"].state == "note"
    assert "git -C" in found["nanotron's sources"].fix
    trainer = found["import nanotron.trainer"]
    assert (trainer.state, trainer.seen) == ("missing", "ImportError: of flash_attn")
    assert found["our loader: trainer"].state == "missing"
    assert found["our loader: libraries"] == Finding(
        "our loader: libraries", "ok", f"{', '.join(probe.OURS)} are there"
    )
    # datatrove as the registry has it does not take what nanotron passes.
    assert "does not take" in found["stock loader: datatrove"].seen
    assert "avoid-s3" in found["stock loader: datatrove"].fix
    assert all(one.fix for one in found.values() if one.state == "missing")


def test_the_doctor_refuses_what_is_no_checkout_and_no_python(nothing_there: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkout of nanotron"):
        examine(tmp_path, sys.executable)
    with pytest.raises(InputError, match="does not start"):
        examine(nothing_there, str(tmp_path / "python"))


def test_the_digest_of_sources_sees_every_byte_and_name(nothing_there: Path) -> None:
    before = sources_digest(nothing_there)
    (nothing_there / "src/nanotron/trainer.py").write_text("raise ImportError('of flash_attm')\n")
    changed_byte = sources_digest(nothing_there)
    (nothing_there / "src/nanotron/trainer.py").rename(nothing_there / "src/nanotron/trainer2.py")
    assert len({before, changed_byte, sources_digest(nothing_there)}) == 3


@pytest.mark.nanotron
def test_the_doctor_knows_the_pinned_commit(checkout: Path) -> None:
    python = os.environ.get("NANOTRON_PYTHON", sys.executable)
    found = {one.what: one for one in examine(checkout, python)}
    assert found["nanotron's sources"].state == "ok"
    assert found["stock loader: datatrove"].state == "ok"
