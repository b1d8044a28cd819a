"""Our definitions beside lighteval's own tasks of the same name: splits, prompts, choices, golds, bounds.

The English ones were compared with the published task file (huggingface/smollm, tasks.py) when they were
written; it runs on an older lighteval only.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smoleval.data import load_data
from smoleval.definition import TaskDefinition, registry, select
from smoleval.functions import find

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1800)]


def theirs() -> dict[str, Any]:
    from lighteval.tasks.multilingual.tasks import belebele, flores200, global_mmlu, mlmm_hellaswag
    from lighteval.tasks.tasks import gsm8k

    modules = (belebele, flores200, global_mmlu, mlmm_hellaswag, gsm8k)
    return {config.name: config for module in modules for config in module.TASKS_TABLE}


def name_of(task: TaskDefinition, subset: str) -> str:
    """Return lighteval's name; of Global-MMLU 0.13 has all rows only, with lettered options."""
    name = task.name
    if name.startswith("global_mmlu"):
        name = name.replace("_ca_", "_all_").replace("_cf", "_mcf")
    return f"{name}:{subset}" if subset else name


def pairs() -> Iterator[tuple[TaskDefinition, str, Any]]:
    known = theirs()
    for task in [*select(["base_multilingual"]), registry()["gsm8k"]]:
        for subset in task.subset_names:
            yield task, subset, known[name_of(task, subset)]


def test_data_shots_and_bounds_are_lightevals() -> None:
    from smoleval.pipeline import light_config

    for task, subset, their in pairs():
        ours = light_config(task, subset)
        for name in ("hf_repo", "hf_subset", "generation_size"):
            assert getattr(ours, name) == getattr(their, name), (task.name, name)
        assert list(ours.evaluation_splits) == list(their.evaluation_splits), task.name
        assert list(ours.stop_sequence) == list(their.stop_sequence or []), task.name
        assert their.hf_revision in (ours.hf_revision, None), task.name  # ours pins what theirs leaves open
        if task.few_shot.shots:
            split = their.few_shots_split or "train"  # lighteval's first choice where none is named
            assert ours.few_shots_split == split, task.name
            assert ours.few_shots_select == (their.few_shots_select or "balanced"), task.name


def test_prompts_choices_and_golds_are_lightevals(tmp_path: Path) -> None:
    compared = 0
    for task, subset, their in pairs():
        if task.name.startswith("global_mmlu"):
            continue
        for row in load_data(task, "fixture", tmp_path).rows.get(subset, ()):
            ours = find("prompts", task.prompt).call(dict(row), task)
            if ours is None:
                continue
            other = their.prompt_function(json.loads(json.dumps(row)), their.name)
            for name in ("query", "choices", "gold_index", "instruction"):
                assert getattr(ours, name) == getattr(other, name), (task.name, name)
            compared += 1
    assert compared >= 33  # tasks
