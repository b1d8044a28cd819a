"""One task's rows -> lighteval's pipeline -> values per item, and what is kept about each.

A subclass of lighteval's ``Pipeline`` is handed our tasks with their rows, so lighteval's registry, whose
import downloads files (lighteval 0.13 builds the tinyBenchmarks tasks then), is never asked; everything
else (few-shot examples, order, prompts, metrics, aggregation) is lighteval's. Only imported in the child
process of :mod:`smoleval.engine`: importing lighteval takes 15 to 25 s of CPU.
"""

import collections
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lighteval.logging.evaluation_tracker import EvaluationTracker
from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters
from lighteval.tasks.lighteval_task import LightevalTask, LightevalTaskConfig

from smoldata.errors import InputError, SourceError
from smoleval.data import Row, TaskData
from smoleval.definition import TaskDefinition
from smoleval.functions import find
from smoleval.intervals import stderr_of_mean
from smoleval.lightmodel import SmolModel


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric on one part of a task."""

    subset: str
    metric: str
    value: float
    stderr: float | None
    items: int


@dataclass(frozen=True, slots=True)
class Detail:
    """What was asked and answered, for one item."""

    subset: str
    item: int
    """Row of the subset, from 0."""
    prompt: str
    choices: list[str]
    gold: list[int]
    answers: list[str]
    logprobs: list[float]
    metrics: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The numbers of one task in one mode, and the items behind them."""

    measured: list[Measured]
    details: list[Detail]
    truncated: int
    """Prompts that did not fit into the model and lost their beginning."""


class _Pipeline(Pipeline):  # type: ignore[misc]  # lighteval ships no types
    """lighteval's pipeline over tasks that are given, not looked up."""

    def __init__(self, tasks: Mapping[str, Any], limit: int | None, model: SmolModel, work: str) -> None:
        self._given = tasks
        super().__init__(
            tasks="",
            pipeline_parameters=PipelineParameters(
                launcher_type=ParallelismManager.NONE, max_samples=limit, bootstrap_iters=0
            ),
            evaluation_tracker=EvaluationTracker(output_dir=work, save_details=False),
            model=model,
        )

    def _init_tasks_and_requests(self, tasks: str) -> None:  # noqa: ARG002 (lighteval's name)
        self.registry = None
        limit = self.pipeline_parameters.max_samples
        self.tasks_dict = dict(self._given)
        self.documents_dict = {name: task.get_docs(limit) for name, task in self.tasks_dict.items()}
        self.sampling_docs = collections.defaultdict(list)
        for docs in self.documents_dict.values():
            for doc in docs:
                for method in doc.sampling_methods:
                    self.sampling_docs[method].append(doc)


def evaluate(
    model: SmolModel, task: TaskDefinition, data: TaskData, *, mode: str, limit: int | None, work: str
) -> Outcome:
    """Run a task in a mode on a loaded model.

    Raises :class:`SourceError` if no row gives a question.
    """
    tasks = light_tasks(task, data)
    if not tasks:
        raise SourceError(f"{task.name}: none of its rows gives a question in the profile {data.profile}")
    _ask_as(model, task, mode)
    cut = model.truncated
    pipeline = _Pipeline({one.full_name: one for one in tasks.values()}, limit, model, work)
    for docs in pipeline.documents_dict.values():
        for doc in docs:
            doc.num_samples = task.generation.samples if task.generation else 1
            # RULER's tasks bound their answers each in its own way; lighteval sets one bound for all.
            doc.generation_size = (doc.specific or {}).get("answer_tokens", doc.generation_size)
    pipeline.evaluate()
    return _outcome(task, tasks, data, pipeline, model.truncated - cut)


def _ask_as(model: SmolModel, task: TaskDefinition, mode: str) -> None:
    if task.chat:
        if not model.tokenizer.chat_template:
            raise InputError(
                f"{task.name} is asked through a chat template, and the tokenizer of "
                f"{model.config.model_name} has none; ask a base model the tasks of --tasks base"
            )
        model.use_chat(f"/{mode}" if mode else None)
    else:
        model.use_plain()
    if task.generation:
        model.limits = replace(
            model.limits, temperature=task.generation.temperature, top_p=task.generation.top_p
        )


def light_tasks(task: TaskDefinition, data: TaskData) -> dict[str, Any]:
    """Return lighteval tasks by subset, with their rows; subsets whose rows give no question are left out."""
    made = {}
    for subset, rows in data.rows.items():
        light = LightevalTask(light_config(task, subset))
        light.dataset = _splits(task, rows, data.examples.get(subset, []))
        if light.eval_docs():
            made[subset] = light
    return made


def light_config(task: TaskDefinition, subset: str) -> Any:
    """Return a definition as lighteval's configuration of one subset."""
    prompt = find("prompts", task.prompt).call
    asked = task.generation
    return LightevalTaskConfig(
        name=f"{task.name}:{subset}" if subset else task.name,
        prompt_function=lambda row, _name: prompt(row, task),
        hf_repo=task.dataset or task.name,
        hf_subset=task.hub_config(subset) if subset in task.subsets or not subset else subset,
        hf_revision=task.revision,
        metrics=[find("metrics", name).call(task) for name in task.metrics],
        evaluation_splits=(task.split,),
        hf_avail_splits=sorted({task.split, task.few_shot.split or task.split}),
        few_shots_split=task.few_shot.split or task.split,
        few_shots_select=task.few_shot.select,
        num_fewshots=task.few_shot.shots,
        generation_size=asked.max_new_tokens if asked else None,
        stop_sequence=list(asked.stop) if asked else [],
    )


def _splits(task: TaskDefinition, rows: Sequence[Row], examples: Sequence[Row]) -> dict[str, list[Row]]:
    # lighteval adds keys to the rows that it reads.
    splits = {task.few_shot.split or task.split: [dict(row) for row in examples]}
    return splits | {task.split: [dict(row) for row in rows]}


def _outcome(
    task: TaskDefinition, tasks: Mapping[str, Any], data: TaskData, pipeline: Any, truncated: int
) -> Outcome:
    logged = pipeline.evaluation_tracker.metrics_logger
    measured: list[Measured] = []
    for subset, light in tasks.items():
        items = len(pipeline.documents_dict[light.full_name])
        values = logged.metrics_values[light.full_name]
        for metric, value in logged.metric_aggregated[light.full_name].items():
            if math.isfinite(value):
                spread = _stderr(light, metric, values.get(metric, []))
                measured.append(Measured(subset, metric, float(value), spread, items))
    details = _details(tasks, pipeline)
    if list(tasks) != [""]:
        measured += overall(measured)
    if task.breakdown:
        measured += _broken_down(task.breakdown, data, details)
    return Outcome(measured, details, truncated)


def _stderr(light: Any, metric: str, values: Sequence[Any]) -> float | None:
    """Return the standard error over items; what is no mean of numbers may bring its own."""
    aggregation = light.aggregation()[metric]
    own = getattr(getattr(aggregation, "__self__", aggregation), "standard_error", None)
    if own is not None:
        found: float | None = own(values)
        return found
    return stderr_of_mean(values) if "mean" in aggregation.__name__ else None


def overall(measured: Sequence[Measured]) -> list[Measured]:
    """Return the plain mean of each metric over subsets, and its standard error.

    The error takes subsets as independent; where one of them has none (a single item), the subsets themselves
    are the sample, which gives no less.
    """
    by_metric: dict[str, list[Measured]] = {}
    for one in measured:
        by_metric.setdefault(one.metric, []).append(one)
    found = []
    for metric, parts in by_metric.items():
        values = [part.value for part in parts]
        known = [part.stderr for part in parts if part.stderr is not None]
        spread = math.hypot(*known) / len(parts) if len(known) == len(parts) else stderr_of_mean(values)
        value = sum(values) / len(parts)
        found.append(Measured("", metric, value, spread, sum(part.items for part in parts)))
    return found


def _broken_down(column: str, data: TaskData, details: Sequence[Detail]) -> list[Measured]:
    groups: dict[tuple[str, str], list[float]] = {}
    for detail in details:
        value = str(data.rows[detail.subset][detail.item][column])
        for metric, number in detail.metrics.items():
            if isinstance(number, (int, float)):
                groups.setdefault((value, metric), []).append(float(number))
    return [
        Measured(value, metric, sum(numbers) / len(numbers), stderr_of_mean(numbers), len(numbers))
        for (value, metric), numbers in sorted(groups.items())
    ]


def _details(tasks: Mapping[str, Any], pipeline: Any) -> list[Detail]:
    logged = pipeline.evaluation_tracker.details_logger.details
    return [
        Detail(
            subset,
            int(one.doc.id),
            str(one.model_response.input or one.doc.query),
            [str(choice) for choice in one.doc.choices or []],
            [one.doc.gold_index] if isinstance(one.doc.gold_index, int) else list(one.doc.gold_index),
            [str(text) for text in one.model_response.final_text],
            [float(value) for value in one.model_response.logprobs],
            dict(one.metric),
        )
        for subset, light in tasks.items()
        for one in logged[light.full_name]
    ]
