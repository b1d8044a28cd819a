"""What nanotron is fed: every rank's micro-batches together are the plan's batches, each counted exactly."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from smoldata.errors import InputError
from smoltrain.bundle import Bundle, open_bundle
from smoltrain.loader import open_loader
from smoltrain.nanotron.feed import Feed, Seat, consumed_before

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

STEPS = 5


@pytest.fixture(scope="module")
def bundle(small_house: "SmallHouse") -> Bundle:
    return open_bundle(small_house.bundle)


def pointer(rank: int) -> tuple[str, int]:
    return "pointer", rank


def feed(bundle: Bundle, seat: Seat, *, micro_batch: int = 1, start_step: int = 0) -> Feed:
    loader = open_loader(bundle, rank=seat.dp_rank, world_size=seat.dp_size, start_step=start_step)
    consumed = consumed_before(bundle, start_step)
    return Feed(loader, seat, micro_batch=micro_batch, pointer=pointer, consumed=consumed)


def taken(one: Feed, steps: int) -> list[dict[str, Any]]:
    """Take micro-batches as nanotron does: all of a step, then its report."""
    each = len(one) // len(one._loader)
    source = iter(one)
    micro_batches = []
    for step in range(steps):
        micro_batches += [next(source) for _ in range(each)]
        one.update_consumption_metrics(1000 * step, 2000, one._bundle.sequence_length)
    return micro_batches


@pytest.mark.parametrize(("dp_size", "micro_batch"), [(1, 6), (1, 2), (2, 3), (3, 1), (6, 1)])
def test_ranks_and_micro_batches_make_the_global_batch(
    bundle: Bundle, dp_size: int, micro_batch: int
) -> None:
    whole = open_loader(bundle)
    ranks = [feed(bundle, Seat(dp_rank=r, dp_size=dp_size), micro_batch=micro_batch) for r in range(dp_size)]
    parts = [taken(one, STEPS) for one in ranks]
    each = len(parts[0]) // STEPS
    for step in range(STEPS):
        batch = whole.batch(step)
        rows = [micro for part in parts for micro in part[step * each : (step + 1) * each]]
        joined = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
        assert (joined["input_ids"] == batch.ids).all()
        assert (joined["position_ids"] == batch.positions).all()
        assert (joined["label_ids"] == batch.labels).all()
        assert (joined["label_mask"] == batch.mask).all()
        assert joined["label_mask"].dtype == np.bool_
        assert {joined[key].dtype for key in ("input_ids", "position_ids", "label_ids")} == {
            np.dtype(np.int64)
        }


def test_context_parallel_ranks_have_their_part_of_each_window_and_all_positions(bundle: Bundle) -> None:
    whole = open_loader(bundle).batch(0)
    parts = [next(iter(feed(bundle, Seat(cp_rank=rank, cp_size=4), micro_batch=6))) for rank in range(4)]
    for key, wanted in (("input_ids", whole.ids), ("label_ids", whole.labels), ("label_mask", whole.mask)):
        assert (np.concatenate([part[key] for part in parts], axis=1) == wanted).all()
    assert all((part["position_ids"] == whole.positions).all() for part in parts)


def test_a_rank_of_the_pipeline_holds_what_its_place_needs(bundle: Bundle) -> None:
    first, middle, last = (
        next(iter(feed(bundle, Seat(pp_rank=rank, output_pp_rank=2), micro_batch=6))) for rank in range(3)
    )
    inputs, labels = {"input_ids", "position_ids"}, {"label_ids", "label_mask"}
    for micro, held in ((first, inputs), (middle, set()), (last, labels)):
        assert {key for key, value in micro.items() if isinstance(value, np.ndarray)} == held
        pointers = {key: value for key, value in micro.items() if key not in held}
        assert pointers == {key: ("pointer", 0 if key in inputs else 2) for key in pointers}


@pytest.mark.parametrize("start", [0, 3])
def test_tokens_are_counted_as_the_plan_draws_them(bundle: Bundle, start: int) -> None:
    one = feed(bundle, Seat(dp_rank=1, dp_size=2), micro_batch=3, start_step=start)
    taken(one, STEPS)
    assert one.step == start + STEPS
    counted = {name: value["tokens"] for name, value in one.get_consumption_stats().items()}
    assert counted == consumed_before(bundle, start + STEPS)
    assert sum(counted.values()) == (start + STEPS) * bundle.batch_windows * bundle.sequence_length
    by_hand: dict[str, int] = {}
    for index in range((start + STEPS) * bundle.batch_windows):
        source = bundle.plan.at(index).source
        by_hand[source] = by_hand.get(source, 0) + bundle.sequence_length
    assert counted == by_hand


def test_what_was_handed_over_is_told_once(bundle: Bundle) -> None:
    one = feed(bundle, Seat(dp_rank=1, dp_size=2), micro_batch=1)
    taken(one, 2)
    told = one.taken()
    assert np.concatenate([places.index for places in told]).tolist() == [3, 4, 5, 9, 10, 11]
    assert one.taken() == []


def test_shares_that_do_not_come_out_even_are_refused(bundle: Bundle) -> None:
    for seat, micro_batch in ((Seat(), 4), (Seat(dp_size=2), 2), (Seat(cp_size=3), 1)):
        with pytest.raises(InputError, match="evenly"):
            feed(bundle, seat, micro_batch=micro_batch)
