"""Prompts and choices -> ln p of each choice: tokenized at once, packed by length, exact.

Equal inputs are computed once (choices of one token share their context); the rest is sorted by length and
packed into batches of at most ``batch_tokens``. Rows are padded on the right, where a causal model cannot
look, so no mask is needed; logits are made for the positions of the continuations only, and their
log-softmax is taken in float32. Needs torch, not lighteval. Cost: one forward pass over the distinct inputs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

_MULTIPLE = 8
"""Rows are padded to a multiple of this: tensor cores like it."""
_LOGITS_AT_ONCE = 1 << 28
"""Numbers: 1 GiB in float32."""
_PLAIN_HEADS = frozenset({"smollm3", "llama", "mistral", "qwen2", "qwen3", "gpt_neox", "gpt2"})
"""Model types whose logits are their output embedding of the last hidden state, unscaled and uncapped."""


@dataclass(frozen=True, slots=True)
class Request:
    """One choice of one question."""

    item: int
    choice: int
    context: tuple[int, ...]
    """Ids before the continuation; at least one."""
    tokens: tuple[int, ...]
    """The continuation; at least one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One distinct input and the requests that it answers: their labels are its last positions."""

    ids: tuple[int, ...]
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Sum of ln p of a continuation, and whether each of its tokens is the most likely one."""

    logprob: float
    greedy: bool


def encode(tokenizer: Any, texts: Sequence[str], *, special: bool) -> list[list[int]]:
    """Tokenize many texts at once (in parallel, in the tokenizer's own threads)."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=special, padding=False, truncation=False)
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def split(
    tokenizer: Any, prompts: Sequence[str], choices: Sequence[Sequence[str]], *, special: bool
) -> list[list[Request]]:
    """Return each prompt's choices as requests, cut into context and continuation by lighteval's rule.

    Spaces at the end of a prompt go to the choice; the whole text is tokenized, and the continuation is what
    comes after as many tokens as the prompt alone has (at least one token).
    """
    bare = [prompt.rstrip() for prompt in prompts]
    heads = encode(tokenizer, bare, special=special)
    texts = [prompt + choice for prompt, group in zip(prompts, choices, strict=True) for choice in group]
    wholes = iter(encode(tokenizer, texts, special=special))
    found: list[list[Request]] = []
    for number, (head, group) in enumerate(zip(heads, choices, strict=True)):
        requests = []
        for choice in range(len(group)):
            whole = next(wholes)
            cut = min(len(head), len(whole) - 1)
            context = tuple(whole[:cut]) or (_start_token(tokenizer),)
            requests.append(Request(number, choice, context, tuple(whole[cut:])))
        found.append(requests)
    return found


def _start_token(tokenizer: Any) -> int:
    """Return what an empty context is replaced by: BOS, else EOS."""
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return int(token)


def rows_of(requests: Sequence[Sequence[Request]], max_length: int) -> tuple[list[Row], int]:
    """Group requests whose inputs are equal; return rows, and how many inputs were cut on the left to fit.

    An input is all tokens but the last one.
    """
    groups: dict[tuple[int, ...], list[Request]] = {}
    cut = 0
    for group in requests:
        for request in group:
            ids = (request.context + request.tokens)[:-1]
            cut += len(ids) > max_length
            groups.setdefault(ids[-max_length:], []).append(request)
    return [Row(ids, tuple(group)) for ids, group in groups.items()], cut


def padded(length: int) -> int:
    """Return a row's length on the device."""
    return -(-length // _MULTIPLE) * _MULTIPLE


def batches(rows: Sequence[Row], batch_tokens: int) -> Iterator[list[Row]]:
    """Yield rows, the longest first, in batches of at most ``batch_tokens`` tokens with padding.

    A batch of a quarter of that ends early where rows become an eighth shorter: less is padded.
    """
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        width = padded(len(batch[0].ids if batch else row.ids))
        full = width * (len(batch) + 1) > batch_tokens
        shorter = 8 * padded(len(row.ids)) <= 7 * width and 4 * width * len(batch) >= batch_tokens
        if batch and (full or shorter):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def answers(model: Any, rows: Sequence[Row], batch_tokens: int) -> Iterator[tuple[Request, Answer]]:
    """Yield the answer to every request; results are read one batch late, so that the device never waits."""
    waiting: tuple[list[Request], torch.Tensor] | None = None
    for batch in batches(rows, batch_tokens):
        launched = score(model, batch)
        if waiting is not None:
            yield from _read(*waiting)
        waiting = launched
    if waiting is not None:
        yield from _read(*waiting)


def _read(requests: Sequence[Request], numbers: torch.Tensor) -> Iterator[tuple[Request, Answer]]:
    for request, (total, misses) in zip(requests, numbers.tolist(), strict=True):
        yield request, Answer(total, misses == 0)


def inputs(batch: Sequence[Row]) -> torch.Tensor:
    """Return the ids of a batch [rows, longest, padded on the right with 0]."""
    width = padded(max(len(row.ids) for row in batch))
    return torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in batch])


@torch.inference_mode()
def score(model: Any, batch: Sequence[Row]) -> tuple[list[Request], torch.Tensor]:
    """Return the requests of a batch and, on the device, their sums of ln p and counts of misses [n, 2]."""
    device = model.device
    requests, places = _places(batch)
    rows, positions, labels, owners = torch.tensor(places).to(device, non_blocking=True)
    head, hidden = _head(model, inputs(batch).to(device, non_blocking=True), rows, positions)
    sums = torch.zeros(len(requests), 2, dtype=torch.float64, device=device)
    chunk = max(_LOGITS_AT_ONCE // model.config.vocab_size, 1)
    for begin in range(0, len(labels), chunk):
        part = slice(begin, begin + chunk)
        logits = head(hidden[part]).float()
        wanted = logits.gather(1, labels[part, None])[:, 0]
        values = (wanted - torch.logsumexp(logits, dim=-1)).double()
        missed = (logits.argmax(dim=-1) != labels[part]).double()
        sums.index_add_(0, owners[part], torch.stack((values, missed), dim=1))
    return requests, sums


def _head(
    model: Any, ids: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor
) -> tuple[Callable[[torch.Tensor], torch.Tensor], torch.Tensor]:
    """Return a head and what it turns into logits, one line a label.

    Where a model's logits are its output embedding of the last hidden state and nothing else, only the
    labels' states go through it; any other model makes its own logits, of all positions.
    """
    if model.config.model_type in _PLAIN_HEADS:
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return model.get_output_embeddings(), states[rows, positions]
    return torch.nn.Identity(), model(input_ids=ids, use_cache=False).logits[rows, positions]


def _places(batch: Sequence[Row]) -> tuple[list[Request], list[list[int]]]:
    """Return the requests, and for every label to read its row, position, id and request."""
    requests: list[Request] = []
    rows: list[int] = []
    positions: list[int] = []
    labels: list[int] = []
    owners: list[int] = []
    for number, row in enumerate(batch):
        for request in row.requests:
            # A continuation longer than the model's input has lost its first tokens.
            tokens = request.tokens[-len(row.ids) :]
            rows += [number] * len(tokens)
            positions += range(len(row.ids) - len(tokens), len(row.ids))
            labels += tokens
            owners += [len(requests)] * len(tokens)
            requests.append(request)
    return requests, [rows, positions, labels, owners]
