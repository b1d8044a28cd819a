"""The instruct suite: rows in the hub datasets' columns into Docs, one user turn each.

Wording is the published one where the release of lighteval in use still has its template; else the task's
``args`` say the same in our words. The order of GPQA's options is drawn from a hash of the question, so every
run and machine asks the same; the published runs drew it from an unseeded generator.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from string import ascii_uppercase
from typing import Any

from smoldata.files import digest_values
from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.prompts import Row, doc

_SKIPPED = "critical thinking"


@register(version=1)
def boxed_answer(row: Row, task: TaskDefinition) -> Any:
    """Ask for a final answer in a box; ``args.question`` names the column. GSM-Plus: open questions are out.

    A "critical thinking" row of GSM-Plus has no answer to be found.
    """
    from lighteval.tasks.tasks.aime import MATH_PROMPT_TEMPLATE

    if row.get("perturbation_type") == _SKIPPED:
        return None
    question = row[str(task.args["question"])]
    return doc(MATH_PROMPT_TEMPLATE.strip().format(prompt=question), [str(row["answer"])])


@register(version=1)
def gpqa(row: Row, task: TaskDefinition) -> Any:
    """GPQA: the right answer at a place that depends on the question alone."""
    from lighteval.tasks.tasks.gpqa import gpqa_prompt

    with _drawn_from(task.name, row["Question"]):
        made = gpqa_prompt(dict(row), task.name)
    made.instruction = None  # it repeats the question, which chat templates would then show once all the same
    return made


@contextmanager
def _drawn_from(*values: object) -> Iterator[None]:
    """Seed the generator that lighteval's function draws from, and put it back as it was."""
    before = random.getstate()
    random.seed(int(digest_values(*values), 16))
    try:
        yield
    finally:
        random.setstate(before)


@register(version=1)
def ifeval(row: Row, task: TaskDefinition) -> Any:
    """IFEval: the prompt as it is; which instructions it holds goes with it."""
    specific = {"instructions_id_list": list(row["instruction_id_list"]), "kwargs": list(row["kwargs"])}
    return doc(row["prompt"], [""], specific=specific)


@register(version=1)
def global_mmlu(row: Row, task: TaskDefinition) -> Any:
    """Global MMLU: ``args`` hold the instruction and the headings in the language."""
    options = [row[f"option_{letter}"] for letter in "abcd"]
    query = _with_options(str(task.args["instruction"]), row["question"], options, task)
    return doc(query, list("ABCD"), "ABCD".index(row["answer"]))


@register(version=1)
def mmlu_pro(row: Row, task: TaskDefinition) -> Any:
    """MMLU-Pro: up to ten options; the instruction names the subject and the letters."""
    letters = list(ascii_uppercase[: len(row["options"])])
    instruction = str(task.args["instruction"])
    instruction = instruction.replace("CATEGORY", row["category"])
    instruction = instruction.replace("LETTERS", f"{', '.join(letters[:-1])}, or {letters[-1]}")
    query = _with_options(instruction, row["question"], list(row["options"]), task) + "\n###\n"
    return doc(query, letters, int(row["answer_index"]))


def _with_options(instruction: str, question: str, options: list[str], task: TaskDefinition) -> str:
    lines = "".join(f"\n{letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
    asked, offered = task.args.get("question", "Query"), task.args.get("options", "Choices")
    return f"{instruction}\n\n###\n{asked}:\n{question}\n###\n{offered}:{lines}"


@register(version=1)
def mixeval(row: Row, task: TaskDefinition) -> Any:
    """MixEval: free-form, or with options (``args.kind``); the judge sees the bare question."""
    from lighteval.tasks.tasks.mix_eval import prompts

    kind = str(task.args["kind"])
    specific = {"kind": kind, "question": row["prompt"]}
    if kind == "multiple_choice":
        query = prompts.construct_prompt_multichoice(dict(row))
        return doc(query, list(row["options"]), [int(one) for one in row["target"]], specific=specific)
    query = prompts.construct_prompt_freeform(dict(row))
    golds = list(row["target"])
    return doc(query, golds, list(range(len(golds))), specific=specific)
