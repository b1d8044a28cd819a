"""A head on an encoder: the encoder stays as it is, one linear layer on its pooled output is fitted.

As FineWeb-Edu's classifier was made (frozen encoder, one output, squared error; cosmopedia's
``train_edu_bert.py``), but solved at once: ridge regression on the features has one best answer, needs no
rate and no passes, and gives the same head each time. The result is a folder that ``encoder_score`` reads.
Scores are regressions to 0 and 1. Cost: one pass of the encoder over the documents.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from smoldata.errors import InputError

if TYPE_CHECKING:
    from smoldata.scoring.train import Split

_RIDGE: Final = 1e-3
_BATCH: Final = 16


def fit_head(
    train: "Split", held: Sequence[str], encoder: str, revision: str | None, into: Path, *, seed: int
) -> list[float]:
    """Fit a head, write encoder and head into a folder, return the scores of the held-out texts.

    Raises:
        InputError: the encoder cannot be loaded, or its kind has no linear head.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from smoldata.scoring.encoder import load

    torch.manual_seed(seed)
    same: dict[str, Any] = {"trust_remote_code": False, "revision": revision or "main"}
    try:
        tokenizer = AutoTokenizer.from_pretrained(encoder, **same)
        model = AutoModelForSequenceClassification.from_pretrained(
            encoder, num_labels=1, use_safetensors=True, ignore_mismatched_sizes=True, **same
        ).eval()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot load the encoder {encoder}: {error}") from error
    head = _last_linear(model)
    features = _features(model, head, tokenizer, train.texts)
    weight, bias = _ridge(features, torch.tensor(train.positive, dtype=torch.float64))
    with torch.no_grad():
        head.weight.copy_(weight.unsqueeze(0))
        head.bias.copy_(bias)
    unfinished = into.with_name(f"{into.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    shutil.rmtree(into, ignore_errors=True)
    unfinished.rename(into)
    load.cache_clear()  # the folder's content is new
    return load(str(into), None, "cpu").scores(list(held))


def _last_linear(model: Any) -> Any:
    import torch

    linear = [one for one in model.modules() if isinstance(one, torch.nn.Linear) and one.out_features == 1]
    if not linear or linear[-1].bias is None:
        raise InputError(f"{type(model).__name__} has no linear head of one output to fit")
    return linear[-1]


def _features(model: Any, head: Any, tokenizer: Any, texts: Sequence[str]) -> Any:
    """Return what reaches the head, [texts, width] float64."""
    import torch

    seen: list[Any] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().double()))
    longest = min(tokenizer.model_max_length, int(getattr(model.config, "max_position_embeddings", 512)))
    try:
        for begin in range(0, len(texts), _BATCH):
            inputs = tokenizer(
                list(texts[begin : begin + _BATCH]),
                truncation=True,
                max_length=longest,
                padding="longest",
                return_tensors="pt",
            )
            with torch.inference_mode():
                model(**inputs)
    finally:
        hook.remove()
    return torch.cat([one.reshape(one.shape[0], -1) for one in seen])


def _ridge(features: Any, wanted: Any) -> tuple[Any, Any]:
    """Return weight [width] and bias of the least squares fit with a small penalty."""
    import torch

    centre, mean = features.mean(0), wanted.mean()
    spread = features - centre
    left = spread.T @ spread / len(spread) + _RIDGE * torch.eye(spread.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(left, spread.T @ (wanted - mean) / len(spread))
    return weight.float(), (mean - centre @ weight).float()
