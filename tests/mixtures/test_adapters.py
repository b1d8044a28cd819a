"""Adapters: torch, torchdata, grain and torchtitan give the plan's stream, for any ranks and workers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from smoldata.errors import InputError
from smolmix.adapters import IGNORED, RankSteps, TitanWindows, model_inputs
from smolmix.exports import export
from smolmix.order_digest import Digester, digest_windows
from smolmix.torch_adapters import StatefulSteps
from smolmix.windows import Windows, open_windows
from smoltrain.windows import targets

EOS, SEQUENCE, BATCH = 256, 512, 8


@pytest.fixture(scope="module")
def windows(built: Path) -> Windows:
    """Give the windows of stage 2: 20 steps of 8."""
    return open_windows(built / "sample/plans/stage2-blog")


def step_tokens(ids: Any, labels: Any, windows: Windows, step: int, rows: slice) -> Any:
    """Return the windows that ids and labels came from; a label that is left out is looked up."""
    ids, labels = np.asarray(ids).reshape(-1, SEQUENCE), np.asarray(labels).reshape(-1, SEQUENCE)
    # Inputs hold every id but the last, which is left out only if the last input ends a document.
    last = labels[:, -1].copy()
    real = windows.read(np.arange(step * BATCH, (step + 1) * BATCH, dtype=np.int64))[1][rows]
    last[last == IGNORED] = real[:, -1][last == IGNORED]
    return np.column_stack([ids, last])


def digest_of_steps(shares: Any) -> str:
    """Return the digest of steps, each a list of the ranks' windows in rank order."""
    digester = Digester(0, 160)
    for share in shares:
        for rank in share:
            digester.add_tokens(rank)
    return digester.tokens_digest()


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from([1, 2, EOS]), min_size=6, max_size=6), min_size=1, max_size=4))
def test_inputs_are_those_of_the_reference_trainer(rows: list[list[int]]) -> None:
    tokens = np.array(rows, np.uint16)
    made, wanted = model_inputs(tokens, EOS), targets(tokens, EOS)
    assert np.array_equal(made.ids, wanted.ids)
    assert np.array_equal(made.positions, wanted.positions)
    assert np.array_equal(made.labels, np.where(wanted.mask, wanted.labels, IGNORED))


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_torch_gives_the_same_stream_for_any_ranks(windows: Windows, world: int) -> None:
    rows = BATCH // world
    loaders = [
        iter(DataLoader(StatefulSteps(windows, rank, world), batch_size=None)) for rank in range(world)
    ]
    shares = []
    for step in range(20):
        made = [next(loader) for loader in loaders]
        assert made[0][0]["input"].shape == made[0][1].shape == (rows, SEQUENCE)
        shares.append(
            [
                step_tokens(inputs["input"], labels, windows, step, slice(r * rows, r * rows + rows))
                for r, (inputs, labels) in enumerate(made)
            ]
        )
    assert digest_of_steps(shares) == digest_windows(windows).tokens
    with pytest.raises(StopIteration):
        next(loaders[0])


@pytest.mark.parametrize("world", [1, 4])
@pytest.mark.parametrize("workers", [1, 2])
def test_torch_gives_the_same_steps_for_any_workers(windows: Windows, world: int, workers: int) -> None:
    steps = StatefulSteps(windows, world - 1, world)
    plain = list(DataLoader(steps, batch_size=None))
    shared = list(DataLoader(steps, batch_size=None, num_workers=workers))
    assert len(plain) == len(shared) == 20
    for (inputs, labels), (other, others) in zip(shared, plain, strict=True):
        assert torch.equal(inputs["input"], other["input"])
        assert torch.equal(inputs["positions"], other["positions"])
        assert torch.equal(labels, others)


@pytest.mark.parametrize("workers", [0, 2])
def test_windows_are_a_map_style_dataset_as_they_are(windows: Windows, workers: int) -> None:
    loader = DataLoader(windows, batch_size=BATCH, num_workers=workers)  # type: ignore[arg-type]
    digester = Digester(0, 160)
    for batch in loader:
        digester.add_tokens(batch.numpy())
    assert digester.tokens_digest() == digest_windows(windows).tokens


@settings(max_examples=20)
@given(taken=st.integers(0, 20), world=st.sampled_from([1, 2, 4, 8]), rank=st.integers(0, 7))
def test_a_state_goes_on_where_it_was_taken(windows: Windows, taken: int, world: int, rank: int) -> None:
    rank %= world
    first = StatefulSteps(windows, rank, world)
    steps = iter(first)
    for _ in range(taken):
        next(steps)
    resumed = StatefulSteps(windows, rank, world)
    resumed.load_state_dict(first.state_dict())
    rest = list(resumed)
    wanted = list(StatefulSteps(windows, rank, world, start_step=taken))
    assert len(rest) == len(wanted) == 20 - taken
    assert all(torch.equal(a[1], b[1]) for a, b in zip(rest, wanted, strict=True))


def test_a_state_of_another_plan_and_ranks_that_do_not_fit_are_refused(windows: Windows) -> None:
    state = StatefulSteps(windows).state_dict()
    with pytest.raises(InputError, match="not the same order"):
        StatefulSteps(windows).load_state_dict(state | {"lock": "0" * 32})
    for rank, world in ((0, 3), (2, 2), (-1, 2), (0, 0)):
        with pytest.raises(InputError, match="divide the batch of 8"):
            RankSteps(windows, rank, world)
    with pytest.raises(InputError, match="outside the stage"):
        StatefulSteps(windows, start_step=21)
    with pytest.raises(IndexError, match="0 to 19"):
        RankSteps(windows)[20]


def policy(**changes: Any) -> Any:
    """Return torchtitan's DatasetIterationPolicy as far as a dataset reads it."""
    values = {"shuffle": False, "repeat": True, "dp_rank": 0, "dp_world_size": 2, "seed": 42}
    return SimpleNamespace(**values | changes)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("world", [1, 4])
def test_grain_gives_the_same_stream_and_resumes(windows: Windows, world: int) -> None:
    grain = pytest.importorskip("grain", reason="pip install grain, then run this file again")
    single = grain.MapDataset.source(windows)
    digester = Digester(0, 160)
    for tokens in single:
        digester.add_tokens(tokens[None])
    assert digester.tokens_digest() == digest_windows(windows).tokens
    rows = BATCH // world
    ranks = [
        iter(grain.MapDataset.source(RankSteps(windows, r, world)).to_iter_dataset()) for r in range(world)
    ]
    shares = []
    for step in range(20):
        made = [next(one) for one in ranks]
        if step == 7:
            states = [one.get_state() for one in ranks]
            fresh = grain.MapDataset.source(RankSteps(windows, 0, world)).to_iter_dataset()
            again = iter(fresh)
            again.set_state(states[0])
            ahead = next(again)["ids"]
        if step == 8:
            assert np.array_equal(ahead, made[0]["ids"])
        shares.append(
            [
                step_tokens(one["ids"], one["labels"], windows, step, slice(r * rows, r * rows + rows))
                for r, one in enumerate(made)
            ]
        )
    assert digest_of_steps(shares) == digest_windows(windows).tokens


@pytest.mark.filterwarnings("ignore")
def test_torchtitans_dataset_gives_the_same_stream(windows: Windows, tmp_path: Path) -> None:
    pytest.importorskip("grain", reason="pip install grain, then run this file again")
    export("torchtitan", windows, tmp_path / "out")
    context = SimpleNamespace(num_tokens_per_batch=4 * SEQUENCE, max_context_length=SEQUENCE)
    made = TitanWindows(str(tmp_path / "out"))
    ranks = [made.build(context=context, dataset_iteration_policy=policy(dp_rank=r)) for r in range(2)]
    shares = [
        [
            step_tokens(one.input_ids, one.labels, windows, step, slice(4 * r, 4 * r + 4))
            for r, one in enumerate(rank[step] for rank in ranks)
        ]
        for step in range(20)
    ]
    assert digest_of_steps(shares) == digest_windows(windows).tokens
    with pytest.raises(InputError, match="shuffled already"):
        made.build(context=context, dataset_iteration_policy=policy(shuffle=True))
    with pytest.raises(InputError, match="8 windows of 512: 4,096 tokens"):
        made.build(context=context, dataset_iteration_policy=policy(dp_world_size=1))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 2])
def test_torchdata_saves_and_resumes(windows: Windows, workers: int) -> None:
    module = pytest.importorskip(
        "torchdata.stateful_dataloader", reason="pip install torchdata, then run again"
    )

    def loader() -> Any:
        return module.StatefulDataLoader(StatefulSteps(windows, 1, 2), batch_size=None, num_workers=workers)

    whole = list(loader())
    assert len(whole) == 20
    for taken in (1, 6, 19):
        first = loader()
        steps = iter(first)
        for _ in range(taken):
            next(steps)
        again = loader()
        again.load_state_dict(first.state_dict())
        rest = list(again)
        assert len(rest) == 20 - taken
        for (inputs, labels), (wanted, others) in zip(rest, whole[taken:], strict=True):
            assert torch.equal(inputs["input"], wanted["input"])
            assert torch.equal(labels, others)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("world", [1, 2])
def test_torchtitans_own_loader_gives_the_same_stream_and_resumes(
    windows: Windows, tmp_path: Path, world: int
) -> None:
    module = pytest.importorskip(
        "torchtitan.components.data.loader", reason="a torchtitan that has Grain, on PYTHONPATH"
    )
    export("torchtitan", windows, tmp_path / "out")
    rows = BATCH // world

    def loader(rank: int) -> Any:
        config = module.GrainDataLoader.Config(dataset=TitanWindows(str(tmp_path / "out")), shuffle=False)
        return module.GrainDataLoader(
            config, dp_world_size=world, dp_rank=rank, tokenizer=None, max_context_length=SEQUENCE,
            num_tokens_per_batch=rows * SEQUENCE,
        )  # fmt: skip

    loaders = [loader(rank) for rank in range(world)]
    ranks, shares, state = [iter(one) for one in loaders], [], {}
    for step in range(20):
        made = [next(rank) for rank in ranks]
        shares.append(
            [
                step_tokens(inputs["input"], labels, windows, step, slice(r * rows, r * rows + rows))
                for r, (inputs, labels) in enumerate(made)
            ]
        )
        if step == 7:
            state = loaders[0].state_dict()
    assert digest_of_steps(shares) == digest_windows(windows).tokens
    again = loader(0)
    again.load_state_dict(state)
    inputs, _ = next(iter(again))
    assert np.array_equal(inputs["input"].reshape(-1, SEQUENCE), shares[8][0][:, :-1])
    for one in (again, *loaders):
        one.close()
