"""Plans: numbers computed by hand for a small recipe, and the laws that hold for any."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smolmix
from smoldata.errors import InputError, IntegrityError, RecipeError, SourceError
from smoldata.registry import load_registry
from smolmix.plan import Plan, load_plan
from smolmix.plan_files import plan_folder_name, write_plan
from smolmix.planner import chain, plan_stage
from smolmix.recipe import Recipe, load_recipe, read_recipe
from smolmix.sources import names_of, supply_from_registry
from smolmix.supply import SourceSupply, Supply, TokenizerFacts

FIRST = """\
format_version: 1
name: first
sequence_length: 4
batch_windows: 10
seed: 6
sample: {sequence_length: 4, batch_windows: 10, max_passes: 2}
presets:
  even:
    budget: 205 tokens
    weights:
      g: {share: 50%, members: {a: 60%, b: 30%, c: rest}}
      d: 50%
"""
SECOND = """\
format_version: 1
name: second
follows: first.yaml
sequence_length: 9
batch_windows: 10
budget: 3 steps
weights: {a: 50%, d: 50%}
"""


def recipe(tmp_path: Path, text: str = FIRST) -> Recipe:
    (tmp_path / "first.yaml").write_text(FIRST)
    path = tmp_path / "this.yaml"
    path.write_text(text)
    return load_recipe(path)


def supply(**tokens: list[int] | None) -> Supply:
    sources = {
        name: SourceSupply(name, None if sizes is None else np.array(sizes, np.int64))
        for name, sizes in tokens.items()
    }
    return Supply(sources, TokenizerFacts("llama-3.2"))


def test_a_small_plan_by_hand(tmp_path: Path) -> None:
    # Windows of 5 tokens on disk. a: 52 -> 10 and 23 -> 4; b: 99 -> 19; c: nothing; d: 500 -> 100.
    # 205 tokens = 5 steps of 40 and 5 left over = 50 windows. c's 10 % of g goes to a and b, 2 : 1.
    plan = plan_stage(recipe(tmp_path), supply(a=[52, 23], b=[99], d=[500]), profile="hub")[0]
    assert (plan.steps, plan.windows, plan.tokens, plan.budget.remainder_tokens) == (5, 50, 200, 5)
    seen = {
        s.name: (s.status, s.published_weight, s.weight, s.windows, s.capacity_windows) for s in plan.sources
    }
    assert seen == {
        "a": ("present", Fraction(3, 10), Fraction(1, 3), 17, 14),
        "b": ("present", Fraction(3, 20), Fraction(1, 6), 8, 19),
        "c": ("absent", Fraction(1, 20), Fraction(0), 0, 0),
        "d": ("present", Fraction(1, 2), Fraction(1, 2), 25, 100),
    }
    assert plan.source("a").passes == Fraction(17, 14)
    assert plan.source("a").group == "g"
    # d is the root's child (25 of 50: 1/2); a is under g (25 of 50, then 17 of 25): 17/25 * 1/2 + 1/2.
    assert plan.prefix_bound == Fraction(17, 50) + Fraction(1, 2)
    assert sorted(f.code for f in plan.findings) == ["absent-source", "budget-remainder"]
    assert "5%" in next(f.message for f in plan.findings if f.code == "absent-source").replace(" ", "")


def test_the_sample_budget_is_the_most_that_its_passes_allow(tmp_path: Path) -> None:
    # a has 14 windows and weight 1/3: 2 passes are 28 = 84/3. 84 windows are 8 steps of 10.
    plan = plan_stage(recipe(tmp_path), supply(a=[52, 23], b=[99], d=[500]))[0]
    assert plan.steps == 8
    assert "a (~33.3333 %, 14 windows) is read at most 2 times" in plan.budget.why
    assert all(source.passes is not None and source.passes <= 2 for source in plan.sources)


def test_a_chain_carries_offsets_over_lengths(tmp_path: Path) -> None:
    first, second = plan_stage(recipe(tmp_path, SECOND), supply(a=[52, 23], b=[99], d=[500]), profile="hub")
    assert (first.name, second.name, second.start_step) == ("first", "second", 5)
    assert second.follows is not None
    assert second.follows.lock == first.lock.hash
    # a: 17 of 14 + 14 windows read: pass 1 is under way with 3 windows, in one opened shard.
    a = second.source("a")
    assert a.first_shard_offset == 1
    assert a.held_back_windows in {10 - 3, 4 - 3}
    assert a.passes_before == Fraction(17, 14)
    # At 10 tokens a window a's shards have 5 and 2 windows. A pass is 7; the opened shard's are skipped.
    assert a.base_windows == 7 + {7: 5, 1: 2}[a.held_back_windows]
    assert a.offset_windows == 0
    assert second.source("d").passes_before == Fraction(25, 100)


def test_same_length_goes_on_at_the_next_window(tmp_path: Path) -> None:
    text = SECOND.replace("sequence_length: 9", "sequence_length: 4")
    first, second = plan_stage(recipe(tmp_path, text), supply(a=[52, 23], b=[99], d=[500]), profile="hub")
    assert second.source("a").offset_windows == first.source("a").windows == 17
    assert second.source("d").offset_windows == 25
    seen = {plan.at(i) for plan in (first, second) for i in range(plan.windows)}
    assert len(seen) == first.windows + second.windows


def test_unknown_size(tmp_path: Path) -> None:
    plan = plan_stage(recipe(tmp_path), supply(a=None, b=[99], d=[500]), profile="full")[0]
    a = plan.source("a")
    assert (a.status, a.capacity_windows, a.passes, a.shards) == ("unknown_size", None, None, 1)
    assert [plan.at(i).window for i in range(plan.windows) if plan.at(i).source == "a"] == list(
        range(a.windows)
    )


def test_a_positive_weight_without_windows_is_a_finding(tmp_path: Path) -> None:
    text = FIRST.replace("{a: 60%, b: 30%, c: rest}", "{a: 99.99%, b: 0.005%, c: rest}")
    plan = plan_stage(recipe(tmp_path, text), supply(a=[999], b=[99], c=[99], d=[999]), profile="hub")[0]
    assert [f.source for f in plan.findings if f.code == "starved-source"] == ["b", "c"]
    assert plan.order.windows == plan.windows


def test_shards_too_short_for_a_window_are_listed_and_never_opened(tmp_path: Path) -> None:
    plan = plan_stage(recipe(tmp_path), supply(a=[3, 2], b=[99], d=[500]), profile="hub")[0]
    assert (plan.source("a").status, plan.source("a").shards) == ("absent", 2)
    write_plan(plan, tmp_path / "plan")
    assert load_plan(tmp_path / "plan").first_indices("a").tolist() == [-1, -1]


def test_an_absent_group_names_its_heirs(tmp_path: Path) -> None:
    text = FIRST.replace("g: {share", "h: {share: 10%, members: {x: 1}}\n      g: {share").replace(
        "d: 50%", "d: 40%"
    )
    plan = plan_stage(recipe(tmp_path, text), supply(a=[52, 23], b=[2], d=[500]), profile="hub")[0]
    messages = {f.source: f.message for f in plan.findings if f.code == "absent-source"}
    assert "x has no training shards; its 10 % went to the present sources of all groups" in messages["x"]
    assert "b has no shard of 5 tokens; its 15 % went to the present sources of g" in messages["b"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"supply": {}}, "none of its 4 sources has a training window of 4 tokens"),
        ({"supply": {"a": [3]}}, "none of its 4 sources has a training window of 4 tokens"),
        ({"budget": "30 tokens"}, "less than a step of 10 x 4 = 40"),
        ({"budget": "1 shard"}, "is not a budget"),
        ({"profile": "sample", "supply": {"a": [5], "d": [5]}}, "too small for one step of 10 windows"),
        ({"preset": "blog"}, "has no preset 'blog'; presets: even"),
    ],
)
def test_what_cannot_be_planned(tmp_path: Path, given: dict[str, object], message: str) -> None:
    tokens = given.pop("supply", {"a": [52], "d": [500]})
    with pytest.raises(RecipeError, match=message):
        plan_stage(recipe(tmp_path), supply(**tokens), **{"profile": "hub", **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "message"), [("seed: 7\n", "has seed 7"), ("validation: 1/3\n", "has validation 1/3")]
)
def test_stages_that_do_not_fit_together(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        chain(recipe(tmp_path, SECOND + line))


def test_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SECOND.replace("second", "a").replace("first.yaml", "b.yaml"))
    (tmp_path / "b.yaml").write_text(SECOND.replace("second", "b").replace("first.yaml", "a.yaml"))
    with pytest.raises(RecipeError, match="follows itself"):
        chain(load_recipe(tmp_path / "a.yaml"))


def test_caps_over_the_curriculum(tmp_path: Path) -> None:
    caps = "max_passes: {curriculum: 3/2, on_cap: redistribute}\n"
    text = SECOND.replace("sequence_length: 9", "sequence_length: 4") + caps
    _, second = plan_stage(recipe(tmp_path, text), supply(a=[52, 23], b=[99], d=[500]), profile="hub")
    a = second.source("a")
    assert a.passes is not None
    assert a.passes_before is not None
    assert a.passes + a.passes_before <= Fraction(3, 2)
    assert a.windows == int((Fraction(3, 2) - Fraction(17, 14)) * 14)
    with pytest.raises(RecipeError, match="pass a cap"):
        plan_stage(
            recipe(tmp_path, text.replace("redistribute", "error")),
            supply(a=[52, 23], b=[99], d=[500]),
            profile="hub",
        )


weights_and_sizes = st.lists(
    st.tuples(st.integers(1, 1000), st.lists(st.integers(0, 300), min_size=1, max_size=4)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(weights_and_sizes, st.integers(1, 20), st.randoms())
def test_laws_of_any_plan(given_: list[tuple[int, list[int]]], steps: int, random: object) -> None:
    lines = [f"  s{i}: {weight}" for i, (weight, _) in enumerate(given_)]
    random.shuffle(lines)  # type: ignore[attr-defined]
    text = (
        f"format_version: 1\nname: any\nsequence_length: 4\nbatch_windows: 7\nbudget: {steps} steps\n"
        "weights:\n  normalise: true\n  members:\n" + "\n".join(f"  {line}" for line in lines)
    )
    tokens = {f"s{i}": sizes for i, (_, sizes) in enumerate(given_)}
    if not any(max(sizes) >= 5 for sizes in tokens.values()):
        return
    plan = plan_stage(read_recipe(text, Path("any.yaml")), supply(**tokens), profile="hub")[0]
    sorted_text = (
        text.split("members:\n")[0] + "members:\n" + "\n".join(f"  {line}" for line in sorted(lines))
    )
    again = plan_stage(read_recipe(sorted_text, Path("any.yaml")), supply(**tokens), profile="hub")[0]
    assert again.as_json() == plan.as_json()
    assert sum(s.weight for s in plan.sources) == sum(s.published_weight for s in plan.sources) == 1
    assert sum(s.windows for s in plan.sources) == plan.windows == steps * 7
    assert all(abs(s.windows - s.weight * plan.windows) < 1 for s in plan.sources)
    starved = {f.source for f in plan.findings if f.code in {"starved-source", "absent-source"}}
    assert {s.name for s in plan.sources if s.windows == 0} == starved
    samples = plan.at_many(np.arange(plan.windows))
    prefix = np.arange(1, plan.windows + 1)
    for s in plan.sources:
        drawn = np.cumsum(samples.source == samples.names.index(s.name))
        for share, bound in (
            (Fraction(s.windows, plan.windows), plan.prefix_bound),
            (s.weight, plan.weight_bound),
        ):
            error = np.abs(drawn * share.denominator - share.numerator * prefix)
            assert int(error.max()) <= bound * share.denominator


@pytest.fixture(scope="module")
def full() -> list[Plan]:
    last = load_recipe("mid")
    names = names_of(stage.recipe for stage in chain(last))
    return plan_stage(last, supply_from_registry(last, names, load_registry()), profile="full")


def test_the_whole_curriculum_without_data(full: list[Plan]) -> None:
    assert [plan.name for plan in full] == list(smolmix.recipe.shipped_recipes())  # type: ignore[attr-defined]
    assert [plan.preset for plan in full[:3]] == ["blog"] * 3
    # 8T, 2T and 1.1T in whole steps of 576 x 4096 tokens.
    assert [plan.steps for plan in full] == [
        3_390_842,
        847_710,
        466_240,
        20_000,
        22_000,
        140_000_000_000 // 4_194_304,
    ]
    starts = [sum(plan.steps for plan in full[:i]) for i in range(len(full))]
    assert [plan.start_step for plan in full] == starts
    for plan in full:
        assert (
            sum(s.tokens for s in plan.sources)
            == plan.tokens
            == plan.steps * plan.batch_windows * plan.sequence_length
        )


def test_full_plans_say_what_is_unknown(full: list[Plan]) -> None:
    plan = full[1]
    codes = {(f.code, f.source) for f in plan.findings}
    assert ("unknown-size", "fineweb2-hq-fra_Latn") in codes
    assert ("other-tokenizer", "dclm") in codes
    assert plan.source("fineweb2-hq-fra_Latn").passes is None
    dclm = plan.source("dclm")
    assert dclm.capacity_windows == 4000 * (10**9 // 4097)
    assert dclm.offset_windows == full[0].source("dclm").windows


def test_released_boundaries_are_the_published_ones() -> None:
    last = load_recipe("3")
    names = names_of(stage.recipe for stage in chain(last))
    supplied = supply_from_registry(last, names, load_registry())
    plans = plan_stage(last, supplied, preset="released", profile="full")
    # The published files start stage 2 at step 3,450,001 and stage 3 at 4,198,001, counted from 1.
    assert [plan.start_step for plan in plans] == [0, 3_450_000, 4_198_000]
    assert sum(plan.tokens for plan in plans) == 11_135_877_120_000
    assert [f.message for f in plans[2].findings if f.code == "weights-normalised"] == [
        "the weights of the list sum to 1.00565 (20113/20000); each is divided by that sum"
    ]
    assert round(float(plans[2].prefix_bound), 2) == 1.39


def test_budget_scales_the_last_stage_alone() -> None:
    last = load_recipe("2")
    names = names_of(stage.recipe for stage in chain(last))
    plans = plan_stage(
        last, supply_from_registry(last, names, load_registry()), profile="full", budget="100B"
    )
    assert plans[1].steps == 100_000_000_000 // 2_359_296
    assert plans[1].budget.asked == "100B"
    assert plans[0].steps == 3_390_842


def test_a_plan_survives_its_files(full: list[Plan], tmp_path: Path) -> None:
    for plan in full:
        write_plan(plan, tmp_path / plan.name)
        loaded = load_plan(tmp_path / plan.name)
        assert loaded == plan
        indices = np.linspace(0, plan.windows - 1, 300).astype(np.int64)
        assert (loaded.at_many(indices).window == plan.at_many(indices).window).all()
        assert loaded.as_json() == json.loads((tmp_path / plan.name / "plan.json").read_text())


def test_full_size_first_openings(full: list[Plan]) -> None:
    plan = full[2]
    for name in ("dclm", "wiki", "finemath-3plus", "stack-edu-Python"):
        first = plan.first_indices(name)
        opened = np.flatnonzero(first >= 0)
        assert opened.size
        for shard in opened[:20]:
            sample = plan.at(int(first[shard]))
            assert (sample.source, sample.shard) == (name, shard)


def test_the_lock_says_which_part_changed(tmp_path: Path) -> None:
    base = supply(a=[52, 23], b=[99], d=[500])
    one = plan_stage(recipe(tmp_path), base, profile="hub")[0].lock
    again = plan_stage(recipe(tmp_path, f"# a comment\n{FIRST}"), base, profile="hub")[0].lock
    assert again == one
    shards = plan_stage(recipe(tmp_path), supply(a=[52, 24], b=[99], d=[500]), profile="hub")[0].lock
    weights = plan_stage(
        recipe(tmp_path, FIRST.replace("a: 60%", "a: 61%").replace("b: 30%", "b: 29%")), base, profile="hub"
    )
    assert {part for part in one.parts if one.parts[part] != shards.parts[part]} == {"shards"}
    assert {part for part in one.parts if one.parts[part] != weights[0].lock.parts[part]} == {"recipe"}
    assert len({one.hash, shards.hash, weights[0].lock.hash}) == 3


def test_same_bytes_in_every_process(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from smolmix.planner import *; from smolmix.sources import *; "
        "from smolmix.plan_files import write_plan; from smoldata.registry import load_registry; "
        "r = load_recipe('3'); names = names_of(s.recipe for s in chain(r)); "
        "supply = supply_from_registry(r, names, load_registry()); "
        "write_plan(plan_stage(r, supply, profile='full')[-1], Path(sys.argv[1]))"
    )
    for seed, locale in (("0", "C"), ("12345", "C.UTF-8")):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "LC_ALL": locale,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        subprocess.run([sys.executable, "-c", program, str(tmp_path / seed)], check=True, env=environment)
    for name in ("plan.json", "shards.parquet"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "12345" / name).read_bytes()


def test_broken_plans_are_refused(tmp_path: Path) -> None:
    plan = plan_stage(recipe(tmp_path), supply(a=[52, 23], b=[99], d=[500]), profile="hub")[0]
    folder = tmp_path / "plan"
    file = write_plan(plan, folder)
    whole = file.read_text()
    for text, message in (
        ("{", "not JSON"),
        ("{}", "format_version None"),
        (whole.replace('"steps"', '"stops"'), "not a whole plan"),
    ):
        file.write_text(text)
        with pytest.raises(IntegrityError, match=message):
            load_plan(folder)
    file.write_text(whole.replace('"shards": 2', '"shards": 3'))
    with pytest.raises(IntegrityError, match=r"2 shards with 14 windows for 'a'"):
        load_plan(folder).at(0)
    with pytest.raises(InputError, match="there is no plan at"):
        load_plan(tmp_path / "nowhere")


def test_an_unknown_source_gets_close_names(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'dclmm', which the registry does not know; did you mean dclm"):
        supply_from_registry(recipe(tmp_path), ["dclmm"], load_registry())


def test_folder_names() -> None:
    assert (plan_folder_name("stage2", "blog"), plan_folder_name("mine", None)) == ("stage2-blog", "mine")
