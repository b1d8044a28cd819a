"""A run that changes its mind: the rest goes on where the steps done have left every source."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldata.errors import InputError, RecipeError
from smolmix.bundle import find_earlier
from smolmix.catalog_rows import read_plan
from smolmix.order import Order
from smolmix.plan import Plan, load_plan
from smolmix.plan_files import load_chain, write_plan
from smolmix.planner import plan_stage
from smolmix.recipe import Recipe, read_recipe
from smolmix.replan import as_read, cut, replan
from smolmix.sequence import Sequence, source_key
from smolmix.supply import SourceSupply, Supply, TokenizerFacts

TEXT = """\
format_version: 1
name: run
sequence_length: 4
batch_windows: 10
budget: 20 steps
weights: {a: 60%, b: rest}
"""
SUPPLY = Supply(
    {
        name: SourceSupply(name, np.array(tokens, np.int64))
        for name, tokens in {"a": [400, 300, 500], "b": [250, 250], "c": [333]}.items()
    },
    TokenizerFacts("llama-3.2"),
)


def recipe(weights: str = "{a: 20%, b: 50%, c: rest}", more: str = "") -> Recipe:
    return read_recipe(
        TEXT.replace("{a: 60%, b: rest}", weights).replace("name: run", "name: rest") + more, Path("x")
    )


@pytest.fixture(scope="module")
def first() -> Plan:
    return plan_stage(read_recipe(TEXT, Path("run.yaml")), SUPPLY, profile="hub")[0]


def test_nothing_seen_is_read_again_in_its_pass(first: Plan) -> None:
    rest = replan([first], 7, recipe(), SUPPLY, profile="hub")
    seen = [first.at(i) for i in range(70)] + [rest.at(i) for i in range(rest.windows)]
    assert len(set(seen)) == len(seen)
    assert (rest.steps, rest.start_step) == (13, 7)
    read = [sample for sample in seen if sample.source == "a"]
    assert [sample.pass_ for sample in read] == sorted(sample.pass_ for sample in read)


def test_passes_count_only_what_was_read(first: Plan) -> None:
    rest = replan([first], 7, recipe(), SUPPLY, profile="hub")
    drawn = first.order.drawn_before(70)
    assert rest.source("a").offset_windows == drawn["a"]
    assert rest.source("a").passes_before == Fraction(drawn["a"], 240)
    assert rest.source("c").passes_before == 0


def test_the_same_recipe_after_a_cut_reads_the_same_counts(first: Plan) -> None:
    rest = replan([first], 10, recipe("{a: 60%, b: rest}"), SUPPLY, profile="hub")
    for name in "ab":
        total = cut(first, 10).source(name).windows + rest.source(name).windows
        assert abs(total - first.source(name).windows) <= 2


def test_another_length_starts_at_an_unopened_shard(first: Plan) -> None:
    text = recipe()
    longer = read_recipe(text.text.replace("sequence_length: 4", "sequence_length: 9"), Path("x"))
    rest = replan([first], 7, longer, SUPPLY, profile="hub")
    assert rest.tokens <= 13 * 40
    assert rest.source("a").base_windows > 0
    assert rest.source("a").first_shard_offset >= 1


def test_the_lock_says_where_it_was_cut(first: Plan, tmp_path: Path) -> None:
    one, other = (
        replan([first], steps, recipe(), SUPPLY, profile="hub", budget="5 steps") for steps in (7, 8)
    )
    assert one.follows is not None
    assert one.follows.lock == f"{first.lock.hash}@7"
    assert one.lock.parts["follows"] != other.lock.parts["follows"]
    write_plan(first, tmp_path / "run")
    write_plan(one, tmp_path / "rest")
    assert [plan.name for plan in load_chain(tmp_path / "rest")] == ["run", "rest"]
    assert load_plan(tmp_path / "rest") == one


@pytest.mark.parametrize("steps", [0, -1, 21])
def test_steps_that_the_plan_has_not(first: Plan, steps: int) -> None:
    with pytest.raises(InputError, match="has steps 1 to 20"):
        replan([first], steps, recipe(), SUPPLY, profile="hub", budget="1 step")


def test_what_does_not_fit(first: Plan) -> None:
    with pytest.raises(RecipeError, match="read to its end"):
        replan([first], 20, recipe(), SUPPLY, profile="hub")
    with pytest.raises(RecipeError, match="the plan has seed 6, recipe 'rest' has 9"):
        replan([first], 7, recipe(more="seed: 9\n"), SUPPLY, profile="hub")


@settings(max_examples=60)
@given(st.integers(1, 19), st.integers(1, 98), st.booleans(), st.data())
def test_across_the_seam_nothing_is_skipped_or_read_twice(
    first: Plan, done: int, percent: int, again: bool, data: st.DataObject
) -> None:
    plans = [first]
    steps = [done]
    plans.append(replan(plans, done, recipe(f"{{a: {percent}%, b: 1%, c: rest}}"), SUPPLY, profile="hub"))
    if again and plans[-1].steps > 1:
        steps.append(data.draw(st.integers(1, plans[-1].steps - 1)))
        plans.append(replan(plans, steps[-1], recipe("{b: 70%, c: rest}"), SUPPLY, profile="hub"))
    steps.append(plans[-1].steps)
    assert sum(steps) == first.steps
    assert [plan.start_step for plan in plans] == [sum(steps[:number]) for number in range(len(plans))]
    read = [plan.at(i) for plan, seen in zip(plans, steps, strict=True) for i in range(seen * 10)]
    for name in "abc":
        sizes = SUPPLY.sources[name].sizes(4)
        assert sizes is not None
        endless = Sequence(name, source_key(6, name), sizes, 0, 1)
        order = Order([endless])
        numbers = [order.drawn_number(*sample) for sample in read if sample.source == name]
        assert numbers == list(range(len(numbers)))


def test_other_shards_than_those_read_are_refused(first: Plan) -> None:
    other = dict(SUPPLY.sources) | {"a": SourceSupply("a", np.array([400, 300, 505], np.int64))}
    with pytest.raises(InputError, match="the shards of 'a' are not those"):
        replan([first], 7, recipe(), Supply(other, SUPPLY.tokenizer), profile="hub")


@pytest.mark.parametrize("steps", [(20, 7, 3), (20, 20, 5), (11, 20, 1)])
def test_a_chain_is_found_by_its_locks_in_the_order_of_training(
    tmp_path: Path, steps: tuple[int, int, int]
) -> None:
    """Four plans, some read only in part, in folders whose names say nothing of their order."""
    folders = [tmp_path / name for name in ("zebra", "ant", "mole", "bee")]
    plans = [plan_stage(read_recipe(TEXT, Path("run.yaml")), SUPPLY, profile="hub")[0]]
    for done, name in zip(steps, ("second", "third", "fourth"), strict=True):
        text = TEXT.replace("name: run", f"name: {name}").replace("{a: 60%, b: rest}", "{a: 1/3, b: rest}")
        write_plan(plans[-1], folders[len(plans) - 1])
        new = read_recipe(text, Path(f"{name}.yaml"))
        plans.append(replan(plans, done, new, SUPPLY, profile="hub", budget="20 steps"))
    write_plan(plans[-1], folders[-1])
    last = read_plan(folders[-1] / "plan.json")
    assert [folder.name for folder in find_earlier(folders[-1], last)] == ["zebra", "ant", "mole"]
    chain = load_chain(folders[-1])
    assert chain == plans
    assert [plan.start_step for plan in chain] == [0, steps[0], sum(steps[:2]), sum(steps)]
    read = as_read(chain)
    assert [plan.steps for plan in read] == [*steps, 20]
    # Offsets are the windows that were read of each source, in whatever stage.
    for number, plan in enumerate(read):
        for source in plan.sources:
            assert source.offset_windows == sum(one.source(source.name).windows for one in read[:number])
    # One of the plans planned anew: the chain is broken, and both ways of finding it say at which stage.
    write_plan(plan_stage(recipe("{a: 1}"), SUPPLY, profile="hub")[0], folders[1])
    for find in (lambda: load_chain(folders[-1]), lambda: find_earlier(folders[-1], last)):
        with pytest.raises(InputError, match=r"follows '?second'? with lock"):
            find()
