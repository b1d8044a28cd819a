"""Texts -> scores by an encoder with a regression head (FineWeb-Edu, FineMath, Stack-Edu), in batches.

Texts are cut at the model's length, sorted into buckets of 64 tokens and run in batches of one fixed shape; a
short batch is filled up. So a text's score does not depend on which others are near it: the same documents
get the same scores, bit for bit on one machine, whatever the number of tasks. On a GPU the weights are
bfloat16, as in cosmopedia's ``run_edu_bert.py``; on a CPU float32. No code from a repository is run, and only
safetensors are read. Cost: the model's; up to 64 tokens of padding a text.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from smoldata.errors import InputError

BUCKET: Final = 64
BATCH: Final = 16
_ENDLESS: Final = 100_000
"""Tokenizers without a length of their own say 10**30."""
_NOT_HUB: Final = ("/", ".", "~")


@dataclass(frozen=True, slots=True)
class Encoder:
    """A loaded model with its tokenizer."""

    model: Any
    tokenizer: Any
    device: str
    max_length: int
    head: tuple[Any, ...] | None = None
    """Weight and bias of two layers over the mean of the tokens (:mod:`smoldata.scoring.pooled`)."""

    def scores(self, texts: Sequence[str], batch: int = BATCH) -> list[float]:
        """Return the score of each text, in their order."""
        if not texts:
            return []
        ids = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
        buckets: dict[int, list[int]] = defaultdict(list)
        for number, one in enumerate(ids):
            buckets[min(-(-len(one) // BUCKET) * BUCKET, self.max_length)].append(number)
        found = [0.0] * len(ids)
        for length, members in sorted(buckets.items()):
            for begin in range(0, len(members), batch):
                part = members[begin : begin + batch]
                values = self._run([ids[number] for number in part], length, batch)
                for number, value in zip(part, values, strict=False):
                    found[number] = value
        return found

    def _run(self, ids: Sequence[Sequence[int]], length: int, batch: int) -> list[float]:
        """Return the scores of a batch of exactly ``batch`` rows of ``length`` tokens, filled up."""
        import torch

        tokens = torch.full((batch, length), self.tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros((batch, length), dtype=torch.long)
        for row in range(batch):
            one = ids[min(row, len(ids) - 1)]
            tokens[row, : len(one)] = torch.tensor(one)
            mask[row, : len(one)] = 1
        with torch.inference_mode():
            mask = mask.to(self.device)
            out = self.model(input_ids=tokens.to(self.device), attention_mask=mask)
            values = out.logits.float() if self.head is None else _over_mean(out, mask, self.head)
        scores: list[float] = values.squeeze(-1).cpu().tolist()
        return scores


def _over_mean(out: Any, mask: Any, head: tuple[Any, ...]) -> Any:
    """Return the probabilities of a head over the mean of the last hidden states, [batch, 1] float32."""
    import torch

    shown = mask.unsqueeze(-1).float()
    mean = (out.last_hidden_state.float() * shown).sum(1) / shown.sum(1).clamp(min=1e-9)
    first, first_bias, second, second_bias = head
    hidden = torch.relu(torch.nn.functional.linear(mean, first, first_bias))
    return torch.sigmoid(torch.nn.functional.linear(hidden, second, second_bias))


def int_score(score: float) -> int:
    """Return the published whole score: rounded, 0 to 5."""
    return round(max(0, min(score, 5)))


def is_local(model: str) -> bool:
    """Tell whether a model's name is a path: the hub's are ``owner/name``."""
    return Path(model).expanduser().is_dir() or model.startswith(_NOT_HUB)


@cache
def load(model: str, revision: str | None, device: str = "auto", max_length: int | None = None) -> Encoder:
    """Return the model of a folder, or of the hub at a commit; loaded once a process.

    Raises:
        InputError: it cannot be found or loaded, or scores more than one number.
    """
    from transformers import AutoModelForSequenceClassification

    where = device_of(device)
    tokenizer, loaded = load_parts(model, revision, where, AutoModelForSequenceClassification)
    if loaded.config.num_labels != 1:
        raise InputError(f"{model} gives {loaded.config.num_labels} numbers a text; want a regressor: 1")
    return Encoder(loaded, tokenizer, where, checked_length(tokenizer, loaded.config, max_length))


def device_of(device: str) -> str:
    """Return where a model is put: for ``auto`` the GPU, if there is one."""
    import torch

    return "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")


def load_parts(model: str, revision: str | None, where: str, kind: Any) -> tuple[Any, Any]:
    """Return the tokenizer and the network of a model of transformers, ready to be asked.

    Raises:
        InputError: it cannot be found or loaded, or its tokenizer cannot fill up a batch.
    """
    import torch
    from transformers import AutoTokenizer

    width = torch.bfloat16 if where.startswith("cuda") else torch.float32
    same: dict[str, Any] = {"trust_remote_code": False, "revision": revision or "main"}
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, **same)
        loaded = kind.from_pretrained(model, dtype=width, use_safetensors=True, **same)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot load the scorer {model} at {revision or 'its folder'}: {error}") from error
    if tokenizer.pad_token_id is None:
        raise InputError(f"the tokenizer of {model} has no padding token")
    return tokenizer, loaded.eval().to(where)


def checked_length(tokenizer: Any, config: Any, wanted: int | None) -> int:
    """Return after how many tokens a text is cut: what is wanted, else what the model can read."""
    return wanted or min(tokenizer.model_max_length, _positions(config))


def _positions(config: Any) -> int:
    """Return how many tokens the model has positions for."""
    return int(getattr(config, "max_position_embeddings", 0)) or _ENDLESS
