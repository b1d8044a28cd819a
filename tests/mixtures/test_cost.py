"""What a curriculum costs: exact to the last formatting, every assumption with its origin."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from smoldata.errors import InputError
from smolmix.cli import app
from smolmix.cost import Speeds, cost_of, rounded
from smolmix.plan import Plan
from smolmix.planner import plan_stage
from smolmix.recipe import read_recipe
from smolmix.supply import SourceSupply, Supply, TokenizerFacts

RECIPE = """\
format_version: 1
name: run
sequence_length: 9
batch_windows: 10
budget: 20 steps
weights: {large: 50%, small: 30%, unknown: rest}
"""
SUPPLY = Supply(
    {
        "large": SourceSupply("large", np.array([3000, 4000], np.int64)),
        "small": SourceSupply("small", np.array([250, 50], np.int64)),
        "unknown": SourceSupply("unknown", None, virtual=True),
    },
    TokenizerFacts("bytes", token_width=2),
)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_stage(read_recipe(RECIPE, Path("run.yaml")), SUPPLY, profile="hub")[0]


def test_by_hand(plan: Plan) -> None:
    speeds = Speeds(5, Fraction(25), Fraction(4), Fraction(1, 10**6), Fraction(10))
    found = cost_of([plan], speeds)
    # 200 windows of 9 count 1,800 tokens: 72 s of one GPU.
    assert (found.total.tokens, found.total.gpu_hours) == (1800, Fraction(72, 3600))
    assert found.total.days == Fraction(72, 5 * 86400)
    # On disk 10 tokens a window: 100 of large, 60 of small, which has 300 tokens only, 40 of the unknown one.
    assert found.tokens_needed == 1000 + 300 + 400
    assert (found.shard_bytes, found.whole_sources_bytes) == (3400, 2 * 7300)
    assert found.text_bytes == 6800
    assert found.tokenizing_core_hours == Fraction(6800, 3600)
    assert found.scoring_gpu_hours == Fraction(170, 3600)
    assert found.unknown_sizes == ("unknown",)


def test_a_second_stage_reads_the_same_source_once_more_but_stores_it_once(plan: Plan) -> None:
    one, two = cost_of([plan]), cost_of([plan, plan])
    assert two.total.gpu_hours == 2 * one.total.gpu_hours
    assert two.tokens_needed == 2000 + 300 + 800
    assert two.whole_sources_bytes == one.whole_sources_bytes


@given(st.integers(1, 10**6), st.fractions(Fraction(1, 1000), 10**6))
def test_days_times_gpus_are_the_hours(plan: Plan, gpus: int, speed: Fraction) -> None:
    found = cost_of([plan], Speeds(gpus, speed))
    assert found.total.days * gpus * 24 == found.total.gpu_hours
    assert found.total.gpu_hours * 3600 * speed == plan.tokens


def test_the_published_run() -> None:
    text = run("cost", "--gpus", "384", "--preset", "released")
    total = next(line for line in text.splitlines() if "│ all " in line)
    assert [cell.strip() for cell in total.split("│")[2:6]] == [
        "11,135,877,120,000",
        "219,913",
        "23.9",
        "384",
    ]
    data = json.loads(run("cost", "--gpus", "384", "--preset", "released", "--json"))
    tokens = 4_720_000 * 576 * 4096
    assert data["total"]["tokens"] == tokens
    assert Fraction(data["total"]["days"]) == Fraction(tokens, 14_066 * 384 * 86_400)
    blog, released = (Fraction(one["days"]) for one in data["published"])
    assert (rounded(blog, 1), rounded(released, 1)) == ("24.0", "23.9")
    assert released == Fraction(data["total"]["days"])
    assert all(one["origin"] for one in data["assumptions"])


def test_one_stage_and_other_speeds() -> None:
    data = json.loads(
        run("cost", "--stage", "2", "--alone", "--gpus", "100", "--tokens-per-second", "33/2", "--json")
    )
    assert [one["name"] for one in data["stages"]] == ["stage2 (blog)"]
    assert Fraction(data["total"]["gpu_hours"]) == Fraction(data["total"]["tokens"]) / Fraction(33, 2) / 3600
    assert {one["name"]: one["origin"] for one in data["assumptions"]}["tokens_per_gpu_second"] == "given"
    chain = json.loads(run("cost", "--stage", "64k", "--json"))
    assert chain["total"]["tokens"] == 11_135_877_120_000 + 42_000 * 2_359_296


def test_bad_input(plan: Plan) -> None:
    with pytest.raises(InputError, match="0 GPUs"):
        cost_of([plan], Speeds(0))
    with pytest.raises(InputError, match="tokens_per_gpu_second is -1/1"):
        cost_of([plan], Speeds(1, Fraction(-1)))
    with pytest.raises(InputError, match="--tokens-per-second fast is no number"):
        run("cost", "--tokens-per-second", "fast")


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (Fraction(12345, 10), 0, "1,234"),
        (Fraction(-5, 4), 1, "-1.2"),
        (7, 2, "7.00"),
        (Fraction(99996, 10000), 3, "10.000"),
    ],
)
def test_rounding(value: Fraction, digits: int, text: str) -> None:
    assert rounded(value, digits) == text
