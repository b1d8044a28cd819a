"""Prompts -> generated answers: batches by length, stop texts, one or many samples an item.

Prompts are sorted by length and padded on the left; a batch holds as many as ``cache_tokens`` of keys and
values allow. Generation is transformers'; an answer ends at the end-of-text token or where one of the stop
texts has appeared in it, and is cut there. Samples are drawn from one seed, so the same call gives the same
answers. Cost: one forward pass a token and batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList


@dataclass(frozen=True, slots=True)
class Limits:
    """Lengths, batch sizes and how answers are drawn."""

    max_length: int
    """Longest input of the model."""
    batch_tokens: int
    """Tokens of a forward pass, padding included."""
    cache_tokens: int
    """Tokens whose keys and values are kept while generating."""
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_new_tokens: int | None = None
    """A bound over the tasks' own."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One item to answer."""

    number: int
    ids: tuple[int, ...]
    new_tokens: int
    stop: tuple[str, ...]
    samples: int


@dataclass(frozen=True, slots=True)
class Generated:
    """The answers to one item."""

    texts: tuple[str, ...]
    tokens: tuple[list[int], ...]


class _StopAtText(StoppingCriteria):  # type: ignore[misc]  # transformers' types are skipped
    """Tells for each row whether one of the texts stands in its last tokens."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], begin: int) -> None:
        self.tokenizer, self.stop, self.begin = tokenizer, tuple(stop), begin
        # A token has at least one byte, so a text of n bytes lies within n tokens.
        self.tail = max(len(text.encode()) for text in stop) + 1

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 (transformers' name)
        """Return one bool a row."""
        tail = input_ids[:, self.begin :][:, -self.tail :]
        texts = self.tokenizer.batch_decode(tail)
        done = [any(stop in text for stop in self.stop) for text in texts]
        return torch.tensor(done, device=input_ids.device)


@dataclass(frozen=True, slots=True)
class Generator:
    """A model that answers prompts."""

    model: Any
    tokenizer: Any
    limits: Limits

    def answers(self, ids: Sequence[Sequence[int]], docs: Sequence[Any]) -> tuple[list[Generated], int]:
        """Return the answers to tokenized prompts, in their order, and how many prompts were cut to fit.

        ``docs`` are lighteval's: their ``generation_size``, ``stop_sequences`` and ``num_samples`` hold.
        """
        prompts = [self._prompt(number, ids[number], doc) for number, doc in enumerate(docs)]
        found: dict[int, Generated] = {}
        torch.manual_seed(self.limits.seed)
        for batch in self._batches(prompts):
            for prompt, answer in zip(batch, self._generated(batch), strict=True):
                found[prompt.number] = answer
        cut = sum(len(prompt.ids) < len(ids[prompt.number]) for prompt in prompts)
        return [found[number] for number in range(len(docs))], cut

    def _prompt(self, number: int, ids: Sequence[int], doc: Any) -> Prompt:
        bounds = [doc.generation_size, self.limits.max_new_tokens, self.limits.max_length - 1]
        wanted = min(bound for bound in bounds if bound is not None)
        # As lighteval: the prompt keeps its room; an answer has what is left, and at least half if it is cut.
        room = max(self.limits.max_length - min(wanted, self.limits.max_length // 2), 1)
        kept = tuple(ids[-room:])
        new_tokens = min(wanted, self.limits.max_length - len(kept))
        return Prompt(number, kept, new_tokens, tuple(doc.stop_sequences or ()), doc.num_samples)

    def _batches(self, prompts: Sequence[Prompt]) -> Iterator[list[Prompt]]:
        ordered = sorted(prompts, key=lambda one: (one.stop, one.samples, -len(one.ids), -one.new_tokens))
        batch: list[Prompt] = []
        for prompt in ordered:
            if batch and not self._fits(batch, prompt):
                yield batch
                batch = []
            batch.append(prompt)
        if batch:
            yield batch

    def _fits(self, batch: Sequence[Prompt], prompt: Prompt) -> bool:
        first = batch[0]
        same = (first.stop, first.samples) == (prompt.stop, prompt.samples)
        width = len(first.ids) + max(one.new_tokens for one in (*batch, prompt))
        return same and width * (len(batch) + 1) * first.samples <= self.limits.cache_tokens

    @torch.inference_mode()
    def _generated(self, batch: Sequence[Prompt]) -> list[Generated]:
        width = max(len(prompt.ids) for prompt in batch)
        pad = self.tokenizer.eos_token_id
        ids = torch.full((len(batch), width), pad, dtype=torch.long)
        mask = torch.zeros(len(batch), width, dtype=torch.long)
        for number, prompt in enumerate(batch):
            ids[number, width - len(prompt.ids) :] = torch.tensor(prompt.ids)
            mask[number, width - len(prompt.ids) :] = 1
        device = self.model.device
        stop, new_tokens = batch[0].stop, max(prompt.new_tokens for prompt in batch)
        criteria = [_StopAtText(self.tokenizer, stop, width)] if stop else []
        rows: list[list[list[int]]] = [[] for _ in batch]
        for samples in self._rounds(batch, width + new_tokens):
            output = self.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=new_tokens,
                num_return_sequences=samples,
                stopping_criteria=StoppingCriteriaList(criteria),
                pad_token_id=pad,
                **self._drawing(),
            )
            new = output[:, width:].tolist()
            for number in range(len(batch)):
                rows[number] += new[number * samples : (number + 1) * samples]
        return [self._answer(prompt, one) for prompt, one in zip(batch, rows, strict=True)]

    def _rounds(self, batch: Sequence[Prompt], length: int) -> Iterator[int]:
        """Yield how many samples are drawn at once: 64 long answers to one prompt may be more than fit."""
        left = batch[0].samples
        at_once = max(1, self.limits.cache_tokens // (len(batch) * length))
        while left:
            yield min(at_once, left)
            left -= min(at_once, left)

    def _drawing(self) -> dict[str, Any]:
        if self.limits.temperature == 0:
            return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        return {
            "do_sample": True,
            "temperature": self.limits.temperature,
            "top_p": self.limits.top_p,
            "top_k": 0,
        }

    def _answer(self, prompt: Prompt, rows: Sequence[list[int]]) -> Generated:
        ends = self.model.generation_config.eos_token_id
        ends = {self.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
        tokens = [_until(row[: prompt.new_tokens], ends) for row in rows]
        texts = [
            _before(text, prompt.stop)
            for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        ]
        return Generated(tuple(texts), tuple(tokens))


def _until(ids: list[int], ends: set[int]) -> list[int]:
    """Return the tokens before the first that ends a text."""
    for number, token in enumerate(ids):
        if token in ends:
            return ids[:number]
    return ids


def _before(text: str, stop: Sequence[str]) -> str:
    """Return a text up to the first stop text in it."""
    for word in stop:
        text = text.split(word, 1)[0]
    return text
