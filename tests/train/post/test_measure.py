"""Measures against a direct computation of log-probabilities."""

import math
from pathlib import Path

import pytest
import torch

from smoltrain.model import load_model
from smoltrain.post.counting import Counter
from smoltrain.post.data import RowsData
from smoltrain.post.measure import heldout, long_context, read_conversations, wins
from smoltrain.post.recipe import load_rows_recipe

pytestmark = pytest.mark.usefixtures("one_thread")


def direct(model: torch.nn.Module, ids: list[int], mask: list[bool]) -> list[float]:
    """Return ln p of the trained tokens, from all logits at once."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(ids)[None], use_cache=False).logits[0]
    chances = logits.double().log_softmax(-1)
    return [chances[n, ids[n + 1]].item() for n in range(len(ids) - 1) if mask[n + 1]]


def test_heldout_loss_is_the_mean_over_the_assistants_tokens(
    base: Path, rows: dict[str, RowsData], tokenizer: Path
) -> None:
    model = load_model(base).eval()
    counter = Counter(tokenizer, load_rows_recipe("sft"))
    given = read_conversations(rows["sft"].train, "messages", limit=4)
    found = {one.mode: one for one in heldout(model, given, counter)}
    assert set(found) == {"think", "no_think"}
    for mode, one in found.items():
        part = [row for row in given if row.mode == mode]
        logs = [log for ids, mask in counter.masks(part) for log in direct(model, ids, mask.tolist())]
        assert (one.rows, one.tokens) == (4, len(logs))
        assert one.loss == pytest.approx(-sum(logs) / len(logs), abs=1e-5)


def test_a_pair_is_won_by_the_likelier_answer(base: Path, rows: dict[str, RowsData], tokenizer: Path) -> None:
    model = load_model(base).eval()
    counter = Counter(tokenizer, load_rows_recipe("apo"))
    chosen, rejected = (read_conversations(rows["apo"].train, side) for side in ("chosen", "rejected"))
    margins = []
    for pair in zip(counter.masks(chosen), counter.masks(rejected), strict=True):
        good, bad = (direct(model, ids, mask.tolist()) for ids, mask in pair)
        margins.append(sum(good) / len(good) - sum(bad) / len(bad))
    (one,) = wins(model, chosen, rejected, counter)
    assert (one.mode, one.pairs, one.won) == ("no_think", len(margins), sum(margin > 0 for margin in margins))
    assert one.margin == pytest.approx(sum(margins) / len(margins), abs=1e-5)
    (turned,) = wins(model, rejected, chosen, counter)
    assert turned.won == one.pairs - one.won
    assert turned.rate == pytest.approx(1 - one.rate)


def test_a_row_that_is_cut_away_counts_for_nothing(
    base: Path, rows: dict[str, RowsData], tokenizer: Path
) -> None:
    given = read_conversations(rows["sft"].train, "messages", limit=2)
    counter = Counter(tokenizer, load_rows_recipe("sft"))
    assert heldout(load_model(base).eval(), given, counter, max_length=8) == []
    assert math.isfinite(heldout(load_model(base).eval(), given, counter)[0].loss)


def test_long_context_is_the_loss_of_the_last_half_of_joined_conversations(
    base: Path, rows: dict[str, RowsData], tokenizer: Path
) -> None:
    model = load_model(base).eval()
    counter = Counter(tokenizer, load_rows_recipe("sft"))
    given = read_conversations(rows["sft"].train, "messages")
    found = long_context(model, given, counter, 250, count=1)
    parts = counter.masks(given)
    ids = [token for part, _ in parts for token in part][:250]
    begins = [n for part, _ in parts for n in range(len(part))][:250]
    kept = [bool(one) for _, mask in parts for one in mask][:250]
    wanted = [kept[n] and n >= 125 and begins[n] > 0 for n in range(250)]
    logs = direct(model, ids, wanted)
    assert (found["length"], found["rows"], found["tokens"]) == (250, 1, len(logs))
    assert found["loss"] == pytest.approx(-sum(logs) / len(logs), abs=1e-5)
    near: list[float] = []
    end = 0
    for part, mask in parts:
        begin, end = end, end + len(part)
        inside = [bool(one) and 125 <= begin + n < 250 and n > 0 for n, one in enumerate(mask)]
        near += direct(model, part, inside) if any(inside) else []
    assert found["alone"] == pytest.approx(-sum(near) / len(near), abs=1e-5)
    assert found["alone"] != found["loss"]
    assert long_context(model, given, counter, 10**6) == {}
