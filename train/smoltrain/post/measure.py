"""A checkpoint and held-out rows -> loss of the assistant's tokens by mode, and how many pairs are won.

Each conversation is read alone, without a cache, through :mod:`smoltrain.model`. The loss is the mean of
-ln p over trained tokens, in nats. A pair is won when the mean ln p of the chosen answer's tokens is the
higher one: lengths then don't decide. Cost: one forward pass a conversation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from smoltrain.post.counting import Counter
from smoltrain.post.recipe import Mode, RowsRecipe
from smoltrain.post.schemas import Conversation, Message


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
    losses = heldout(model, conversations, Counter(tokenizer, sft[0]), max_length)
    pairs = wins(model, chosen, rejected, Counter(tokenizer, apo[0]), max_length)
    return {"heldout": [asdict(one) for one in losses], "wins": [asdict(one) for one in pairs]}
