"""A run's checkpoints into held-out losses by source, in rows with the keys of its log.

nanotron does not evaluate while it trains. So its checkpoints are scored beside it, or afterwards: each is
put into transformers' SmolLM3 (the two give the same logits: ``smoltrain convert``), in memory, and scored
as :mod:`smoltrain.validation` scores the reference trainer. The rows stand in ``heldout.jsonl`` beside the
log, which belongs to the trainer's process; ``smoltrain watch`` shows both. A trainer that resumes drops the
rows of steps that run again. The file is written anew, whole, after each checkpoint: a kill repeats one
checkpoint at most.

Cost: the model once in memory, and a forward pass over a few windows a source.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from smoldata.console import say
from smoldata.errors import InputError
from smoldata.files import single_writer
from smoltrain import checkpoint
from smoltrain.attention import VARLEN, choose
from smoltrain.bundle import Bundle
from smoltrain.convert import hf_config, hf_weights
from smoltrain.engine import evaluated
from smoltrain.model import LossModel, load_model
from smoltrain.nanotron import checkpoints as theirs
from smoltrain.nanotron_weights import read_weights
from smoltrain.run import RunFolder
from smoltrain.runlog import Row, read_log, write_rows
from smoltrain.validation import Evaluate, HeldOut, held_out, losses

CONFIGURATION = "nanotron-plan.yaml"
"""Of a stage's last launch; a run of the reference trainer has none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How checkpoints are scored."""

    windows: int = 4
    """Of each source's validation split."""
    micro_batch: int = 1
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Saved:
    """A whole checkpoint of a run."""

    folder: Path
    steps: int
    """Of the stage, done when it was written."""


def saved(run: RunFolder) -> list[Saved]:
    """Return the whole checkpoints of a run by steps: the reference trainer's, or a stage's of nanotron."""
    values = _configuration(run)
    if values is None:
        return [Saved(one, int(one.name.split("-")[1])) for one in checkpoint.complete(run.checkpoints)]
    before = values["data_stages"][-1]["start_training_step"] - 1
    place = run.path.parent / values["checkpoints"]["checkpoints_path"]
    steps = sorted(int(one.name) for one in place.glob("*") if one.is_dir() and one.name.isdecimal())
    found = [Saved(place / str(step), step - before) for step in steps if step > before]
    return [one for one in found if theirs.fault_of(one.folder) is None]


def last_step(run: RunFolder) -> int:
    """Return after how many steps of the stage the run ends."""
    values = _configuration(run)
    if values is None:
        return int(json.loads(run.facts.read_text("utf-8"))["settings"]["steps"])
    return int(values["tokens"]["train_steps"] - values["data_stages"][-1]["start_training_step"] + 1)


def _configuration(run: RunFolder) -> dict[str, Any] | None:
    import yaml

    path = run.path / CONFIGURATION
    if not path.is_file():
        return None
    values: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return values


def score(
    run: RunFolder,
    bundle: Bundle,
    asked: Asked,
    advance: Callable[[int, str], None] = lambda _count, _what: None,
) -> list[Row]:
    """Score the checkpoints that have no row yet; return all rows, by step.

    A row made with another number of windows is made again. ``advance`` is told (checkpoints done, folder).
    Raises :class:`InputError` if the bundle has no validation text.
    """
    with single_writer(run.path / ".heldout"):
        parts = held_out(bundle, asked.windows)
        if not parts:
            raise InputError(
                f"no source of {bundle.folder} has a validation split beside its shards; "
                "tokenize with a validation share in the recipe, or give --root"
            )
        for one in missing(run, asked):
            row = _row(one, bundle, parts, asked)
            if row is not None:
                kept = [other for other in read_log(run.heldout) if other["step"] != row["step"]]
                write_rows(run.heldout, sorted([*kept, row], key=lambda each: int(each["step"])))
            advance(1, one.folder.name)
        return read_log(run.heldout)


def missing(run: RunFolder, asked: Asked) -> list[Saved]:
    """Return the whole checkpoints that have no row of this measure."""
    done = {row["step"] for row in read_log(run.heldout) if row["heldout_windows"] == asked.windows}
    return [one for one in saved(run) if one.steps - 1 not in done]


def _row(one: Saved, bundle: Bundle, parts: list[HeldOut], asked: Asked) -> Row | None:
    """Return the row of a checkpoint; None if the trainer has removed it meanwhile."""
    try:
        evaluate = evaluator(one.folder, bundle, asked.device)
    except OSError:
        if one.folder.is_dir():
            raise
        say(f"{one.folder} was removed before it was scored; look more often, or keep more checkpoints")
        return None
    found = losses(evaluate, parts, asked.micro_batch)
    by_source = {f"heldout/{name}/loss": loss for name, loss in found.items()}
    return {"step": one.steps - 1, **by_source, "heldout_windows": asked.windows}


def evaluator(folder: Path, bundle: Bundle, device: str) -> Evaluate:
    """Return what scores batches with the checkpoint in ``folder``, of either form.

    On a CPU in float32, on a GPU in bfloat16. Raises :class:`InputError` for another vocabulary.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    place = torch.device(device)
    model: Any = load_nanotron(folder) if (folder / "model_config.json").is_file() else load_model(folder)
    if model.config.vocab_size != bundle.vocab_size:
        raise InputError(
            f"{folder} has a vocabulary of {model.config.vocab_size:,}, the bundle's tokenizer "
            f"{bundle.plan.tokenizer.name} has {bundle.vocab_size:,}; give the bundle it was trained on"
        )
    kind = choose("auto", place)
    model.to(place).eval()
    for weight in model.parameters():  # not the rotary frequencies, which stay in float32
        weight.data = weight.data.to(torch.bfloat16 if place.type == "cuda" else torch.float32)
    model.set_attn_implementation(kind)
    loss = LossModel(model)
    return lambda batch: evaluated(loss, batch, place, line=kind == VARLEN)


def load_nanotron(folder: Path) -> nn.Module:
    """Return a checkpoint of nanotron as transformers' SmolLM3, without writing its other form."""
    from transformers import SmolLM3Config, SmolLM3ForCausalLM
    from transformers.utils import logging

    facts = json.loads((folder / "model_config.json").read_text("utf-8"))
    weights = hf_weights(read_weights(folder), facts)
    logging.disable_progress_bar()
    model, loaded = SmolLM3ForCausalLM.from_pretrained(
        None, config=SmolLM3Config(**hf_config(facts)), state_dict=weights, output_loading_info=True
    )
    assert not loaded["unexpected_keys"], loaded
    assert set(loaded["missing_keys"]) <= {"lm_head.weight"}, loaded  # tied to the embedding
    return cast("nn.Module", model)


def follow(run: RunFolder, bundle: Bundle, asked: Asked, every: float) -> Iterator[Row]:
    """Yield the row of each checkpoint as they appear, until the run's last step is scored."""
    told: set[int] = set()
    while True:
        for row in score(run, bundle, asked):
            if row["step"] not in told:
                told.add(row["step"])
                yield row
        if last_step(run) - 1 in told:
            return
        time.sleep(every)
