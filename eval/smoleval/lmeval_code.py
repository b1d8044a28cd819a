"""The same programming items through lighteval and lm-eval: equal answers, and equal verdicts on programs.

``answers``: both engines generate greedily from the prompts that our definition makes, with the same stop
texts; the texts must be the same. ``verdicts``: lm-eval's rule (the ``code_eval`` metric of evaluate: program
and tests are one script, which passes if it raises nothing) against ours (the tests call the program from
another sandbox), on the same programs; both are run in the sandbox, since lm-eval's own is none. The rules
differ where a program leaves early, or returns objects that equal everything: lm-eval's passes these.
lm-eval's shipped task can't be used offline: it downloads its metric at import. Cost: two generations of the
items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smoldata.errors import InputError
from smoleval.data import TaskData
from smoleval.definition import TaskDefinition
from smoleval.sandbox import Case, judge_many, run


@dataclass(frozen=True, slots=True)
class SameAnswers:
    """How two engines' greedy answers agree."""

    items: int
    equal: int
    ours: tuple[str, ...]
    theirs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SameVerdicts:
    """How two rules judge the same programs."""

    programs: int
    passed: int
    """By our rule."""
    passed_lm_eval: int
    different: tuple[int, ...]
    """Programs on which they disagree."""


def compare_answers(
    model: Any, task: TaskDefinition, data: TaskData, limit: int, new_tokens: int
) -> SameAnswers:
    """Return how the answers of a loaded :class:`smoleval.lightmodel.SmolModel` agree in both engines.

    Raises :class:`InputError` if the task is not generated.
    """
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from smoleval.pipeline import light_tasks

    if task.generation is None:
        raise InputError(f"{task.name} is scored by log-likelihood; compare humaneval_plus or mbpp_plus")
    docs = [doc for light in light_tasks(task, data).values() for doc in light.get_docs(limit)]
    for doc in docs:
        doc.generation_size = new_tokens
    ours = [str(response.text[0]) for response in model.greedy_until(docs)]
    other = HFLM(pretrained=model.model, tokenizer=model.tokenizer, max_length=model.max_length, batch_size=1)
    settings = {"until": list(task.generation.stop), "max_gen_toks": new_tokens, "do_sample": False}
    asked = [
        Instance(request_type="generate_until", doc={}, arguments=(doc.query, settings), idx=0)
        for doc in docs
    ]
    theirs = [str(text) for text in other.generate_until(asked, disable_tqdm=True)]
    equal = sum(one == two for one, two in zip(ours, theirs, strict=True))
    return SameAnswers(len(docs), equal, tuple(ours), tuple(theirs))


def compare_verdicts(cases: Sequence[Case]) -> SameVerdicts:
    """Return how the two rules judge programs whose tests call functions."""
    ours = [verdict.passed for verdict in judge_many(cases)]
    theirs = [run(_one_script(case), limits=case.limits, packages=case.packages).succeeded for case in cases]
    different = [number for number, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]]
    return SameVerdicts(len(ours), sum(ours), sum(theirs), tuple(different))


def _one_script(case: Case) -> str:
    return f"{case.program}\n{case.tests}"
