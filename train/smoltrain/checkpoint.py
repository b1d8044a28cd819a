"""Weights and optimizer on disk: whole or absent, safetensors only, the weights in Hugging Face form.

``checkpoints/step-0000010/`` holds ``config.json``, ``model.safetensors`` (loads in transformers),
``optimizer.safetensors`` (``exp_avg/<name>``, ``exp_avg_sq/<name>``, ``step/<name>``) and ``state.json``
(steps done, counts, hash of both files). A folder is written under another name, flushed and renamed, and its
hashes are checked when it is read. Cost: three times the parameters, 12 bytes each in float32.
"""

import json
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from smoldata.errors import IntegrityError
from smoldata.files import write_json, xxh3_128
from smoltrain.folders import atomic_folder, discard
from smoltrain.parallel import like, whole

FORMAT_VERSION = 1
_WEIGHTS, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True, slots=True)
class State:
    """What a run has done so far, beside weights and optimizer."""

    steps: int
    tokens_by_source: dict[str, int]
    weights_xxh3_128: str


def folder_of(checkpoints: Path, steps: int) -> Path:
    """Return the folder of the checkpoint after ``steps`` steps."""
    return checkpoints / f"step-{steps:07d}"


def complete(checkpoints: Path) -> list[Path]:
    """Return the finished checkpoints, oldest first."""
    return sorted(path for path in checkpoints.glob("step-*") if _NAME.fullmatch(path.name))


def save(
    checkpoints: Path,
    steps: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    tokens_by_source: Mapping[str, int],
    weights: Mapping[str, torch.Tensor] | None = None,
    *,
    writes: bool = True,
) -> Path:
    """Write the checkpoint after ``steps`` steps, whole or not at all; return its folder.

    ``weights``: what the optimizer changes, if not the model's parameters themselves. Of processes that train
    together all must call, for each has a part of every tensor; one ``writes``.
    """
    final = folder_of(checkpoints, steps)
    with atomic_folder(final) if writes else nullcontext() as folder:
        _write_files(folder, steps, model, optimizer, tokens_by_source, weights)
    return final


def _write_files(
    folder: Path | None,
    steps: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    tokens_by_source: Mapping[str, int],
    weights: Mapping[str, torch.Tensor] | None,
) -> None:
    named = dict(model.named_parameters()) if weights is None else weights
    _save_whole({name: value.detach() for name, value in named.items()}, folder and folder / _WEIGHTS)
    moments = {
        f"{moment}/{name}": optimizer.state[weight][moment]
        for name, weight in named.items()
        for moment in _MOMENTS
    }
    _save_whole(moments, folder and folder / _OPTIMIZER)
    if folder is None:
        return
    config: Any = model.config
    config.save_pretrained(folder)
    state = {
        "format_version": FORMAT_VERSION,
        "steps": steps,
        "tokens_by_source": dict(sorted(tokens_by_source.items())),
        "xxh3_128": {name: xxh3_128(folder / name) for name in (_WEIGHTS, _OPTIMIZER)},
    }
    write_json(folder / _STATE, state)


def _save_whole(tensors: Mapping[str, torch.Tensor], path: Path | None) -> None:
    """Put tensors together from all processes, one after the other, and write them if there is a path."""
    put_together = {}
    for name, tensor in tensors.items():
        one = whole(tensor)
        if path is not None:
            put_together[name] = one.cpu()
    if path is not None:
        _save_tensors(put_together, path)


def _save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write tensors; a refusal of the file system is an ``OSError``, which safetensors hides in a text."""
    try:
        save_file(tensors, path, {"format": "pt"})
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error), str(path)) from error


def read_state(folder: Path) -> State:
    """Read a checkpoint's state; raises :class:`IntegrityError` if a file is not the one that was written."""
    state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    for name, wanted in state["xxh3_128"].items():
        path = folder / name
        seen = xxh3_128(path) if path.is_file() else "no file"
        if seen != wanted:
            raise IntegrityError(
                f"{path}: xxh3-128 {seen}, written was {wanted}; the checkpoint is damaged: "
                "delete its folder to go on from the one before"
            )
    return State(state["steps"], state["tokens_by_source"], state["xxh3_128"][_WEIGHTS])


def load(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> State:
    """Put a checkpoint's weights and moments into ``model`` (or ``weights``) and ``optimizer``.

    Returns its state. Each of several processes takes its own part.
    """
    state = read_state(folder)
    named = dict(model.named_parameters()) if weights is None else weights
    with (
        safe_open(folder / _WEIGHTS, "pt") as saved,
        safe_open(folder / _OPTIMIZER, "pt") as moments,
        torch.no_grad(),
    ):
        for name, weight in named.items():
            weight.copy_(like(saved.get_tensor(name), weight))
            optimizer.state[weight] = {
                moment: like(moments.get_tensor(f"{moment}/{name}"), weight) for moment in _MOMENTS
            }
    return state


def prune(checkpoints: Path, keep: int) -> None:
    """Remove all but the last ``keep`` checkpoints."""
    for folder in complete(checkpoints)[:-keep]:
        discard(folder)
