"""Retraction: the past stays, the future holds no retracted token, counts and inverse stay true."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldata.errors import InputError, IntegrityError
from smolmix.occurrences import occurrences
from smolmix.order import Sample
from smolmix.plan import Plan, load_plan
from smolmix.plan_files import write_plan
from smolmix.planner import plan_stage
from smolmix.recipe import Recipe, read_recipe
from smolmix.replacements import RETRACTED, Span
from smolmix.replan import replan
from smolmix.retract import Retracted, carried, reads, retract
from smolmix.supply import SourceSupply, Supply, TokenizerFacts

LENGTH, BATCH = 4, 10
SIZES = {"a": [123, 77, 0, 158], "b": [52, 64], "c": [333]}
TEXT = """\
format_version: 1
name: run
sequence_length: 4
batch_windows: 10
budget: 20 steps
weights: {a: 60%, b: rest}
"""
SUPPLY = Supply(
    {name: SourceSupply(name, np.array(tokens, np.int64)) for name, tokens in SIZES.items()},
    TokenizerFacts("llama-3.2"),
)


def recipe(name: str, weights: str, length: int = LENGTH) -> Recipe:
    text = TEXT.replace("{a: 60%, b: rest}", weights).replace("name: run", f"name: {name}")
    return read_recipe(text.replace("sequence_length: 4", f"sequence_length: {length}"), Path("x.yaml"))


@pytest.fixture(scope="module")
def first() -> Plan:
    return plan_stage(recipe("run", "{a: 60%, b: rest}"), SUPPLY, profile="hub")[0]


def all_of(plan: Plan) -> list[Sample]:
    return [plan.at(index) for index in range(plan.windows)]


def holds(plan: Plan, sample: Sample, span: Span) -> bool:
    """Say whether a window holds a token of the span, by its tokens alone."""
    length = plan.sequence_length + 1
    tokens = set(range(sample.window * length, (sample.window + 1) * length))
    same = (sample.source, sample.shard) == (span.source, span.shard)
    return same and span.pass_ in {None, sample.pass_} and bool(tokens & set(range(span.begin, span.end)))


@st.composite
def documents(draw: st.DrawFn) -> list[Span]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        source, shard = draw(st.sampled_from([("a", 0), ("a", 1), ("a", 3), ("b", 0), ("b", 1)]))
        begin = draw(st.integers(0, SIZES[source][shard] - 1))
        end = min(begin + draw(st.integers(1, 30)), SIZES[source][shard])
        found.append(Span(source, shard, begin, end, f"document {number}"))
    return found


def check_laws(old: Plan, found: Retracted, spans: list[Span], at_step: int) -> None:
    new, future = found.plan, at_step * old.batch_windows
    before, after = all_of(old), all_of(new)
    swapped = {swap.after.index for swap in found.swaps}
    assert [i for i in range(old.windows) if before[i] != after[i]] == sorted(swapped)
    assert all(index >= future for index in swapped)
    assert not any(holds(new, sample, span) for sample in after[future:] for span in spans)
    assert swapped == {i for i in range(future, old.windows) if any(holds(old, before[i], s) for s in spans)}
    assert [sample.source for sample in before] == [sample.source for sample in after]
    drawn_later = [sample for index, sample in enumerate(after) if index in swapped]
    assert len(set(drawn_later)) == len(drawn_later)
    assert set(drawn_later).isdisjoint(before)


@settings(max_examples=40, deadline=None)
@given(documents(), st.integers(0, 20))
def test_laws(first: Plan, spans: list[Span], at_step: int) -> None:
    found = retract([first], spans, at_step)
    check_laws(first, found, spans, at_step)
    order, samples = found.plan.order, all_of(found.plan)
    assert [order.index_of(*sample) for sample in samples] == list(range(first.windows))
    many = found.plan.at_many(np.arange(first.windows)[::-1])
    assert [many.sample(row) for row in range(len(many))] == samples[::-1]
    for source in "ab":
        opened = {shard: [i for i, s in enumerate(samples) if (s.source, s.shard) == (source, shard)]
                  for shard in range(len(SIZES[source]))}  # fmt: skip
        wanted = [min(opened[shard], default=-1) for shard in range(len(SIZES[source]))]
        assert found.plan.first_indices(source).tolist() == wanted
        places = [
            (shard, window) for shard, tokens in enumerate(SIZES[source]) for window in range(tokens // 5)
        ]
        met = occurrences(order, source, *np.array(places, np.int64).T)
        brute = [
            (i, places.index((s.shard, s.window)), s.pass_)
            for i, s in enumerate(samples)
            if s.source == source
        ]
        assert list(zip(met.index.tolist(), met.row.tolist(), met.pass_.tolist(), strict=True)) == brute


@settings(max_examples=20, deadline=None)
@given(documents(), documents(), st.integers(0, 20), st.integers(0, 20))
def test_a_second_retraction_keeps_the_first(
    first: Plan, spans: list[Span], more: list[Span], one: int, other: int
) -> None:
    at_step, later = sorted((one, other))
    middle = retract([first], spans, at_step)
    found = retract([middle.plan], more, later)
    check_laws(middle.plan, found, more, later)
    after = all_of(found.plan)
    assert not any(holds(first, sample, span) for sample in after[at_step * BATCH :] for span in spans)
    put_in = [row for row in found.plan.changes.replacements] if found.plan.changes else []  # noqa: C416 - rows
    places = [(row.source, row.pass_, row.shard, row.window) for row in put_in]
    assert len(set(places)) == len(places)
    assert found.plan.lock.hash != middle.plan.lock.hash != first.lock.hash


@settings(max_examples=20, deadline=None)
@given(documents(), st.integers(0, 19), st.integers(1, 20), st.sampled_from([4, 9]))
def test_the_rest_planned_anew_forgets_neither_documents_nor_windows_put_in(
    first: Plan, spans: list[Span], at_step: int, done: int, length: int
) -> None:
    middle = retract([first], spans, at_step).plan
    new = recipe("rest", "{a: 20%, b: 50%, c: rest}", length)
    rest = replan([middle], done, new, SUPPLY, profile="hub", budget="15 steps")
    rest = retract([middle, rest], [], 0).plan
    seen = [middle.at(index) for index in range(done * BATCH)]
    read = all_of(rest)
    assert not any(holds(rest, sample, span) for sample in read for span in spans)
    if length == LENGTH:
        twice = [sample for sample, count in Counter([*seen, *read]).items() if count > 1]
        assert not twice
    else:
        put_in = [s for s in carried([middle, rest]) if s.document is None]
        assert not any(holds(rest, sample, span) for sample in read for span in put_in)


def test_what_was_seen_is_told_stage_by_stage(first: Plan) -> None:
    rest = replan([first], 12, recipe("rest", "{b: 80%, c: rest}"), SUPPLY, profile="hub", budget="30 steps")
    span = Span("b", 1, 13, 17, "x")
    found = retract([first, rest], [span], 5)
    told = [(read.stage, read.index, read.pass_, read.window) for read in (*found.seen, *found.averted)]
    brute = [
        (plan.name, index, plan.at(index).pass_, plan.at(index).window)
        for plan, end in ((first, 120), (rest, 300))
        for index in range(end)
        if holds(plan, plan.at(index), span)
    ]
    assert told == brute
    assert {window for *_, window in told} == {2, 3}
    assert {read.stage for read in found.averted} == {"rest"}
    assert all(read.index >= 50 for read in found.averted)
    assert all(read.step == read.index // BATCH for read in found.seen)


def test_the_files_are_the_plan(first: Plan, tmp_path: Path) -> None:
    new = retract([first], [Span("a", 0, 3, 40, "x"), Span("b", 0, 0, 1, "y")], 4).plan
    for folder in ("one", "two"):
        write_plan(new, tmp_path / folder)
    loaded = load_plan(tmp_path / "one")
    assert loaded == new
    assert all_of(loaded) == all_of(new)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert loaded.lock.parts.keys() - first.lock.parts.keys() == {"retraction"}
    other = retract([first], [Span("a", 0, 3, 40, "x")], 4).plan
    write_plan(other, tmp_path / "two")
    (tmp_path / "one" / RETRACTED).write_bytes((tmp_path / "two" / RETRACTED).read_bytes())
    with pytest.raises(IntegrityError, match="not the one that the plan was locked with"):
        load_plan(tmp_path / "one").at(0)


def test_nothing_to_put_in(first: Plan) -> None:
    whole = [Span("b", shard, 0, tokens, "all of it") for shard, tokens in enumerate(SIZES["b"])]
    with pytest.raises(InputError, match="every one of the 22 windows of 'b'"):
        retract([first], whole, 0)
    with pytest.raises(InputError, match="step 21 is none of it"):
        retract([first], whole, 21)
    assert retract([first], whole, 20).swaps == ()


def test_tokens_behind_the_last_window_are_never_read(first: Plan) -> None:
    tail = Span("a", 0, 120, 123, "tail")
    assert reads(first, [tail]) == []
    assert retract([first], [tail], 0).swaps == ()


def test_a_chain_of_three_is_cut_at_each_seam(first: Plan) -> None:
    plans = [first]
    for number in range(2):
        new = recipe(f"part{number}", "{a: 30%, b: 30%, c: rest}")
        plans.append(replan(plans, 3, new, SUPPLY, profile="hub", budget="6 steps"))
    seen = [plan.at(index) for plan in plans for index in range(30)]
    assert len(set(seen)) == len(seen)
    assert [plan.start_step for plan in plans] == [0, 3, 6]
