"""Generated answers: batching changes nothing, stop texts end them, samples come from their seed."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from tests.eval.tiny_model import tiny_model

from smoleval.generate import Generator, Limits
from smoleval.loglikelihood import encode

LIMITS = Limits(max_length=256, batch_tokens=512, cache_tokens=100_000)
PROMPTS = ["the answer is", "where is the water", "0 1 2 3 4 5 6 7", "a"]


@dataclass(frozen=True)
class Asked:
    """What of a lighteval Doc is read."""

    generation_size: int = 12
    stop_sequences: tuple[str, ...] = ()
    num_samples: int = 1


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer: Any) -> Any:
    return tiny_tokenizer


def texts(model: Any, tokenizer: Any, limits: Limits, docs: list[Asked]) -> list[tuple[str, ...]]:
    ids = encode(tokenizer, PROMPTS, special=True)
    return [one.texts for one in Generator(model, tokenizer, limits).answers(ids, docs)[0]]


def greedy(model: Any, ids: list[int], count: int) -> list[int]:
    """Return the most likely tokens, one after another, without a cache."""
    said: list[int] = []
    for _ in range(count):
        with torch.inference_mode():
            token = int(model(input_ids=torch.tensor([ids + said]), use_cache=False).logits[0, -1].argmax())
        if token == 0:
            break
        said.append(token)
    return said


def test_greedy_answers_are_the_models_most_likely_tokens(model: Any, tokenizer: Any) -> None:
    ids = encode(tokenizer, PROMPTS, special=True)
    found, cut = Generator(model, tokenizer, LIMITS).answers(ids, [Asked()] * len(PROMPTS))
    assert cut == 0
    assert [one.tokens[0] for one in found] == [greedy(model, prompt, 12) for prompt in ids]


def test_one_by_one_gives_the_same_answers(model: Any, tokenizer: Any) -> None:
    docs = [Asked()] * len(PROMPTS)
    together = texts(model, tokenizer, LIMITS, docs)
    assert together == texts(model, tokenizer, replace(LIMITS, cache_tokens=1), docs)


def test_an_answer_ends_before_a_stop_text(model: Any, tokenizer: Any) -> None:
    whole = [text for (text,) in texts(model, tokenizer, LIMITS, [Asked()] * len(PROMPTS))]
    stop = whole[0][3:5]
    cut = [text for (text,) in texts(model, tokenizer, LIMITS, [Asked(12, (stop,))] * len(PROMPTS))]
    assert stop
    assert cut == [text.split(stop)[0] for text in whole]


def test_samples_come_from_the_seed(model: Any, tokenizer: Any) -> None:
    drawn = replace(LIMITS, temperature=1.0, top_p=0.95, seed=3)
    docs = [Asked(num_samples=4)] * len(PROMPTS)
    first = texts(model, tokenizer, drawn, docs)
    assert first == texts(model, tokenizer, drawn, docs)
    assert first != texts(model, tokenizer, replace(drawn, seed=4), docs)
    assert all(len(group) == 4 and len(set(group)) > 1 for group in first)


def test_a_prompt_that_does_not_fit_loses_its_beginning(model: Any, tokenizer: Any) -> None:
    short = replace(LIMITS, max_length=10)
    ids = encode(tokenizer, PROMPTS, special=True)
    found, cut = Generator(model, tokenizer, short).answers(ids, [Asked(4)] * len(PROMPTS))
    assert cut == sum(len(prompt) > 6 for prompt in ids) > 0
    for prompt, one in zip(ids, found, strict=True):
        assert one.tokens[0] == greedy(model, prompt[-6:], 4)


def test_a_bound_over_all_tasks_holds(model: Any, tokenizer: Any) -> None:
    ids = encode(tokenizer, PROMPTS, special=True)
    found, _ = Generator(model, tokenizer, replace(LIMITS, max_new_tokens=3)).answers(ids, [Asked()] * 4)
    assert max(len(one.tokens[0]) for one in found) == 3
