"""ln p of choices equals a direct computation, however requests are packed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.eval.tiny_model import tiny_model

from smoleval.loglikelihood import Request, Row, answers, batches, padded, rows_of, split

PROMPTS = [
    "Question: where is the water?\nAnswer:",
    "one two three",
    "the house is on the water and the question is no longer one of two ",
    "数 é:",
    "",
]
CHOICES = [
    [" yes", " no"],
    [" four", " 4 and more of it", " 0"],
    ["yes"],
    [" b", "b", " the answer"],
    ["a b"],
]


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer: Any) -> Any:
    return tiny_tokenizer


def direct(model: Any, request: Request) -> tuple[float, bool]:
    """One request, one forward pass, in float64: no padding, no packing."""
    ids = torch.tensor([request.context + request.tokens])
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits[0].double()
    first, total, greedy = len(request.context), 0.0, True
    for number, token in enumerate(request.tokens):
        row = torch.log_softmax(logits[first + number - 1], -1)
        total += row[token].item()
        greedy = greedy and int(row.argmax()) == token
    return total, greedy


@pytest.mark.parametrize("batch_tokens", [1, 64, 4096])
@pytest.mark.parametrize("model_type", ["smollm3", "one of another kind"])
def test_it_equals_a_forward_pass_of_each_choice_by_itself(
    model: Any, tokenizer: Any, batch_tokens: int, model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.config, "model_type", model_type)
    requests = split(tokenizer, PROMPTS, CHOICES, special=True)
    rows, cut = rows_of(requests, 256)
    found = {(one.item, one.choice): answer for one, answer in answers(model, rows, batch_tokens)}
    assert cut == 0
    assert len(found) == sum(map(len, CHOICES))
    for group in requests:
        for request in group:
            logprob, greedy = direct(model, request)
            assert found[request.item, request.choice].logprob == pytest.approx(logprob, abs=1e-5)
            assert found[request.item, request.choice].greedy == greedy


def test_greedy_is_true_for_what_the_model_would_say(model: Any) -> None:
    context = (40, 41, 42)
    with torch.inference_mode():
        said = int(model(input_ids=torch.tensor([context])).logits[0, -1].argmax())
    rows, _ = rows_of([[Request(0, 0, context, (said,)), Request(0, 1, context, ((said + 1) % 320,))]], 256)
    assert [answer.greedy for _, answer in answers(model, rows, 64)] == [True, False]


def test_choices_of_one_token_share_their_input(tokenizer: Any) -> None:
    letters = split(tokenizer, ["the answer is"], [["0", "1", "2"]], special=True)
    rows, _ = rows_of(letters, 256)
    assert len(rows) == 1
    assert [one.choice for one in rows[0].requests] == [0, 1, 2]


def test_spaces_at_the_end_of_a_prompt_belong_to_the_choice(tokenizer: Any) -> None:
    (one,), (other,) = split(tokenizer, ["it is ", "it is"], [["on"], [" on"]], special=True)
    assert (one.context, one.tokens) == (other.context, other.tokens)


def test_a_choice_has_a_token_even_where_it_merges_into_the_prompt(tokenizer: Any) -> None:
    for group in split(tokenizer, ["wate", "th", "a"], [["r"], ["e"], [""]], special=True):
        assert all(len(one.tokens) >= 1 and len(one.context) >= 1 for one in group)


def test_long_inputs_lose_their_beginning_and_are_counted(model: Any) -> None:
    context = tuple(range(1, 120))
    rows, cut = rows_of([[Request(0, 0, context, (7, 8))]], 50)
    assert cut == 1
    ((_, answer),) = answers(model, rows, 64)
    whole, _ = direct(model, Request(0, 0, context[-49:], (7, 8)))
    assert answer.logprob == pytest.approx(whole, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=60), st.integers(8, 600))
def test_batches_hold_every_row_once_and_no_more_than_asked(lengths: list[int], batch_tokens: int) -> None:
    rows = [Row(tuple([number] * length), ()) for number, length in enumerate(lengths)]
    packed = list(batches(rows, batch_tokens))
    assert sorted(row.ids for batch in packed for row in batch) == sorted(row.ids for row in rows)
    for batch in packed:
        width = padded(max(len(row.ids) for row in batch))
        assert len(batch) == 1 or width * len(batch) <= batch_tokens


def test_the_end_of_text_starts_an_empty_prompt(tokenizer: Any, tmp_path: Path) -> None:
    (group,) = split(tokenizer, [""], [["a"]], special=True)
    assert group[0].context == (tokenizer.eos_token_id,)
