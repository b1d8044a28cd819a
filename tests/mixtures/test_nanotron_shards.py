"""Links for nanotron: its own folder dataset, when a checkout is there, reads what we say it reads."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smoldata.errors import InputError
from smolmix.bundle import write_bundle
from smolmix.nanotron_shards import link_shards
from smolmix.plan import load_plan
from smolmix.plan_files import write_plan
from smolmix.planner import plan_stage
from smolmix.recipe import load_recipe
from smolmix.sources import supply_from_manifests

SOURCES = ("asyncio", "email", "idlelib", "json")
NANOTRON = os.environ.get("NANOTRON")
SCRIPT = """
import json, sys
import torch.distributed as dist
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/store", rank=0, world_size=1)
from nanotron.data.tokenized_bytes import build_dataset
for folder in sys.argv[2:]:
    dataset = build_dataset(folder, 512, token_size=2, return_positions=True, eos_token_id=256,
                            use_old_brrr_dataloader=False, skip_in_stream=False)
    rows = [[int(x) for x in dataset[i]["input_ids"][:8]] for i in range(len(dataset))]
    print(json.dumps([folder, rows]))
"""


@pytest.fixture
def linked(catalogued: Path, tmp_path: Path) -> Path:
    link_shards(catalogued / "sample/bundles/stage2-blog", tmp_path)
    return tmp_path


def test_each_source_of_the_stage_has_a_folder_of_working_links(catalogued: Path, linked: Path) -> None:
    plan = load_plan(catalogued / "sample/bundles/stage2-blog/plan")
    drawn = {source.name for source in plan.sources if source.windows}
    assert {folder.name for folder in (linked / "s3-shards").iterdir()} == drawn
    assert all(link.is_symlink() and link.is_file() for link in (linked / "s3-shards").rglob("*.ds"))
    assert not list(linked.rglob("*.metadata"))


def test_linking_again_changes_nothing_and_removes_strays(catalogued: Path, linked: Path) -> None:
    before = {path: path.readlink() for path in (linked / "s3-shards").rglob("*.ds")}
    (linked / "s3-shards/dclm/99999-0000000.ds").write_bytes(b"")
    link_shards(catalogued / "sample/bundles/stage2-blog", linked)
    assert {path: path.readlink() for path in (linked / "s3-shards").rglob("*.ds")} == before


def test_a_plan_without_files_is_refused(own_build: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no plan"):
        link_shards(own_build, tmp_path)


@pytest.mark.nanotron
@pytest.mark.skipif(not NANOTRON, reason="needs nanotron: make test-nanotron NANOTRON=<checkout>")
def test_nanotrons_loader_reads_every_window_of_the_plan(
    catalogued: Path, linked: Path, tmp_path: Path
) -> None:
    folders = sorted((linked / "s3-shards").iterdir())
    python_path = f"{NANOTRON}/src{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [os.environ.get("NANOTRON_PYTHON", sys.executable), "-c", SCRIPT, str(tmp_path), *map(str, folders)],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": python_path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    plan = load_plan(catalogued / "sample/bundles/stage2-blog/plan")
    for folder in folders:
        source = plan.source(folder.name)
        rows = seen[str(folder)]
        assert len(rows) >= source.offset_windows + source.windows
        assert rows == [row[:8].tolist() for link in sorted(folder.iterdir()) for row in windows(link)]


def windows(link: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    ids = np.fromfile(link, "<u2")
    return ids[: ids.size // 513 * 513].reshape(-1, 513)


LONGER = """
format_version: 1
name: longer
follows: trial.yaml
tokenizer: {name: trial, path: trial/tokenizer.json}
sequence_length: 128
batch_windows: 4
validation: 1/8
seed: 6
sample: {sequence_length: 128, batch_windows: 4, max_passes: 2}
budget: 1M
weights: {prose: {email: 30%, idlelib: 40%}, code: {json: 10%, asyncio: 20%}}
"""


def test_a_stage_of_another_length_links_from_its_first_unopened_shard(
    small_house: Any, tmp_path: Path
) -> None:
    build = Path(shutil.copytree(small_house.build, tmp_path / "build"))
    (build / "longer.yaml").write_text(LONGER, "utf-8")
    recipe = load_recipe(build / "longer.yaml")
    supply = supply_from_manifests(recipe, SOURCES, build / "tokens/trial", build / "plans/longer")
    plans = plan_stage(recipe, supply)
    folders = [build / "plans" / plan.name for plan in plans]
    for plan, folder in zip(plans, folders, strict=True):
        write_plan(plan, folder)
    bundle = write_bundle(folders[-1], build / "bundles/longer", recipe=b"x", earlier=folders[:-1])
    link_shards(bundle, tmp_path / "run")
    plan = load_plan(bundle / "plan")
    assert any(source.base_windows for source in plan.sources)
    opened = dict.fromkeys(plan.at(index)[:3] for index in range(plan.windows))
    for source in plan.sources:
        links = sorted((tmp_path / "run/s3-shards" / source.name).iterdir())
        wanted = [f"{shard:05d}.ds" for name, _, shard in opened if name == source.name]
        assert [link.resolve().name for link in links] == wanted
