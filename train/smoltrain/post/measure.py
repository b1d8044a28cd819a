"""A checkpoint and held-out rows -> loss of the assistant's tokens by mode, and how many pairs are won.

Each conversation is read alone, without a cache, through :mod:`smoltrain.model`. The loss is the mean of
-ln p over trained tokens, in nats. A pair is won when the mean ln p of the chosen answer's tokens is the
higher one: lengths then don't decide. Long context: conversations one after the other, without masks between
them, up to the longest row of training; the loss in its last half, beside that of the same tokens read alone,
says what the model makes of what lies far back. Cost: one forward pass a conversation, and the long rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from smoltrain.post.counting import Counter
from smoltrain.post.recipe import Mode, RowsRecipe
from smoltrain.post.schemas import Conversation, Message

VERSION = 2
"""Of what is measured: another one makes kept measures stale."""


@dataclass(frozen=True, slots=True)
class Heldout:
    """Loss on held-out conversations of one mode."""

    mode: str
    loss: float
    """Nats a trained token."""
    tokens: int
    rows: int


@dataclass(frozen=True, slots=True)
class Wins:
    """Pairs of one mode whose chosen answer is the likelier one."""

    mode: str
    won: int
    pairs: int
    margin: float
    """Mean over pairs of mean ln p of the chosen minus that of the rejected answer."""

    @property
    def rate(self) -> float:
        """Return the share of pairs won."""
        return self.won / self.pairs


def read_conversations(
    path: Path, column: Literal["messages", "chosen", "rejected"], limit: int | None = None
) -> list[Conversation]:
    """Return the conversations of a rows file, at most ``limit`` of each mode, in the order of the file."""
    taken: dict[str, int] = {}
    found = []
    for row in pq.read_table(path).to_pylist():
        taken[row["mode"]] = taken.get(row["mode"], 0) + 1
        if limit is None or taken[row["mode"]] <= limit:
            messages = tuple(Message(**message) for message in row[column])
            arguments = {
                name: value for name, value in row["chat_template_kwargs"].items() if value is not None
            }
            found.append(Conversation(row["id"], row["subset"], row["mode"], messages, arguments))
    return found


def answer_losses(
    model: Any, rows: Sequence[Conversation], counter: Counter, max_length: int
) -> list[list[float]]:
    """Return -ln p of the trained tokens of each conversation, in nats; a row is cut at ``max_length``."""
    import torch

    from smoltrain.model import token_losses

    device = next(model.parameters()).device
    found = []
    for ids, mask in counter.masks(rows):
        line = torch.tensor(ids[:max_length], device=device)[None]
        wanted = torch.from_numpy(mask[:max_length]).to(device)[None]
        positions = torch.arange(line.shape[1] - 1, device=device)[None]
        losses = token_losses(model, line[:, :-1], positions, line[:, 1:], wanted[:, 1:])
        found.append(losses.tolist())
    return found


def heldout(
    model: Any, rows: Iterable[Conversation], counter: Counter, max_length: int = 4096
) -> list[Heldout]:
    """Return the held-out loss of each mode that has trained tokens."""
    given = list(rows)
    losses = answer_losses(model, given, counter, max_length)
    found = []
    for mode in _modes(given):
        pairs = [loss for row, loss in zip(given, losses, strict=True) if row.mode == mode and loss]
        tokens = sum(len(loss) for loss in pairs)
        if tokens:
            found.append(Heldout(mode, sum(map(sum, pairs)) / tokens, tokens, len(pairs)))
    return found


def wins(
    model: Any,
    chosen: Sequence[Conversation],
    rejected: Sequence[Conversation],
    counter: Counter,
    max_length: int = 4096,
) -> list[Wins]:
    """Return the pairs won by mode; a pair whose answers are cut away entirely is left out."""
    sides = [answer_losses(model, side, counter, max_length) for side in (chosen, rejected)]
    found = []
    for mode in _modes(chosen):
        margins = [
            sum(bad) / len(bad) - sum(good) / len(good)
            for row, good, bad in zip(chosen, *sides, strict=True)
            if row.mode == mode and good and bad
        ]
        if margins:
            won = sum(margin > 0 for margin in margins)
            found.append(Wins(mode, won, len(margins), sum(margins) / len(margins)))
    return found


def long_context(
    model: Any, rows: Sequence[Conversation], counter: Counter, length: int, count: int = 4
) -> dict[str, Any]:
    """Return the loss of trained tokens in the last half of rows of ``length`` tokens, and of the same alone.

    ``count`` rows at most, of whole conversations joined. Empty when the conversations don't fill one row.
    """
    joined, alone = list[float](), list[float]()
    made = 0
    part: list[tuple[list[int], Any]] = []
    for one in _one_by_one(rows, counter):
        part.append(one)
        if sum(len(ids) for ids, _ in part) >= length:
            made += 1
            far, near = _far_and_near(model, part, length)
            joined += far
            alone += near
            part = []
        if made == count:
            break
    if not joined:
        return {}
    means = {"loss": sum(joined) / len(joined), "alone": sum(alone) / len(alone)}
    return {"length": length, "rows": made, "tokens": len(joined)} | means


def _one_by_one(rows: Sequence[Conversation], counter: Counter) -> Iterator[tuple[list[int], Any]]:
    for begin in range(0, len(rows), 64):
        yield from counter.masks(rows[begin : begin + 64])


def _far_and_near(
    model: Any, part: list[tuple[list[int], Any]], length: int
) -> tuple[list[float], list[float]]:
    """Return losses in the last half of a joined row, and of the same tokens in their conversations alone."""
    import numpy as np

    ids = [token for one, _ in part for token in one][:length]
    mask = np.concatenate([mask for _, mask in part])[:length]
    begins = np.concatenate([np.arange(len(one)) for one, _ in part])[:length]
    mask = mask & (np.arange(length) >= length // 2) & (begins > 0)  # a first token has no near context
    return _masked(model, ids, mask, np.arange(length)), _masked(model, ids, mask, begins)


def _masked(model: Any, ids: list[int], mask: Any, positions: Any) -> list[float]:
    """Return -ln p of masked tokens; documents are kept apart where positions restart."""
    import torch

    from smoltrain.model import token_losses

    device = next(model.parameters()).device
    line = torch.tensor(ids, device=device)[None]
    wanted, places = (torch.from_numpy(array).to(device)[None] for array in (mask, positions))
    losses = token_losses(model, line[:, :-1], places[:, :-1], line[:, 1:], wanted[:, 1:])
    return [float(loss) for loss in losses.tolist()]


def _modes(rows: Sequence[Conversation]) -> list[Mode]:
    return sorted({row.mode for row in rows})


def measure(
    checkpoint: Path,
    tokenizer: Path,
    sft: tuple[RowsRecipe, Path],
    apo: tuple[RowsRecipe, Path],
    *,
    limit: int,
    max_length: int,
) -> dict[str, Any]:
    """Return both measures of a checkpoint over validation rows, as what a record holds."""
    from dataclasses import asdict

    import torch

    from smoltrain.model import load_model

    model: Any = load_model(checkpoint).eval()
    model = model.to("cuda") if torch.cuda.is_available() else model
    conversations = read_conversations(sft[1], "messages", limit)
    chosen, rejected = (read_conversations(apo[1], side, limit) for side in ("chosen", "rejected"))
    counter = Counter(tokenizer, sft[0])
    losses = heldout(model, conversations, counter, max_length)
    everything = read_conversations(sft[1], "messages")
    pairs = wins(model, chosen, rejected, Counter(tokenizer, apo[0]), max_length)
    return {
        "heldout": [asdict(one) for one in losses],
        "wins": [asdict(one) for one in pairs],
        "long": long_context(model, everything, counter, max_length),
    }
