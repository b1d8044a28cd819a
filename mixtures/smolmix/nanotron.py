"""A plan as nanotron's configuration: plan.json of a stage and of the ones before in, one YAML text out.

Settings of model and optimizer are the published ones (``templates/nanotron.yaml``); what follows from
the plan is computed: folders and weights, steps, vocabulary, and how GPUs share the batch (dp x micro batch x
accumulation = windows a step, exactly, or an error that names the numbers that work). ``train_steps`` is the
last step of *this* stage, so that a launch stops there and saves; the learning-rate schedule is written in
absolute steps of the whole curriculum, so it does not depend on that. Cost: milliseconds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from itertools import takewhile
from typing import Any, Literal

import yaml

from smoldata.errors import InputError
from smolmix.nanotron_schema import NANOTRON_COMMIT, NanotronConfig, parse_config
from smolmix.nanotron_traps import Note, traps

Plan = Mapping[str, Any]
SHARDS_FOLDER = "s3-shards"  # nanotron refuses a local folder without the letters "s3" in its path

_OWN_SETTINGS = ("long_context_32k", "long_context_64k", "mid")
"""Stages of templates/nanotron.yaml with settings of their own."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a plan does not say about a launch."""

    model: Literal["3b", "debug"] = "3b"
    """SmolLM3's architecture, or a small one for one GPU."""
    gpus: int | None = None
    """GPUs in all; None: as published if the batch allows it, else the most that divide it."""
    gpus_per_node: int = 8
    total_steps: int | None = None
    """Steps of the whole curriculum, for the learning rate; None: in the published proportion."""
    tokenizer: str | None = None
    """What AutoTokenizer loads; None: known by the plan's tokenizer name."""
    resume: str | None = None
    """Checkpoint folder; None: ``checkpoints`` of the stage before, where there is one."""


@dataclass(frozen=True, slots=True)
class Emitted:
    """A checked configuration, its YAML text and what to know about it."""

    config: NanotronConfig
    text: str
    notes: tuple[Note, ...]


def emit(plan: Plan, earlier: Sequence[Plan] = (), launch: Launch | None = None) -> Emitted:
    """Return the configuration for the stage of ``plan``; ``earlier`` are the plans before it, in order.

    Raises :class:`InputError` if the plans do not follow each other or the batch cannot be shared out.
    """
    launch = launch or Launch()
    _check_chain(plan, earlier)
    lineage = _lineage(plan, earlier)
    published = _published()
    notes: list[Note] = []
    values = _base(published, plan, bool(earlier) and not lineage, launch)
    _share_out(values, plan, launch)
    tokenizer = launch.tokenizer or _tokenizer_name(published, plan, notes)
    start = lineage[0]["start_step"] if lineage else plan["start_step"]
    values["data_stages"] = [
        _data_stage(one, one["start_step"] - start + 1, tokenizer) for one in [*lineage, plan]
    ]
    _set_steps(values, plan, start, published, launch, notes)
    _set_model(values, plan, tokenizer)
    _set_resume(values, earlier, lineage, launch)
    notes += traps(plan, earlier, values["tokens"]["train_steps"])
    values["general"] = _general(plan)
    values["logging"] = {"iteration_step_info_interval": 1, "log_level": "info", "log_level_replica": "info"}
    values["metrics_logging"] = {"log_level": 1, "log_detail_interval": 200}
    return Emitted(parse_config(values), _text(values, plan), tuple(notes))


def _published() -> dict[str, Any]:
    text = (resources.files("smolmix") / "templates" / "nanotron.yaml").read_text("utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    values: dict[str, Any] = yaml.load(text, Loader=loader)  # noqa: S506 - both are safe loaders
    return values


def _shape(plan: Plan) -> tuple[int, str]:
    return plan["sequence_length"], plan["tokenizer"]["sha256"]


def _lineage(plan: Plan, earlier: Sequence[Plan]) -> list[Plan]:
    """Return the stages just before this one that nanotron can resume: same length and vocabulary."""
    tail = list(takewhile(lambda one: _shape(one) == _shape(plan), reversed(earlier)))
    return tail[::-1]


def _check_chain(plan: Plan, earlier: Sequence[Plan]) -> None:
    if plan["unit"] != "windows":
        raise InputError(
            f"{plan['name']} is planned in {plan['unit']}; nanotron reads windows: use `make posttrain`"
        )
    for before, after in zip([None, *earlier], [*earlier, plan], strict=True):
        wanted, seen = after["follows"], before and {"name": before["name"], "lock": before["lock"]["hash"]}
        if wanted != seen:
            raise InputError(
                f"{after['name']} follows {wanted and wanted['name']}, but the plan before it is "
                f"{seen and seen['name']}, or has another lock; plan both again"
            )


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        merged[key] = _merge(merged[key], value) if isinstance(value, Mapping) and key in merged else value
    return merged


def _base(published: dict[str, Any], plan: Plan, new_lineage: bool, launch: Launch) -> dict[str, Any]:
    values: dict[str, Any] = published["base"]
    if new_lineage or plan["name"].startswith("long_context"):
        values = _merge(values, published["long_context"])
    if plan["name"] in _OWN_SETTINGS:
        values = _merge(values, published[plan["name"]])
    return _merge(values, published["debug"]) if launch.model == "debug" else values


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]


def _share_out(values: dict[str, Any], plan: Plan, launch: Launch) -> None:
    """Solve dp x micro batch x accumulation = windows a step: largest micro batch up to the published one."""
    batch, parallelism = plan["batch_windows"], values["parallelism"]
    copy = parallelism["tp"] * parallelism["context_parallel_size"]
    usable = _divisors(batch)
    if launch.gpus is None:
        dp = max(one for one in usable if one <= parallelism["dp"])
    else:
        dp = launch.gpus // copy
        if launch.gpus != dp * copy or dp not in usable:
            raise InputError(
                f"{launch.gpus} GPUs cannot share {batch} windows a step evenly ({copy} GPUs hold one copy "
                f"of the model); use one of {', '.join(str(one * copy) for one in usable)}"
            )
    each = batch // dp
    micro = max(one for one in _divisors(each) if one <= values["tokens"]["micro_batch_size"])
    values["parallelism"] = parallelism | {"dp": dp}
    values["tokens"] = values["tokens"] | {
        "micro_batch_size": micro,
        "batch_accumulation_per_replica": each // micro,
        "sequence_length": plan["sequence_length"],
    }


def _tokenizer_name(published: dict[str, Any], plan: Plan, notes: list[Note]) -> str:
    name: str = plan["tokenizer"]["name"]
    known: str | None = published["tokenizers"].get(name)
    if known is None:
        notes.append(
            Note(
                "tokenizer-name",
                f"nanotron loads the tokenizer '{name}' with AutoTokenizer: it must be a hub name or a "
                f"folder, with {plan['tokenizer']['vocab_size']} entries "
                f"and EOS {plan['tokenizer']['eos_id']}",
            )
        )
    return known or name


def _data_stage(plan: Plan, start: int, tokenizer: str) -> dict[str, Any]:
    """Weights are the exact fractions rounded once to the nearest double; zero weights are left out."""
    drawn = [one for one in plan["sources"] if one["windows"]]
    dataset = {
        "dataset_folder": [f"{SHARDS_FOLDER}/{one['name']}" for one in drawn],
        "dataset_weights": [float(Fraction(one["weight"])) for one in drawn],
        "pad_samples_to_global_batch_size": False,
        "return_positions": True,
        "token_size_in_bytes": plan["tokenizer"]["token_width"],
        "tokenizer_name": tokenizer,
        "use_old_brrr_dataloader": False,
        "vocab_size": plan["tokenizer"]["vocab_size"],
    }
    data = {"dataset": dataset, "num_loading_workers": 0, "seed": plan["seed"]}
    return {"name": plan["name"], "start_training_step": start, "data": data}


def _set_steps(
    values: dict[str, Any],
    plan: Plan,
    start: int,
    published: dict[str, Any],
    launch: Launch,
    notes: list[Note],
) -> None:
    end = plan["start_step"] + plan["steps"] - start
    values["tokens"] = values["tokens"] | {"train_steps": end}
    total, decay = _schedule(plan, end, published, launch, notes)
    if total < end:
        raise InputError(f"total_steps {total} is less than the {end} steps that {plan['name']} ends at")
    scheduler = values["optimizer"]["learning_rate_scheduler"]
    warmup = min(scheduler["lr_warmup_steps"], max(1, total // 100))
    if scheduler["lr_decay_style"] == "cosine":
        share = published["warmup_shares"].get(plan["name"])
        least = min(scheduler["lr_warmup_steps"], max(1, total // 20))
        warmup = math.ceil(total * Fraction(share)) if share else least
        starting, decay = max(1, warmup), max(1, total - warmup)
    else:
        starting = total - decay + 1
    steps = {"lr_warmup_steps": warmup, "lr_decay_starting_step": starting, "lr_decay_steps": decay}
    values["optimizer"] = values["optimizer"] | {"learning_rate_scheduler": scheduler | steps}
    values["checkpoints"] = values["checkpoints"] | {
        "checkpoint_interval": min(values["checkpoints"]["checkpoint_interval"], max(1, plan["steps"] // 10)),
        "checkpoints_path": f"checkpoints/{plan['name']}",
        "checkpoints_path_is_shared_file_system": True,
        "save_final_state": True,
        "save_initial_state": False,
    }


def _schedule(
    plan: Plan, end: int, published: dict[str, Any], launch: Launch, notes: list[Note]
) -> tuple[int, int]:
    """Return (steps of the curriculum, steps of its final decay)."""
    names, schedule = ("stage1", "stage2", "stage3"), published["schedules"].get(plan["preset"])
    if plan["name"] not in names or schedule is None:
        total = launch.total_steps or end
        return total, max(1, total // 10)
    steps = schedule["steps"]
    here = sum(steps[: names.index(plan["name"]) + 1])
    total = launch.total_steps or -(-end * sum(steps) // here)
    if launch.total_steps is None and total * here != end * sum(steps):
        notes.append(
            Note(
                "schedule-scaled",
                f"the learning rate is scheduled over {total} steps: {plan['name']} ends at step {end}, and "
                f"the rest is taken in the published proportion; give total_steps if your later stages "
                "have other lengths",
            )
        )
    return total, max(1, round(Fraction(total * schedule["decay_steps"], sum(steps))))


def _set_model(values: dict[str, Any], plan: Plan, tokenizer: str) -> None:
    architecture = values["model"]["model_config"] | {
        "eos_token_id": plan["tokenizer"]["eos_id"],
        "max_position_embeddings": plan["sequence_length"],
        "vocab_size": plan["tokenizer"]["vocab_size"],
    }
    values["model"] = values["model"] | {"model_config": architecture}
    values["tokenizer"] = {
        "tokenizer_max_length": plan["sequence_length"],
        "tokenizer_name_or_path": tokenizer,
        "tokenizer_revision": None,
    }


def _set_resume(
    values: dict[str, Any], earlier: Sequence[Plan], lineage: Sequence[Plan], launch: Launch
) -> None:
    resume = launch.resume or (f"checkpoints/{earlier[-1]['name']}" if earlier else None)
    values["checkpoints"] = values["checkpoints"] | {"resume_checkpoint_path": resume}
    if lineage:
        fresh = {"load_lr_scheduler": True, "load_optimizer": True}
        values["checkpoints"] = values["checkpoints"] | fresh


def _general(plan: Plan) -> dict[str, Any]:
    return {
        "benchmark_csv_path": None,
        "consumed_train_samples": None,
        "ignore_sanity_checks": True,
        "project": "smollm3",
        "run": f"{plan['name']}-{plan['lock']['hash'][:12]}",
        "seed": plan["seed"],
        "step": None,
    }


def _text(values: dict[str, Any], plan: Plan) -> str:
    head = (
        f"# nanotron configuration of {plan['name']}"
        f"{' (' + plan['preset'] + ')' if plan['preset'] else ''}, lock {plan['lock']['hash']}.\n"
        f"# Generated; for nanotron branch smollm3, commit {NANOTRON_COMMIT}.\n"
        "# train_steps is the end of this stage: the launch stops there and saves. The learning-rate\n"
        "# schedule is in absolute steps of the whole curriculum.\n"
    )
    return head + yaml.safe_dump(values, sort_keys=True, allow_unicode=True, width=1000)
