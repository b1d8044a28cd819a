"""What nanotron reads and records over stages: by hand, by laws, and beside nanotron's own loader."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldata.errors import InputError
from smolmix.nanotron_blend import blend
from smolmix.nanotron_ledger import StageLedger, StageRun, read_path_asks, simulate, source_of

FOLDERS = ("s3/a", "s3/b", "s3/c")
WEIGHTS = (0.1, 0.1, 0.8)
NANOTRON = os.environ.get("NANOTRON")


def run(name: str, steps: int, length: int = 128, folders: tuple[str, ...] = FOLDERS) -> StageRun:
    return StageRun(name, steps, folders, WEIGHTS, length)


def column(ledger: StageLedger, name: str) -> list[Any]:
    return [getattr(one, name) for one in ledger.folders]


def test_the_record_of_a_second_stage_as_a_run_of_nanotron_wrote_it() -> None:
    # Seen with nanotron on 12 + 12 windows of 128 tokens: read 256, 128, 1152, recorded 128, 128, 1280.
    first, second = simulate([run("1", 6), run("2", 6)], 2)
    assert (
        [128 * n for n in column(first, "read")]
        == [256, 128, 1152]
        == [128 * n for n in column(first, "recorded")]
    )
    assert [128 * n for n in column(second, "read")] == [256, 128, 1152]
    assert [128 * n for n in column(second, "recorded")] == [128, 128, 1280]
    assert column(second, "offset") == [2, 1, 9]


def test_a_third_stage_repeats_and_skips_what_was_recorded_wrongly() -> None:
    third = simulate([run("1", 6), run("2", 6), run("3", 6)], 2)[2]
    # a: 4 windows were read, 3 recorded: one is read again. c: 18 read, 19 recorded: one is never read.
    assert column(third, "offset") == [3, 2, 19]
    assert column(third, "repeated") == [1, 0, 0]
    assert column(third, "skipped") == [0, 0, 1]


def test_offsets_go_by_path_and_by_length() -> None:
    moved = simulate([run("1", 6), run("2", 6, folders=("s3/new/a", "s3/b", "s3/c"))], 2)[1]
    assert column(moved, "offset") == [0, 1, 9]
    longer = simulate([run("1", 6), run("2", 6), run("3", 6, length=256)], 2)[2]
    assert column(longer, "offset") == [384 // 256, 256 // 256, 2432 // 256]
    assert column(longer, "repeated") == [None] * 3


def test_past_the_end_of_a_folder() -> None:
    held = {"s3/a": 3, "s3/b": 50, "s3/c": 50}
    first, second = simulate([run("1", 6), run("2", 6), run("3", 6)], 2, held)
    assert first.runs_out is None
    places = np.flatnonzero(blend(WEIGHTS, 12).folder == 0)
    # Two windows of a were read, the second of the next stage is not there, and no third stage follows.
    assert second.runs_out == ("s3/a", int(places[1]))
    assert simulate([run("1", 6)], 2, {"s3/c": 0})[0].runs_out == ("s3/c", 0)
    with pytest.raises(InputError, match="one sequence length"):
        simulate([run("1", 6), run("2", 6, length=256)], 2, held)


def test_a_folder_that_stands_twice() -> None:
    (only,) = simulate([run("1", 6, folders=("s3/a", "s3/b", "s3/a")), run("2", 6)], 2)
    assert only.refused
    assert column(only, "read") == [11, 1]
    assert column(only, "recorded") == [9, 1]  # the second entry overwrote the first
    assert column(only, "repeated") == [2, 0]


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.lists(st.floats(0.01, 1), min_size=1, max_size=5),
    st.integers(1, 5),
)
def test_laws(steps: list[int], weights: list[float], batch: int) -> None:
    folders = tuple(f"s3/{n}" for n in range(len(weights)))
    stages = [StageRun(str(n), count, folders, tuple(weights), 64) for n, count in enumerate(steps)]
    ledgers = simulate(stages, batch)
    assert len(ledgers) == len(stages)
    spans: list[list[tuple[int, int]]] = [[] for _ in folders]
    recorded = [0] * len(folders)
    for ledger, stage in zip(ledgers, stages, strict=True):
        # As many windows are read, and recorded, as the stage has; in the first stage the same.
        assert sum(column(ledger, "read")) == stage.steps * batch == sum(column(ledger, "recorded"))
        assert column(ledger, "read") == blend(weights, stage.steps * batch).counts.tolist()
        for number, one in enumerate(ledger.folders):
            assert abs(one.read - one.recorded) < 2 * len(folders)
            assert one.offset == recorded[number]
            seen = {w for begin, end in spans[number] for w in range(begin, end)}
            mine = set(range(one.offset, one.offset + one.read))
            assert one.repeated == len(mine & seen)
            assert one.skipped == len(set(range(one.offset)) - seen)
            spans[number].append((one.offset, one.offset + one.read))
            recorded[number] += one.recorded


def test_the_assertion_on_read_paths_is_of_the_whole_run() -> None:
    held = {"s3/a": 10, "s3/b": 9, "s3/c": 1000}
    # int(50 x 2 x 0.1) = 10 of a and b; c is asked for 80.
    assert read_path_asks(run("1", 6), 50, 2, held) == {"s3/b": 10}
    assert read_path_asks(run("1", 6), 50, 2, {}) == {}


def test_the_source_of_a_folder() -> None:
    assert [source_of(one) for one in ("s3://b/x/dclm", "s3/dclm/", "dclm")] == ["dclm"] * 3


SCRIPT = """
# Every part is nanotron's but training: the trainer's seven lines that keep the record are repeated.
import json, sys
from types import SimpleNamespace as Names
import torch.distributed as dist
folder, request = sys.argv[1], json.loads(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
import run_train
from nanotron.config import NanosetDatasetsArgs
from nanotron.serialize.metadata import TrainingMetadata
class Tokenizer:
    eos_token_id, pad_token, eos_token, padding_side = 256, "x", "x", "left"
    from_pretrained = classmethod(lambda cls, *a, **k: cls())
    def __len__(self):
        return 257
run_train.AutoTokenizer, run_train.get_input_output_pp_ranks = Tokenizer, lambda model: (0, 0)
groups = Names(world_pg=dist.group.WORLD, dp_pg=dist.group.WORLD, pp_pg=dist.group.WORLD)
tell = lambda **row: print("ROW" + json.dumps(row))
meta, batch, first, stages = TrainingMetadata(0, 0, 0, 0, []), request["batch"], 1, []
for number, stage in enumerate(request["stages"]):
    dataset = NanosetDatasetsArgs(
        dataset_folder=stage["folders"], dataset_weights=stage["weights"], token_size_in_bytes=2,
        dataset_read_path=stage.get("read_path"), tokenizer_name="t", vocab_size=257, return_positions=True)
    data = Names(dataset=dataset, seed=6, num_loading_workers=0)
    stages.append(Names(name=str(number), start_training_step=first, data=data))
    end = first + stage["steps"] - 1
    config = Names(data_stages=stages, tokens=Names(train_steps=end),
    tokenizer=Names(tokenizer_name_or_path="t"),
                   general=Names(ignore_sanity_checks=True))
    trainer = Names(config=config, metadata=meta, iteration_step=first - 1, sequence_length=stage["length"],
                    global_batch_size=batch, micro_batch_size=batch, n_micro_batches_per_batch=1, model=None,
                    parallel_context=groups, model_config=Names(vocab_size=257, _use_doc_masking=False))
    try:
        loader = run_train.get_dataloader(trainer)[str(number)]
    except AssertionError as problem:
        tell(refused=str(problem)); break
    blend, sampler, read, stopped = loader.dataset, iter(loader.batch_sampler), [], None
    meta.last_stage_idx = number
    for step in range(first, end + 1):
        for index in next(sampler):
            which = int(blend.dataset_index[index])
            try:
                blend[index]
            except IndexError:
                stopped = [stage["folders"][which], index]
                break
            read.append([which, int(blend.dataset_sample_index[index]) + blend.offsets_in_samples[which]])
        if stopped:
            break
        blend.update_consumption_metrics((step - 1) * batch, step * batch, stage["length"])
        for path, seen in blend.get_consumption_stats().items():
            meta.data_stages[number].consumed_tokens_per_dataset_folder[path] = seen["tokens"]
        meta.consumed_train_samples += batch
        meta.consumed_tokens_total += batch * stage["length"]
        meta.last_train_step = step
        meta.current_stage.consumed_train_samples += batch
    tell(read=read, recorded=meta.data_stages[number].consumed_tokens_per_dataset_folder, stopped=stopped)
    if stopped:
        break
    try:  # what a checkpoint goes through when it is loaded
        meta = TrainingMetadata(meta.consumed_train_samples, meta.last_train_step, meta.consumed_tokens_total,
                                meta.last_stage_idx, meta.data_stages)
    except AssertionError as problem:
        tell(refused=str(problem)); break
    first = end + 1
"""


def nanotron(tmp_path: Path, stages: list[StageRun], batch: int, **more: Any) -> list[dict[str, Any]]:
    """Run the stages through nanotron's own parts; return what each read, recorded and refused."""
    request = {
        "batch": batch,
        "stages": [
            {
                "folders": one.folders,
                "weights": one.weights,
                "steps": one.steps,
                "length": one.sequence_length,
            }
            | more
            for one in stages
        ],
    }
    paths = (f"{NANOTRON}/src", str(NANOTRON), os.environ.get("PYTHONPATH", ""))
    done = subprocess.run(
        [os.environ.get("NANOTRON_PYTHON", sys.executable), "-c", SCRIPT, str(tmp_path), json.dumps(request)],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line[3:]) for line in done.stdout.splitlines() if line.startswith("ROW")]


def holding(tmp_path: Path, windows: list[int], length: int = 128) -> tuple[str, ...]:
    folders = []
    for name, count in zip("abc", windows, strict=True):
        folder = tmp_path / "s3-local" / name
        folder.mkdir(parents=True)
        np.zeros((length + 1) * count + 7, "<u2").tofile(folder / "0.ds")
        folders.append(str(folder))
    return tuple(folders)


@pytest.mark.nanotron
@pytest.mark.skipif(not NANOTRON, reason="needs nanotron: make test-nanotron NANOTRON=<checkout>")
@pytest.mark.parametrize(
    ("windows", "lengths", "twice"),
    [
        ([20, 20, 90], [128, 128, 128], False),
        ([20, 20, 90], [128, 128, 256], False),
        ([3, 20, 90], [128, 128, 128], False),
        ([20, 20, 90], [128, 128, 128], True),
    ],
    ids=["three stages", "a longer one", "a folder that ends", "a folder twice"],
)
def test_nanotron_reads_and_records_what_is_simulated(
    tmp_path: Path, windows: list[int], lengths: list[int], twice: bool
) -> None:
    folders = holding(tmp_path, windows)
    folders = (*folders[:2], folders[0]) if twice else folders
    stages = [run(str(n), 6 + n, length, folders) for n, length in enumerate(lengths)]
    held = dict(zip(folders, windows, strict=True)) if len(set(lengths)) == 1 and not twice else None
    wanted, seen = simulate(stages, 2, held), nanotron(tmp_path, stages, 2)
    refused = [row for row in seen if "refused" in row]
    assert bool(refused) is twice is wanted[-1].refused
    for ledger, row, stage in zip(
        wanted, [r for r in seen if "read" in r], stages[: len(wanted)], strict=True
    ):
        assert (row["stopped"] and tuple(row["stopped"])) == ledger.runs_out
        if row["stopped"]:
            continue
        assert row["recorded"] == {one.folder: one.recorded * stage.sequence_length for one in ledger.folders}
        for one in ledger.folders:
            places = [place for which, place in row["read"] if folders[which] == one.folder]
            assert len(places) == one.read
            assert set(places) == set(range(one.offset, max(places) + 1))


@pytest.mark.nanotron
@pytest.mark.skipif(not NANOTRON, reason="needs nanotron: make test-nanotron NANOTRON=<checkout>")
def test_nanotron_asserts_on_read_paths_what_is_simulated(tmp_path: Path) -> None:
    windows = [4, 5, 30]
    folders = holding(tmp_path, windows)
    stages = [run("0", 12, folders=folders), run("1", 12, folders=folders)]
    (_, refused) = nanotron(tmp_path, stages, 2, read_path=folders)
    asked = [read_path_asks(stage, end, 2, dict(zip(folders, windows, strict=True)))
             for stage, end in zip(stages, (12, 24), strict=True)]  # fmt: skip
    assert asked == [{}, {folders[2]: 38}]
    assert f"Not enough files on s3 for dataset 2 ({folders[2]})" in refused["refused"]
