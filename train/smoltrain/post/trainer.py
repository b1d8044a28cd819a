"""A checkpoint, rows and a phase -> a checkpoint: TRL's SFTTrainer or DPOTrainer, resumable at every save.

Mid-training: ChatML, loss on every token. SFT: the chat template, loss on the assistant's turns, a thinking
mode a row. APO (and DPO, for comparison): pairs, the frozen start as reference. A row's template arguments
come with it. The trainer's own checkpoints are written in place; one that a kill cut in two lacks its mark
and is removed, the last whole one is gone on with, to the same weights. The result stands under ``final/``,
whole or not at all, in the start's type. Weights and moments are float32: an update of 2e-5 is lost in
bfloat16. On CUDA the arithmetic is bfloat16, and the variable-length kernel keeps packed documents apart.
Several processes (`accelerate launch`) train one model: DDP, FSDP2 or DeepSpeed, as the launcher says.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from smoldata.errors import InputError, TrainingError
from smoldata.files import digest_values, write_json, xxh3_128
from smoltrain.folders import atomic_folder, discard, remove_unfinished
from smoltrain.post.adapters import Adapter, merged_weights
from smoltrain.post.data import RowsData
from smoltrain.post.lengths import cap_facts
from smoltrain.post.phases import Phase
from smoltrain.post.precision import packed_attention, stored_type
from smoltrain.post.team import Team, assembled
from smoltrain.post.template import chat_template, chatml_template

FACTS = "phase.json"
_BEGUN = "begun.json"
_MARK = "whole.json"


@dataclass(frozen=True, slots=True)
class Job:
    """One phase to be run."""

    phase: Phase
    start: Path
    """Checkpoint folder in Hugging Face form."""
    tokenizer: Path
    """Tokenizer folder; its end of sequence is the model's from here on."""
    rows: RowsData
    out: Path
    adapter: Adapter | None = None
    micro_batch: int = 1
    """Rows of one forward and backward pass on one device."""
    saves: int = 2
    """Checkpoints over the run, the last included; at least 2 (published for APO: 2)."""

    @property
    def final(self) -> Path:
        """Return where the result stands."""
        return self.out / "final"

    def key(self) -> str:
        """Return a digest of all that decides the result."""
        weights = [xxh3_128(path) for path in sorted(self.start.glob("*.safetensors"))]
        adapter = asdict(self.adapter) if self.adapter else None
        tokenizer = xxh3_128(self.tokenizer / "tokenizer.json")
        settings = [asdict(self.phase), adapter, self.micro_batch, self.saves]
        templates = [chat_template(), chatml_template()]
        return digest_values(settings, weights, tokenizer, self.rows.facts["input_hash"], templates)


def run_phase(job: Job) -> dict[str, Any]:
    """Run a phase, go on with one that was stopped, or return what is done already: ``phase.json``'s content.

    Raises :class:`TrainingError` when a loss is not finite.
    """
    with assembled(job.out) as team:
        if team.size > 1 and job.adapter:
            raise InputError("adapters are for one device; start this phase without accelerate launch")
        done = team.share(_begin(job) if team.first else None)
        if done is not None:
            return dict(done)
        trainer = make_trainer(job, team)
        checkpoints = whole_checkpoints(job.out / "steps")
        trainer.train(resume_from_checkpoint=str(checkpoints[-1]) if checkpoints else None)
        log = [line for line in trainer.state.log_history if "loss" in line]
        _check_finite(log)
        _save(trainer, job, team)
        facts = _facts(job, trainer.state.global_step, log) if team.first else None
        return dict(team.share(facts))


def _begin(job: Job) -> dict[str, Any] | None:
    """Return what a run of the same job recorded; else clear the folder for this one."""
    key = job.key()
    done = read_facts(job.out)
    if done is not None and done["input_hash"] == key:
        return done
    _prepare(job, key)
    return None


def _facts(job: Job, steps: int, log: list[dict[str, Any]]) -> dict[str, Any]:
    """Write what is known of a finished phase, and return it."""
    facts = {
        "format_version": 1,
        "input_hash": json.loads((job.out / _BEGUN).read_bytes())["input_hash"],
        "phase": asdict(job.phase),
        "adapter": asdict(job.adapter) if job.adapter else None,
        "start": job.start.name,
        "steps": steps,
        "cap": cap_facts(job.rows.train, job.phase),
        "checkpoints": [path.name for path in whole_checkpoints(job.out / "steps")],
        "log": [_plain(line) for line in log],
    }
    write_json(job.out / FACTS, facts)
    return facts


def read_facts(out: Path) -> dict[str, Any] | None:
    """Return what a finished phase recorded, or None."""
    path = out / FACTS
    value: dict[str, Any] | None = json.loads(path.read_bytes()) if path.is_file() else None
    return value


def whole_checkpoints(steps: Path) -> list[Path]:
    """Return the trainer's checkpoints that are whole, in the order of their steps."""
    found = [path.parent for path in steps.glob(f"checkpoint-*/{_MARK}")]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def _prepare(job: Job, key: str) -> None:
    """Clear what belongs to another job, or was cut in two."""
    steps, begun = job.out / "steps", job.out / _BEGUN
    (job.out / FACTS).unlink(missing_ok=True)
    remove_unfinished(job.out)
    if not begun.is_file() or json.loads(begun.read_bytes())["input_hash"] != key:
        discard(steps)
        discard(job.final)
        write_json(begun, {"format_version": 1, "input_hash": key})
    remove_unfinished(steps)
    for path in whole_checkpoints(steps):
        state = json.loads((path / "trainer_state.json").read_bytes())
        if state["global_step"] >= state["max_steps"]:  # the trainer would take one step more from it
            discard(path)
    whole = set(whole_checkpoints(steps))
    for path in steps.glob("checkpoint-*"):
        if path not in whole:
            shutil.rmtree(path)


def _plain(line: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a stop changes: times, and TRL's count of tokens since it was started."""
    gone = ("runtime", "per_second", "num_tokens")
    return {name: value for name, value in line.items() if not name.endswith(gone)}


def _check_finite(log: list[dict[str, Any]]) -> None:
    bad = [line["step"] for line in log if not abs(float(line["loss"])) < float("inf")]
    if bad:
        raise TrainingError(f"the loss is not finite in step {bad[0]}; lower the learning rate")


def make_trainer(job: Job, team: Team | None = None) -> Any:
    """Return TRL's trainer for a job, rows tokenized and packed, nothing trained."""
    import datasets
    from transformers import AutoTokenizer

    team = team or Team()

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(str(job.tokenizer), trust_remote_code=False)
    tokenizer.chat_template = chatml_template() if job.phase.name == "mid" else chat_template()
    pairs = job.phase.name == "apo"
    columns = ["chosen", "rejected"] if pairs else ["messages"]
    columns += [] if job.phase.name == "mid" else ["chat_template_kwargs"]
    make = _preference if pairs else _fine_tuning
    arguments = _arguments(job, team)
    trainer = make(job, arguments, _model(job, tokenizer), tokenizer, _rows(job, columns, team))
    trainer.add_callback(_marker(team))
    trainer.remove_callback(_printer())
    return trainer


def _rows(job: Job, columns: list[str], team: Team) -> Any:
    """Return the rows: in memory, or on disk where several processes share what one has tokenized."""
    import datasets
    import pyarrow.parquet as pq

    if team.size == 1:
        return datasets.Dataset(pq.read_table(job.rows.train, columns=columns))
    read = partial(datasets.Dataset.from_parquet, str(job.rows.train), cache_dir=str(job.out / "cache"))
    if team.first:  # the others find what it has written
        read(columns=columns)
    team.wait()
    return read(columns=columns)


def _model(job: Job, tokenizer: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        str(job.start),
        attn_implementation=packed_attention(job.phase),
        dtype=torch.float32,
        quantization_config=job.adapter.quantization() if job.adapter else None,
        use_safetensors=True,
        trust_remote_code=False,
    )
    for config in (model.config, model.generation_config):
        config.eos_token_id = tokenizer.eos_token_id
        config.bos_token_id = None
    model.config.max_position_embeddings = max(model.config.max_position_embeddings, job.phase.max_length)
    return model


def _accumulated(job: Job, team: Team) -> int:
    """Return the passes of a step on each device. Raises :class:`InputError` if none give the batch."""
    at_once = job.micro_batch * team.size
    if job.phase.batch % at_once:
        raise InputError(
            f"{job.phase.name}: a batch of {job.phase.batch} is no multiple of {team.size} processes x "
            f"{job.micro_batch} rows; use a number of processes that divides it"
        )
    return job.phase.batch // at_once


def _arguments(job: Job, team: Team) -> dict[str, Any]:
    """Return what both trainers' configurations share."""
    import torch

    phase = job.phase
    cuda = torch.cuda.is_available()
    return {
        "output_dir": str(job.out / "steps"),
        "num_train_epochs": phase.epochs,
        "max_steps": phase.steps or -1,
        "per_device_train_batch_size": job.micro_batch,
        "gradient_accumulation_steps": _accumulated(job, team),
        "learning_rate": phase.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": phase.min_rate},
        "warmup_steps": phase.warmup,
        "max_grad_norm": phase.max_grad_norm,
        "max_length": phase.max_length,
        "seed": phase.seed,
        "bf16": cuda,
        "use_cpu": not cuda,
        "gradient_checkpointing": cuda,
        "dataloader_pin_memory": cuda,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1 / job.saves,  # a share of all steps
        "report_to": "none",
        "disable_tqdm": True,
    }


def _fine_tuning(job: Job, arguments: dict[str, Any], model: Any, tokenizer: Any, rows: Any) -> Any:
    from trl import SFTConfig, SFTTrainer

    phase = job.phase
    config = SFTConfig(
        **arguments,
        packing=phase.packing is not None,
        packing_strategy=phase.packing or "bfd",
        assistant_only_loss=phase.assistant_only,
        eos_token=tokenizer.eos_token,
    )
    adapter = job.adapter.config() if job.adapter else None
    return SFTTrainer(
        model=model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=adapter
    )


def _preference(job: Job, arguments: dict[str, Any], model: Any, tokenizer: Any, rows: Any) -> Any:
    from trl import DPOConfig, DPOTrainer

    config = DPOConfig(
        **arguments,
        beta=job.phase.beta,
        loss_type=[job.phase.loss],
    )
    adapter = job.adapter.config() if job.adapter else None
    return DPOTrainer(
        model=model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=adapter
    )


def _printer() -> Any:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback


def _marker(team: Team) -> Any:
    """Return a callback that marks a checkpoint once it is whole, and says each step."""
    from transformers.trainer_callback import TrainerCallback

    from smoldata.console import say

    class Marker(TrainerCallback):  # type: ignore[misc]
        """Marks and says."""

        def on_save(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
            """Write the mark: after it, the checkpoint counts."""
            team.wait()  # each process has written its part
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            if team.first:
                write_json(folder / _MARK, {"format_version": 1, "step": state.global_step})

        def on_log(self, _: Any, state: Any, *__: Any, logs: Any = None, **___: Any) -> None:
            """Say the loss of a step."""
            if team.first and logs and "loss" in logs:
                say(f"step {state.global_step} of {state.max_steps}: loss {float(logs['loss']):.3f}")

    return Marker()


def _save(trainer: Any, job: Job, team: Team) -> None:
    """Write weights and tokenizer; adapters are merged into the weights, parts of them gathered."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    gathered = trainer.accelerator.get_state_dict(trainer.model) if team.size > 1 else None
    if not team.first:
        return
    model = merged_weights(model, job.adapter, job.start) if job.adapter else model
    kind = stored_type(job.start)
    model.config.dtype = kind
    weights = {name: tensor.to(kind) for name, tensor in (gathered or model.state_dict()).items()}
    with atomic_folder(job.final) as folder:
        model.save_pretrained(folder, state_dict=weights)
        _copy_tokenizer(job.tokenizer, folder)


def _copy_tokenizer(source: Path, folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
