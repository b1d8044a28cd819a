"""A Hugging Face causal model as a lighteval model: its own class, because lighteval's own is slow and pads.

Log-likelihoods: all requests are tokenized at once, equal inputs are computed once (choices of one token
share their context), the rest is sorted by length and packed into batches of at most ``batch_tokens``. Rows
are padded on the right, where a causal model cannot look, so no mask is needed; logits are made for the
positions of the continuations only, and their log-softmax is taken in float32. Unlike lighteval's class, a
choice's tokens are its own: lighteval 0.13 pads them to the longest choice, which undoes the normalisation
by tokens. Cost: one forward pass over the distinct inputs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lighteval.models.abstract_model import LightevalModel, ModelConfig
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.prompt_manager import PromptManager
from lighteval.tasks.requests import Doc

from smoldata.errors import InputError
from smoleval.generate import Generator, Limits

_MULTIPLE = 8
"""Rows are padded to a multiple of this: tensor cores like it."""


class _NoCache:
    """lighteval's cache of answers is not used: finished tasks are kept as score files."""

    def _init_registry(self, registry: object) -> None:
        """Do nothing; lighteval's pipeline calls this."""


@dataclass(frozen=True, slots=True)
class Request:
    """One choice of one question."""

    doc: int
    choice: int
    tokens: tuple[int, ...]
    """The continuation."""


@dataclass(frozen=True, slots=True)
class Row:
    """One distinct input and the requests that it answers: their last labels are its last positions."""

    ids: tuple[int, ...]
    requests: tuple[Request, ...]

    @property
    def labels(self) -> int:
        """Return how many positions at the end are read."""
        return max(len(request.tokens) for request in self.requests)


@dataclass(frozen=True, slots=True)
class Answer:
    """Sum of ln p of a continuation, and whether each of its tokens is the most likely one."""

    logprob: float
    greedy: bool


class SmolModel(LightevalModel):  # type: ignore[misc]  # lighteval ships no types
    """A causal model and its tokenizer, answering lighteval's requests."""

    def __init__(self, model: Any, tokenizer: Any, limits: Limits, name: str) -> None:
        """Take a loaded model; ``limits`` are lengths and batch sizes, ``name`` is what logs say."""
        self.model = model.eval()
        self.config = ModelConfig(model_name=name)
        self.limits = limits
        self.prompt_manager = PromptManager()
        self._tokenizer = tokenizer
        self._cache = _NoCache()
        self.truncated = 0
        """Requests whose context was cut on the left to fit."""

    @property
    def tokenizer(self) -> Any:
        """Return the tokenizer."""
        return self._tokenizer

    @property
    def add_special_tokens(self) -> bool:
        """Return whether the tokenizer adds its own (a BOS, where it has one), as lighteval does."""
        return True

    @property
    def max_length(self) -> int:
        """Return the longest input in tokens."""
        return self.limits.max_length

    def use_chat(self, system_prompt: str | None) -> None:
        """Ask through the chat template from now on."""
        self.prompt_manager = PromptManager(
            use_chat_template=True, tokenizer=self._tokenizer, system_prompt=system_prompt
        )

    def use_plain(self) -> None:
        """Ask as plain text from now on."""
        self.prompt_manager = PromptManager()

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        """Generate; see :mod:`smoleval.generate`."""
        prompts = [self._asked(doc) for doc in docs]
        special = self.add_special_tokens and not self.prompt_manager.use_chat_template
        ids = self._encode(prompts, special=special)
        generator = Generator(self.model, self._tokenizer, self.limits)
        answers, cut = generator.answers(ids, docs)
        self.truncated += cut
        return [
            ModelResponse(
                input=prompt, input_tokens=tokens, text=list(answer.texts), output_tokens=list(answer.tokens)
            )
            for prompt, tokens, answer in zip(prompts, ids, answers, strict=True)
        ]

    def _asked(self, doc: Doc) -> str:
        """Return the prompt; a Doc may bring tools, which lighteval does not pass to the chat template."""
        tools = (doc.specific or {}).get("tools")
        if not tools or not self.prompt_manager.use_chat_template:
            return str(self.prompt_manager.prepare_prompt(doc))
        system = self.prompt_manager.system_prompt
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": doc.query})
        return str(
            self._tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=True
            )
        )

    def loglikelihood(self, docs: list[Doc]) -> list[ModelResponse]:
        """Return ln p of each choice given its prompt."""
        prompts = [self.prompt_manager.prepare_prompt(doc) for doc in docs]
        contexts, requests = self._requests(prompts, docs)
        rows = self._rows(contexts, requests)
        found: dict[tuple[int, int], Answer] = {}
        for batch in batches(rows, self.limits.batch_tokens):
            for request, answer in self._scored(batch):
                found[request.doc, request.choice] = answer
        return [
            self._response(number, prompts[number], contexts, requests[number], found)
            for number in range(len(docs))
        ]

    def loglikelihood_rolling(self, docs: list[Doc]) -> list[ModelResponse]:  # noqa: ARG002 (lighteval's name)
        """Refuse: no task of ours asks for it (held-out loss has its own scorer)."""
        raise InputError("rolling log-likelihoods are not computed here; see `smoleval heldout`")

    @staticmethod
    def _response(
        number: int,
        prompt: str,
        contexts: Sequence[list[list[int]]],
        requests: Sequence[Request],
        found: dict[tuple[int, int], Answer],
    ) -> ModelResponse:
        answers = [found[number, request.choice] for request in requests]
        return ModelResponse(
            input=prompt,
            input_tokens=contexts[number][0],
            output_tokens=[list(request.tokens) for request in requests],
            logprobs=[answer.logprob for answer in answers],
            argmax_logits_eq_gold=[answer.greedy for answer in answers],
        )

    def _encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Tokenize many texts at once (in parallel, in the tokenizer's own threads)."""
        if not texts:
            return []
        encoded = self._tokenizer(list(texts), add_special_tokens=special, padding=False, truncation=False)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _requests(
        self, prompts: Sequence[str], docs: Sequence[Doc]
    ) -> tuple[list[list[list[int]]], list[list[Request]]]:
        """Split each prompt + choice into context and continuation ids, by lighteval's rule.

        Spaces at the end of a prompt go to the choice; the whole text is tokenized, and the continuation is
        what comes after as many tokens as the prompt alone has (at least one token).
        """
        bare = [prompt.rstrip() for prompt in prompts]
        spaces = [prompt[len(short) :] for prompt, short in zip(prompts, bare, strict=True)]
        heads = self._encode(bare, special=self.add_special_tokens)
        counts = [len(doc.choices) for doc in docs]
        wholes = iter(
            self._encode(
                [
                    short + gap + choice
                    for short, gap, doc in zip(bare, spaces, docs, strict=True)
                    for choice in doc.choices
                ],
                special=self.add_special_tokens,
            )
        )
        contexts: list[list[list[int]]] = []
        requests: list[list[Request]] = []
        for number, (head, count) in enumerate(zip(heads, counts, strict=True)):
            contexts.append([])
            requests.append([])
            for choice in range(count):
                whole = next(wholes)
                cut = min(len(head), len(whole) - 1)
                contexts[-1].append(whole[:cut] or [self._start_token()])
                requests[-1].append(Request(number, choice, tuple(whole[cut:])))
        return contexts, requests

    def _start_token(self) -> int:
        """Return what an empty context is replaced by: BOS, else EOS."""
        tokenizer = self._tokenizer
        token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        return int(token)

    def _rows(self, contexts: Sequence[list[list[int]]], requests: Sequence[Sequence[Request]]) -> list[Row]:
        """Group requests whose inputs are equal; an input is all tokens but the last one."""
        groups: dict[tuple[int, ...], list[Request]] = {}
        for number, by_choice in enumerate(requests):
            for request in by_choice:
                ids = (*contexts[number][request.choice], *request.tokens)[:-1]
                if len(ids) > self.max_length:
                    self.truncated += 1
                    ids = ids[-self.max_length :]
                groups.setdefault(ids, []).append(request)
        return [Row(ids, tuple(group)) for ids, group in groups.items()]

    @torch.inference_mode()
    def _scored(self, batch: Sequence[Row]) -> Iterator[tuple[Request, Answer]]:
        device = self.model.device
        width = padded(max(len(row.ids) for row in batch))
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        for number, row in enumerate(batch):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
        first = min(len(row.ids) - min(row.labels, len(row.ids)) for row in batch)
        last = max(len(row.ids) for row in batch)
        keep = torch.arange(first, last, device=device)
        logits = self.model(input_ids=ids.to(device), use_cache=False, logits_to_keep=keep).logits
        requests, rows, positions, labels, owners = _flat(batch, first)
        index = torch.tensor([rows, positions], device=device)
        chosen = torch.log_softmax(logits[index[0], index[1]].float(), dim=-1)
        wanted = torch.tensor(labels, device=device)
        values = chosen.gather(1, wanted[:, None])[:, 0].double()
        greedy = chosen.argmax(dim=-1) == wanted
        owner = torch.tensor(owners, device=device)
        sums = torch.zeros(len(requests), dtype=torch.float64, device=device).index_add_(0, owner, values)
        wrong = torch.zeros(len(requests), dtype=torch.long, device=device).index_add_(
            0, owner, (~greedy).long()
        )
        for request, total, misses in zip(requests, sums.tolist(), wrong.tolist(), strict=True):
            yield request, Answer(total, misses == 0)


def _flat(
    batch: Sequence[Row], first: int
) -> tuple[list[Request], list[int], list[int], list[int], list[int]]:
    """Return every label to read: its request, its row, its position after ``first``, its id."""
    requests: list[Request] = []
    rows: list[int] = []
    positions: list[int] = []
    labels: list[int] = []
    owners: list[int] = []
    for number, row in enumerate(batch):
        for request in row.requests:
            # A continuation longer than the model's input has lost its first tokens.
            tokens = request.tokens[-len(row.ids) :]
            begin = len(row.ids) - len(tokens)
            rows += [number] * len(tokens)
            positions += range(begin - first, len(row.ids) - first)
            labels += tokens
            owners += [len(requests)] * len(tokens)
            requests.append(request)
    return requests, rows, positions, labels, owners


def padded(length: int) -> int:
    """Return a row's length on the device."""
    return -(-length // _MULTIPLE) * _MULTIPLE


def batches(rows: Sequence[Row], batch_tokens: int) -> Iterator[list[Row]]:
    """Yield rows, the longest first, in batches of at most ``batch_tokens`` tokens with padding."""
    ordered = sorted(rows, key=lambda row: -len(row.ids))
    batch: list[Row] = []
    for row in ordered:
        width = padded(len(batch[0].ids if batch else row.ids))
        if batch and width * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
