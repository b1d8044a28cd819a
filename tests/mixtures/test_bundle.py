"""The bundle: whole, the same bytes twice, hashes of what is on disk, and when each shard is due."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from smoldata.errors import InputError, IntegrityError
from smolmix.bundle import Digest, digest_file, write_bundle
from smolmix.nanotron import Launch
from smolmix.nanotron_schema import load_config
from smolmix.nanotron_shards import link_shards
from smolmix.plan import load_plan

DEBUG = Launch(model="debug")


def hand_off(build: Path, stage: str = "stage2-blog") -> Path:
    sample = build / "sample"
    return write_bundle(
        sample / "plans" / stage, sample / "bundles" / stage, recipe=b"name: stage2\n", launch=DEBUG
    )


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_bundle_has_its_files_and_names_them(own_build: Path) -> None:
    bundle = hand_off(own_build)
    seen = contents(bundle)
    assert set(seen) == {
        "bundle.json", "plan/plan.json", "plan/shards.parquet", "shards.parquet", "nanotron.yaml",
        "train.sbatch", "recipe.yaml", "README.md",
    }  # fmt: skip
    index = json.loads((bundle / "bundle.json").read_text("utf-8"))
    assert {one["path"]: one["sha256"] for one in index["files"]} == {
        name: digest for name, digest in seen.items() if name != "bundle.json"
    }
    plan = own_build / "sample/plans/stage2-blog"
    for name in ("plan.json", "shards.parquet"):
        assert (bundle / "plan" / name).read_bytes() == (plan / name).read_bytes()
    assert (bundle / "recipe.yaml").read_bytes() == b"name: stage2\n"
    assert str(own_build) not in "".join(
        path.read_text("utf-8")
        for path in bundle.iterdir()
        if path.suffix in {".yaml", ".md", ".sbatch", ".json"}
    )


def test_twice_gives_the_same_bytes_and_no_leftovers(own_build: Path) -> None:
    bundle = hand_off(own_build)
    first = contents(bundle)
    (bundle / "stray").write_text("from an older run", "utf-8")
    leftover = bundle.with_name(bundle.name + ".tmp-1")
    leftover.mkdir()
    assert contents(hand_off(own_build)) == first
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_shards_carry_hashes_and_paths_of_what_is_on_disk(own_build: Path) -> None:
    bundle = hand_off(own_build)
    rows = pq.read_table(bundle / "shards.parquet").to_pylist()
    assert len(rows) == 6
    for row in rows:
        data = (bundle / row["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (row["bytes"], row["sha256"])


def test_first_step_is_the_first_step_that_opens_the_shard(own_build: Path) -> None:
    bundle = hand_off(own_build)
    plan = load_plan(bundle / "plan")
    opened: dict[tuple[str, int], int] = {}
    for index in range(plan.windows):
        sample = plan.at(index)
        opened.setdefault((sample.source, sample.shard), index // plan.batch_windows)
    rows = pq.read_table(bundle / "shards.parquet").to_pylist()
    assert {(row["source"], row["ordinal"]): row["first_step"] for row in rows} == {
        (row["source"], row["ordinal"]): opened.get((row["source"], row["ordinal"])) for row in rows
    }
    assert len(opened) >= 3


def test_a_shard_that_changed_is_refused_and_nothing_is_written(own_build: Path) -> None:
    shard = own_build / "sample/tokens/bytes/dclm/00001.ds"
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"dclm/00001\.ds changed after tokenizing"):
        hand_off(own_build)
    assert not (own_build / "sample/bundles").exists() or not list((own_build / "sample/bundles").iterdir())
    shard.unlink()
    with pytest.raises(IntegrityError, match=r"dclm/00001\.ds is in the plan but not on disk"):
        hand_off(own_build)


def test_a_shard_is_hashed_once_for_all_bundles_and_again_when_its_time_changes(
    own_build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path) -> Digest:
        if path.suffix == ".ds":
            read.append(path.name)
        return digest_file(path)

    monkeypatch.setattr("smolmix.bundle.digest_file", counted)
    first = contents(hand_off(own_build))
    assert len(read) == 6
    assert contents(hand_off(own_build)) == first
    hand_off(own_build, "stage1-blog")
    assert len(read) == 6
    (own_build / "sample/tokens/bytes/dclm/00001.ds").touch()
    assert contents(hand_off(own_build)) == first
    assert len(read) == 7


def test_a_missing_earlier_plan_is_named(own_build: Path) -> None:
    shutil.rmtree(own_build / "sample/plans/stage1-blog")
    with pytest.raises(InputError, match="stage2 follows stage1"):
        hand_off(own_build)


def test_a_failure_half_way_keeps_the_bundle_that_was_there(
    own_build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = hand_off(own_build)
    before = contents(bundle)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("smolmix.bundle._write_index", full_disk)
    with pytest.raises(OSError, match="disk is full"):
        hand_off(own_build)
    assert contents(bundle) == before
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_the_configuration_names_both_stages(own_build: Path) -> None:
    config = load_config(hand_off(own_build) / "nanotron.yaml")
    assert [(stage.name, stage.start_training_step) for stage in config.data_stages] == [
        ("stage1", 1), ("stage2", 41),
    ]  # fmt: skip
    assert config.tokens.train_steps == 60
    assert config.checkpoints.resume_checkpoint_path == "checkpoints/stage1"


def test_the_script_is_clean_shell(own_build: Path) -> None:
    bundle = hand_off(own_build)
    script = bundle / "train.sbatch"
    text = script.read_text("utf-8")
    assert "%{" not in text
    assert "set -euo pipefail" in text
    assert '"$SMOLMIX" verify "$BUNDLE"' in text
    assert "#SBATCH --nodes=1\n" in text
    assert "%{" not in (bundle / "README.md").read_text("utf-8")
    subprocess.run(["bash", "-n", script], check=True)
    if not (shellcheck := shutil.which("shellcheck")):
        pytest.skip("shellcheck is not installed (bash -n passed): apt-get install shellcheck")
    subprocess.run([shellcheck, "--shell=bash", script], check=True)


def test_the_script_refuses_to_start_without_its_variables(own_build: Path) -> None:
    script = hand_off(own_build) / "train.sbatch"
    done = subprocess.run(
        ["bash", script], capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}
    )
    assert done.returncode != 0
    assert "set BUNDLE to the folder of the bundle" in done.stderr


def test_links_hold_every_window_that_nanotron_will_draw(own_build: Path, tmp_path: Path) -> None:
    bundle = hand_off(own_build)
    plan = load_plan(bundle / "plan")
    link_shards(bundle, tmp_path)
    folders = yaml.safe_load((bundle / "nanotron.yaml").read_text("utf-8"))["data_stages"][1]["data"][
        "dataset"
    ]
    for folder in folders["dataset_folder"]:
        files = sorted((tmp_path / folder).iterdir())
        source = plan.source(Path(folder).name)
        assert all(file.is_symlink() and file.is_file() and file.suffix == ".ds" for file in files)
        windows = sum(file.stat().st_size // 2 // 513 for file in files)
        assert windows >= source.offset_windows + source.windows
        last = files[-1].stat().st_size // 2 // 513
        assert windows - last < source.offset_windows + source.windows


def test_links_follow_the_plans_order_of_shards_and_grow_from_stage_to_stage(
    own_build: Path, tmp_path: Path
) -> None:
    link_shards(hand_off(own_build, "stage1-blog"), tmp_path)
    stage1 = {path: path.resolve() for path in (tmp_path / "s3-shards").rglob("*.ds")}
    bundle = hand_off(own_build)
    link_shards(bundle, tmp_path)
    stage2 = {path: path.resolve() for path in (tmp_path / "s3-shards").rglob("*.ds")}
    assert stage1.items() <= stage2.items()
    plan = load_plan(own_build / "sample/plans/stage1-blog")
    opened = dict.fromkeys(
        (sample.pass_, sample.shard)
        for sample in map(plan.at, range(plan.windows))
        if sample.source == "dclm"
    )
    linked = [path.resolve().name for path in sorted((tmp_path / "s3-shards/dclm").iterdir())]
    assert linked[: len(opened)] == [f"{shard:05d}.ds" for _, shard in opened]


def _fake_cluster(folder: Path) -> dict[str, str]:
    """Stand-ins for Slurm on the path: srun runs the command once, torchrun prints what it was given."""
    folder.mkdir()
    programs = {
        "srun": 'shift; exec "$@"',
        "scontrol": "echo node-0",
        "torchrun": 'echo torchrun "$@"; for one in "$@"; do config=$one; done; cat "$config"',
        "smolmix": 'echo smolmix "$@"',
    }
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n", "utf-8")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_NNODES": "1", "SLURM_PROCID": "0",
            "SLURM_JOB_NODELIST": "node-0"}  # fmt: skip


def test_the_script_runs_preflight_links_and_launch_and_resumes(own_build: Path, tmp_path: Path) -> None:
    bundle = hand_off(own_build)
    run = tmp_path / "run"
    (tmp_path / "data").mkdir()
    variables = {
        "BUNDLE": os.path.relpath(bundle),
        "RUN": str(run),
        "NANOTRON": "/",
        "DATA": str(tmp_path / "data"),
    }
    environment = _fake_cluster(tmp_path / "bin") | variables

    def launch() -> subprocess.CompletedProcess[str]:
        command = ["bash", bundle / "train.sbatch"]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    missing = launch()
    assert missing.returncode == 1
    assert "checkpoints/stage1 is missing" in missing.stderr
    (run / "checkpoints/stage1").mkdir(parents=True)
    first = launch()
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    assert lines[0] == f"smolmix verify {bundle} --root {tmp_path}/data"
    assert lines[1] == f"smolmix link-shards {bundle} --root {tmp_path}/data --into ."
    assert lines[2].endswith(f" //run_train.py --config-file {bundle}/nanotron.yaml")
    assert "--nproc_per_node=1 --nnodes=1 --node_rank=0 --master_addr=node-0" in lines[2]
    (run / "checkpoints/stage2").mkdir()
    (run / "checkpoints/stage2/latest.txt").write_text("50", "utf-8")
    again = yaml.safe_load("\n".join(launch().stdout.splitlines()[3:]))
    assert again["checkpoints"]["resume_checkpoint_path"] == "checkpoints/stage2"
    before = yaml.safe_load((bundle / "nanotron.yaml").read_text("utf-8"))
    assert {key: value for key, value in again.items() if key != "checkpoints"} == {
        key: value for key, value in before.items() if key != "checkpoints"
    }


KILLED = """
import os, sys
from pathlib import Path
left = int(sys.argv[2])
def count(real):
    def wrapped(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return real(*args, **kwargs)
    return wrapped
for name in ("rename", "replace"):
    setattr(Path, name, count(getattr(Path, name)))
from smolmix.bundle import Digest, digest_file, write_bundle
from smolmix.nanotron import Launch
sample = Path(sys.argv[1]) / "sample"
name = "stage2-blog"
launch = Launch(model="debug")
write_bundle(sample / "plans" / name, sample / "bundles" / name, recipe=b"name: stage2\\n", launch=launch)
"""


def test_killed_at_any_rename_the_next_run_gives_the_same_bytes(own_build: Path) -> None:
    bundle = hand_off(own_build)
    whole = contents(bundle)
    # One renaming a file, one of the old folder, one of the new; a kill before each of the last four.
    for left in (0, 6, 7, 8):
        command = [sys.executable, "-c", KILLED, str(own_build), str(left)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 9, done.stderr
        assert not bundle.exists() or contents(bundle) == whole
        assert contents(hand_off(own_build)) == whole
        assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]
