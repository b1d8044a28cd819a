"""The loader: every window where the plan says, one order whatever the ranks, clear when data are wrong."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from smoldata.errors import InputError, IntegrityError
from smolmix.verify import shard_path as verified_path
from smoltok.shards import open_shard
from smoltrain.bundle import open_bundle, shard_path
from smoltrain.loader import Loader, open_loader
from smoltrain.shards import ShardPool
from smoltrain.windows import targets

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

STEPS = 12


def moved_bundle(house: "SmallHouse", folder: Path) -> Path:
    """Copy tokens and bundle, so that a test may break them."""
    shutil.copytree(house.build / "tokens", folder / "tokens")
    shutil.copytree(house.bundle, folder / "bundles" / "trial")
    return folder / "bundles" / "trial"


def test_every_row_is_the_window_that_the_plan_names(small_house: "SmallHouse") -> None:
    loader = open_loader(small_house.bundle)
    plan = loader.bundle.plan
    eos = loader.bundle.eos_id
    length = plan.sequence_length + 1
    for step in range(STEPS):
        batch = loader.batch(step)
        for row in range(plan.batch_windows):
            sample = plan.at(step * plan.batch_windows + row)
            shard = open_shard(
                small_house.build / "tokens" / "trial" / sample.source / f"{sample.shard:05d}.ds"
            )
            window = shard.ids[sample.window * length : (sample.window + 1) * length].astype(np.int64)
            assert (batch.ids[row] == window[:-1]).all()
            assert (batch.labels[row] == window[1:]).all()
            ends = set(shard.ends.tolist())
            starts = [at + 1 + sample.window * length in ends for at in range(length - 1)]
            assert batch.mask[row].tolist() == [not start for start in starts]
            assert (batch.mask[row] == (batch.ids[row] != eos)).all()


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_any_number_of_ranks_reads_the_same_global_batches(
    small_house: "SmallHouse", world_size: int
) -> None:
    alone = open_loader(small_house.bundle)
    ranks = [open_loader(small_house.bundle, rank=rank, world_size=world_size) for rank in range(world_size)]
    for step in range(STEPS):
        parts = [rank.batch(step) for rank in ranks]
        whole = alone.batch(step)
        for name in ("ids", "positions", "labels", "mask"):
            joined = np.concatenate([getattr(part, name) for part in parts])
            assert (joined == getattr(whole, name)).all()
        assert np.concatenate([part.places.index for part in parts]).tolist() == whole.places.index.tolist()


@pytest.mark.parametrize("start", [0, 1, 7, 4999])
def test_starting_anywhere_is_continuing_there(small_house: "SmallHouse", start: int) -> None:
    whole = open_loader(small_house.bundle)
    start = min(start, whole.bundle.steps - 1)
    late = open_loader(small_house.bundle, start_step=start)
    assert len(late) == whole.bundle.steps - start
    first = next(iter(late))
    assert first.step == start
    assert (first.ids == whole.batch(start).ids).all()


def test_a_whole_stage_is_read_once_in_order(small_house: "SmallHouse") -> None:
    loader = open_loader(small_house.bundle, world_size=2, rank=1)
    bundle = loader.bundle
    seen = [batch.places.index for batch in loader]
    half = bundle.batch_windows // 2
    expected = np.arange(bundle.plan.windows).reshape(-1, 2, half)[:, 1]
    assert (np.stack(seen) == expected).all()


def test_look_ups_in_small_blocks_change_nothing(
    small_house: "SmallHouse", monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [batch.ids for batch, _ in zip(open_loader(small_house.bundle), range(STEPS), strict=False)]
    monkeypatch.setattr("smoltrain.lookups.SAMPLES", 13)
    small = open_loader(small_house.bundle)
    for step in (5, 2, 11, 3):
        assert (small.batch(step).ids == expected[step]).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"world_size": 4},
            "world_size 4 does not divide the global batch of 6 windows; use one of 1, 2, 3, 6",
        ),
        ({"world_size": 0}, "world_size 0 does not divide"),
        ({"world_size": 2, "rank": 2}, "rank 2 is outside world_size 2"),
        ({"start_step": -1}, "start_step -1 is outside the stage"),
    ],
)
def test_wrong_arguments_say_what_fits(
    small_house: "SmallHouse", arguments: dict[str, int], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        open_loader(small_house.bundle, **arguments)


def test_a_step_after_the_last_is_refused(small_house: "SmallHouse") -> None:
    loader = open_loader(small_house.bundle)
    with pytest.raises(InputError, match=f"it has steps 0 to {loader.bundle.steps - 1}"):
        loader.batch(loader.bundle.steps)


def _first_shard(loader: Loader) -> tuple[Path, int]:
    places = loader.batch(0).places
    row = loader.bundle.shards.row(int(places.source[0]), int(places.shard[0]))
    return loader.bundle.path_of(row), row


def test_a_missing_shard_is_named_with_its_step(small_house: "SmallHouse", tmp_path: Path) -> None:
    bundle = moved_bundle(small_house, tmp_path)
    path, _ = _first_shard(open_loader(bundle))
    path.unlink()
    with pytest.raises(IntegrityError, match=rf"{path.name} is missing and step 0 needs it"):
        open_loader(bundle).batch(0)


def test_a_cut_shard_is_named_with_both_sizes(small_house: "SmallHouse", tmp_path: Path) -> None:
    bundle = moved_bundle(small_house, tmp_path)
    path, _ = _first_shard(open_loader(bundle))
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(IntegrityError, match=rf"{size - 2:,} bytes, the plan counts on {size:,} \(step 0\)"):
        open_loader(bundle).batch(0)


def test_an_id_outside_the_vocabulary_is_refused(small_house: "SmallHouse", tmp_path: Path) -> None:
    bundle = moved_bundle(small_house, tmp_path)
    loader = open_loader(bundle)
    path, _ = _first_shard(loader)
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(IntegrityError, match=rf"token id 65535 at step 0, but trial has ids below {500}"):
        open_loader(bundle).batch(0)


def test_shards_may_lie_elsewhere(small_house: "SmallHouse", tmp_path: Path) -> None:
    shutil.copytree(small_house.build / "tokens", tmp_path / "far" / "tokens")
    shutil.copytree(small_house.bundle, tmp_path / "bundle")
    here = open_loader(small_house.bundle).batch(3)
    there = open_loader(tmp_path / "bundle", root=tmp_path / "far").batch(3)
    assert (here.ids == there.ids).all()


@pytest.mark.parametrize("root", [None, Path("far")])
def test_paths_are_those_that_verify_checks(root: Path | None) -> None:
    for path in ("../../tokens/llama-3.2/dclm/00000.ds", "shards/a.ds"):
        assert shard_path(Path("bundle"), path, root) == verified_path(Path("bundle"), path, root)


def test_a_shard_list_out_of_order_is_refused(small_house: "SmallHouse", tmp_path: Path) -> None:
    bundle = moved_bundle(small_house, tmp_path)
    table = pq.read_table(bundle / "shards.parquet")
    order = np.arange(len(table))
    for swapped, words in (((0, 1), "row 0 is shard 1 of asyncio, due is shard 0"), ((0, 5), "not sorted")):
        changed = order.copy()
        changed[list(swapped)] = changed[list(swapped[::-1])]
        pq.write_table(table.take(changed), bundle / "shards.parquet")
        with pytest.raises(IntegrityError, match=words):
            open_loader(bundle)


def test_datatroves_own_loader_gives_the_same_windows(small_house: "SmallHouse") -> None:
    """Nanotron reads through datatrove's dataset: every window of every shard, tokens and positions."""
    pytest.importorskip("torch", reason="datatrove's dataset needs torch: run `make setup-train`")
    from datatrove.utils.dataset import DatatroveFileDataset

    bundle = open_bundle(small_house.bundle)
    for row in range(0, len(bundle.shards.bytes), 4):
        theirs = DatatroveFileDataset(
            str(bundle.path_of(row)),
            bundle.sequence_length,
            token_size=bundle.token_width,
            return_positions=True,
            positions_from_eos_token_id=bundle.eos_id,
        )
        pool = ShardPool(bundle)
        tokens = np.empty((len(theirs), bundle.sequence_length + 1), np.uint16)
        for window in range(len(theirs)):
            pool.read(row, window, tokens[window], step=0)
        made = targets(tokens, bundle.eos_id)
        assert len(theirs) == bundle.shards.tokens[row] // (bundle.sequence_length + 1)
        for window in range(len(theirs)):
            sample = theirs[window]
            assert (made.ids[window] == sample["input_ids"][:-1].numpy()).all()
            assert (made.labels[window] == sample["input_ids"][1:].numpy()).all()
            assert (made.positions[window] == sample["positions"][:-1].numpy()).all()
            # nanotron's collator masks the label whose own position is 0.
            assert (made.mask[window] == (sample["positions"][1:] != 0).numpy()).all()


def test_a_folder_that_is_no_bundle_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make handoff"):
        open_loader(tmp_path)


def test_a_bundle_whose_plan_was_replaced_is_refused(small_house: "SmallHouse", tmp_path: Path) -> None:
    bundle = moved_bundle(small_house, tmp_path)
    facts = bundle / "bundle.json"
    lock = open_bundle(bundle).plan.lock.hash
    facts.write_text(facts.read_text().replace(lock, "0" * len(lock)))
    with pytest.raises(IntegrityError, match=f"plan/plan.json is {lock}"):
        open_loader(bundle)


def test_the_number_of_open_shards_is_bounded(small_house: "SmallHouse") -> None:
    bundle = open_bundle(small_house.bundle)
    pool = ShardPool(bundle, max_open=2)
    into = np.empty(bundle.sequence_length + 1, np.uint16)
    reference = ShardPool(bundle)
    expected = np.empty_like(into)
    for row in [*range(len(bundle.shards.bytes)), 0, 1]:
        pool.read(row, 0, into, step=0)
        reference.read(row, 0, expected, step=0)
        assert (into == expected).all()
        assert pool.num_open <= 2


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'torch', 'polars', 'pyarrow', 'pydantic'}"
    code = f"import sys, smoltrain, smoltrain.cli; print(sorted({heavy} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen.strip() == "[]"


def test_the_loader_needs_no_torch(small_house: "SmallHouse") -> None:
    code = (
        "import sys, smoltrain\n"
        "batch = smoltrain.open_loader(sys.argv[1]).batch(0)\n"
        "print('torch' in sys.modules, batch.ids.shape)"
    )
    command = [sys.executable, "-c", code, str(small_house.bundle)]
    seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert seen.strip() == "False (6, 64)"
