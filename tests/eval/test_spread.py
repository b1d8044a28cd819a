"""Standard errors of scores that are no mean of numbers: by hand, and by leaving every item out in turn."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoleval.intervals import stderr_by_jackknife, stderr_of_mean, stderr_of_ratio
from smoleval.metrics.ifeval import ShareOfAll
from smoleval.metrics.text import corpus_score, corpus_stderr

GOLDS = ["The house is white.", "She reads a long book.", "It rains today.", "Nobody knew the way home."]
ANSWERS = ["The house is white.", "She reads a book now.", "It snows today.", "No one knew the way back."]
SCORERS: dict[str, Callable[[Any], Any]] = {
    "chrf++": lambda sacrebleu: sacrebleu.CHRF(word_order=2),
    "bleu": lambda sacrebleu: sacrebleu.BLEU(),
}
numbers = st.lists(st.floats(-100, 100), min_size=2, max_size=20)


def test_by_hand() -> None:
    # 1, 2, 6: mean 3, squares 4 + 1 + 9 = 14, 14 / 2 / 3.
    assert stderr_of_mean([1.0, 2.0, 6.0]) == pytest.approx(math.sqrt(14 / 6))
    # 3 of 4 in all: residues 1 - 0.75 = 0.25 and 2 - 2.25 = -0.25; squares 0.125, times 2 / 1.
    assert stderr_of_ratio([1.0, 2.0], [1.0, 3.0]) == pytest.approx(math.sqrt(0.25) / 4)
    assert [stderr_of_mean([1.0]), stderr_of_ratio([1.0], [2.0]), stderr_by_jackknife([1.0])] == [None] * 3


@given(numbers)
def test_the_jackknife_of_a_mean_is_its_standard_error(values: list[float]) -> None:
    total, count = sum(values), len(values)
    without = [(total - value) / (count - 1) for value in values]
    assert stderr_by_jackknife(without) == pytest.approx(stderr_of_mean(values), rel=1e-6, abs=1e-9)


@given(numbers)
def test_a_ratio_over_ones_is_a_mean(values: list[float]) -> None:
    ones = [1.0] * len(values)
    assert stderr_of_ratio(values, ones) == pytest.approx(stderr_of_mean(values), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", SCORERS)
def test_a_translation_scores_error_is_that_of_leaving_each_item_out(name: str) -> None:
    pairs = list(zip(GOLDS, ANSWERS, strict=True))
    rests = [pairs[:number] + pairs[number + 1 :] for number in range(len(pairs))]
    without = [corpus_score(SCORERS[name], *map(list, zip(*rest, strict=True))) for rest in rests]
    assert len(set(without)) == len(pairs)
    assert corpus_stderr(SCORERS[name], GOLDS, ANSWERS) == pytest.approx(stderr_by_jackknife(without))
    assert corpus_stderr(SCORERS[name], GOLDS[:1], ANSWERS[:1]) is None


def test_instructions_share_their_prompts_error() -> None:
    share = ShareOfAll()
    lists = [[True, True, False], [False], [True, True]]
    assert share(lists) == pytest.approx(4 / 6)
    assert share.standard_error(lists) == pytest.approx(stderr_of_ratio([2.0, 0.0, 2.0], [3.0, 1.0, 2.0]))
    # Of prompts with one instruction each it is that of a mean.
    assert share.standard_error([[True], [False], [True]]) == pytest.approx(stderr_of_mean([1.0, 0.0, 1.0]))
