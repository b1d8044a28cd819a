"""The same items through lighteval and through lm-eval: how far their numbers agree, and where rules differ.

Two comparisons of a log-likelihood task. ``same prompts``: lm-eval's Hugging Face model scores the prompts
that our definition makes; ln p must agree to rounding. ``own task``: lm-eval's shipped definition on the same
rows, whose rule differs in three ways: its wording (BoolQ: "Question: ...?" and no/yes; ours Yes/No with the
question capitalised), the order of choices in ties, and ``acc_norm``, which divides by a choice's characters
without the space before it (lighteval counts that space). Cost: two to three forward passes over the items;
both libraries are imported (40 s of CPU).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from smoldata.errors import InputError
from smoleval.data import Row, TaskData, load_data
from smoleval.definition import TaskDefinition, registry
from smoleval.job import Job


@dataclass(frozen=True, slots=True)
class Agreement:
    """One task in both engines."""

    task: str
    items: int
    choices: int
    """Log-likelihoods compared."""
    largest_difference: float
    """Of ln p on the same prompts, in nats."""
    mean_length: float
    """Mean of -ln p, to see the difference beside."""
    other_picks: int
    """Items whose best choice differs on the same prompts."""
    lighteval: dict[str, float]
    """Metric -> value by our definition, with ``acc`` beside its own metrics."""
    lm_eval: dict[str, float]
    """Metric -> value by lm-eval's own definition on the same rows; empty where it has none."""


_OWN = {"boolq_cf": ("super_glue/boolq/default.yaml", "boolq"), "piqa_cf": ("piqa/piqa.yaml", "piqa")}
"""Our task -> lm-eval's shipped definition and its name."""


def compare(
    model: Any, task: TaskDefinition, data: TaskData, limit: int | None, *, batch_size: int = 1
) -> Agreement:
    """Return how a task's scores agree on a loaded :class:`smoleval.lightmodel.SmolModel`.

    Raises :class:`InputError` if the task is not scored by log-likelihood.
    """
    from lighteval.tasks.requests import SamplingMethod

    from smoleval.pipeline import light_tasks

    if task.generation is not None:
        raise InputError(
            f"{task.name} is generated, not scored by log-likelihood; compare boolq_cf or piqa_cf"
        )
    lights = list(light_tasks(task, data).values())
    docs = [doc for light in lights for doc in light.get_docs(limit)]
    assert all(SamplingMethod.LOGPROBS in doc.sampling_methods for doc in docs)
    ours = model.loglikelihood(docs)
    other = _lm_eval_model(model, batch_size)
    theirs = _loglikelihoods(other, model, docs)
    pairs = [
        (one, two)
        for response, values in zip(ours, theirs, strict=True)
        for one, two in zip(response.logprobs, values, strict=True)
    ]
    picks = sum(
        _best(response.logprobs) != _best(values) for response, values in zip(ours, theirs, strict=True)
    )
    return Agreement(
        task=task.name,
        items=len(docs),
        choices=len(pairs),
        largest_difference=max(abs(one - two) for one, two in pairs),
        mean_length=-sum(one for one, _ in pairs) / len(pairs),
        other_picks=picks,
        lighteval=_metrics(task, lights[0], docs, ours),
        lm_eval=_own_task(other, task, [data.rows[""][int(doc.id)] for doc in docs])
        if task.name in _OWN
        else {},
    )


def compare_tasks(job: Job) -> Iterator[Agreement]:
    """Yield for each task of a job how its scores agree; the job's limit is that of items."""
    from smoleval.loading import load

    for item in job.items:
        if registry()[item.task].generation is not None:
            raise InputError(f"{item.task} is generated, not scored by log-likelihood; leave it out")
    model = load(job)
    for item in job.items:
        task = registry()[item.task]
        yield compare(model, task, load_data(task, item.profile, Path(job.packages)), job.limit)


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda number: values[number])


def _metrics(
    task: TaskDefinition, light: Any, docs: Sequence[Any], answers: Sequence[Any]
) -> dict[str, float]:
    from smoleval.metrics.loglikelihood import acc

    found: dict[str, float] = {}
    for metric in (*light.metrics, acc(task)):
        values = [
            metric.compute_sample(model_response=answer, doc=doc)
            for doc, answer in zip(docs, answers, strict=True)
        ]
        for name in values[0]:
            found[name] = sum(float(value[name]) for value in values) / len(values)
    return found


def _lm_eval_model(model: Any, batch_size: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=model.model,
        tokenizer=model.tokenizer,
        max_length=model.max_length,
        batch_size=batch_size,
        device=str(model.model.device),
    )


def _loglikelihoods(other: Any, model: Any, docs: Sequence[Any]) -> list[list[float]]:
    from lm_eval.api.instance import Instance

    prompts = [model.prompt_manager.prepare_prompt(doc) for doc in docs]
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=(prompt, choice), idx=number)
        for prompt, doc in zip(prompts, docs, strict=True)
        for number, choice in enumerate(doc.choices)
    ]
    values = iter(other.loglikelihood(requests, disable_tqdm=True))
    return [[float(next(values)[0]) for _ in doc.choices] for doc in docs]


def _own_task(other: Any, task: TaskDefinition, rows: Sequence[Row]) -> dict[str, float]:
    """Return lm-eval's metrics of its own definition of a task on rows of ours."""
    import lm_eval
    import yaml

    path, name = _OWN[task.name]
    shipped = Path(lm_eval.__file__).parent / "tasks" / path
    config: dict[str, Any] = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    with TemporaryDirectory(prefix="smoleval-") as folder:
        file = Path(folder) / "rows.json"
        file.write_text("".join(json.dumps(_labelled(row)) + "\n" for row in rows), encoding="utf-8")
        changed = {
            "task": f"{name}_rows",
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {"validation": str(file)}, "cache_dir": folder},
            "training_split": None,
            "test_split": None,
            "should_decontaminate": False,
        }
        config = {key: value for key, value in config.items() if key != "tag"} | changed
        result = lm_eval.simple_evaluate(model=other, tasks=[config], bootstrap_iters=0, log_samples=False)
    values: Mapping[str, Any] = result["results"][f"{name}_rows"]
    return {
        key.partition(",")[0]: float(value)
        for key, value in values.items()
        if key.endswith(",none") and "stderr" not in key
    }


def _labelled(row: Row) -> Row:
    """Give a row the integer label that lm-eval's definitions read."""
    return row | ({"label": int(row["answer"])} if "passage" in row else {})
