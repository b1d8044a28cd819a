"""Many samples of one prompt: as many as asked, however few fit at once."""

from types import SimpleNamespace
from typing import Any

import pytest

from smoleval.generate import Generator, Limits, Prompt


@pytest.mark.parametrize(("cache", "rounds"), [(1, [1] * 7), (30, [2, 2, 2, 1]), (1000, [7]), (105, [7])])
def test_samples_are_drawn_in_rounds_that_fit(cache: int, rounds: list[int]) -> None:
    generator = Generator(None, None, Limits(64, 64, cache))
    assert list(generator._rounds([Prompt(0, (1, 2, 3), 12, (), 7)], 15)) == rounds


def test_each_item_gets_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked: list[tuple[int, int]] = []

    def generate(*, input_ids: Any, num_return_sequences: int, max_new_tokens: int, **_: Any) -> Any:
        asked.append((len(input_ids), num_return_sequences))
        repeated = input_ids.repeat_interleave(num_return_sequences, 0)
        return torch.cat([repeated, repeated[:, -1:].repeat(1, max_new_tokens)], 1)

    model = SimpleNamespace(
        device="cpu", generate=generate, generation_config=SimpleNamespace(eos_token_id=0)
    )
    tokenizer = SimpleNamespace(
        eos_token_id=0, batch_decode=lambda rows, **_: [" ".join(map(str, row)) for row in rows]
    )
    docs = [SimpleNamespace(generation_size=2, stop_sequences=[], num_samples=5) for _ in range(2)]
    answers, cut = Generator(model, tokenizer, Limits(16, 16, 8)).answers([[1, 2, 3], [4, 5, 6]], docs)
    assert cut == 0
    assert [answer.texts for answer in answers] == [("3 3",) * 5, ("6 6",) * 5]
    assert asked == [(1, 1)] * 10
