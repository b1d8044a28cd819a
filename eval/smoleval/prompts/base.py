"""The English base tasks: rows in the hub datasets' columns into Docs.

Which column is question, answer and gold follows the published task file of SmolLM3 (huggingface/smollm,
text/evaluation/smollm3/tasks.py); the wording is lighteval's templates. Microseconds a row.
"""

from string import ascii_uppercase
from typing import Any

from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.prompts import Row, doc
from smoleval.prompts import templates as made


@register(version=1)
def hellaswag(row: Row, task: TaskDefinition) -> Any:
    """HellaSwag: activity label, both halves of the context, four endings."""
    values = {name: row[name] for name in ("activity_label", "ctx_a", "ctx_b") if name in row}
    return made.hellaswag(
        task, values | {"continuations": list(row["endings"]), "gold_idx": int(row["label"])}
    )


@register(version=1)
def arc(row: Row, task: TaskDefinition) -> Any:
    """ARC: the key is a letter, or a digit from 1."""
    key = str(row["answerKey"])
    gold = int(key) - 1 if key.isdigit() else ascii_uppercase.index(key)
    return made.multiple_choice(
        task, {"question": row["question"], "choices": list(row["choices"]["text"]), "gold_idx": gold}
    )


@register(version=1)
def mmlu(row: Row, task: TaskDefinition) -> Any:
    """MMLU: the answer is an index from 0."""
    return made.multiple_choice(
        task, {"question": row["question"], "choices": list(row["choices"]), "gold_idx": int(row["answer"])}
    )


@register(version=1)
def mmlu_pro(row: Row, task: TaskDefinition) -> Any:
    """MMLU-Pro: up to ten options."""
    return made.multiple_choice(
        task,
        {
            "question": row["question"],
            "choices": list(row["options"]),
            "gold_idx": int(row["answer_index"]),
        },
    )


@register(version=1)
def boolq(row: Row, task: TaskDefinition) -> Any:
    """BoolQ: passage, question, Yes or No."""
    return made.yes_or_no(
        task, {"question": row["question"], "answer": bool(row["answer"]), "context": row["passage"]}
    )


@register(version=1)
def commonsenseqa(row: Row, task: TaskDefinition) -> Any:
    """CommonsenseQA: the key is one of the choices' labels."""
    choices = row["choices"]
    return made.multiple_choice(
        task,
        {
            "question": row["question"],
            "choices": list(choices["text"]),
            "gold_idx": list(choices["label"]).index(row["answerKey"].strip()),
        },
    )


@register(version=1)
def winogrande(row: Row, task: TaskDefinition) -> Any:
    """Winogrande: the text before the blank; each option with the rest of the sentence is scored."""
    values = made.winogrande(row)
    return None if values is None else made.continuation(task, values)


@register(version=1)
def openbookqa(row: Row, task: TaskDefinition) -> Any:
    """OpenBookQA: the stem and four texts, no fact given."""
    return made.multiple_choice(
        task,
        {
            "question": row["question_stem"],
            "choices": list(row["choices"]["text"]),
            "gold_idx": ascii_uppercase.index(row["answerKey"]),
        },
    )


@register(version=1)
def piqa(row: Row, task: TaskDefinition) -> Any:
    """PIQA: a goal and two solutions."""
    return made.multiple_choice(
        task,
        {"question": row["goal"], "choices": [row["sol1"], row["sol2"]], "gold_idx": int(row["label"])},
    )


@register(version=1)
def gsm8k(row: Row, task: TaskDefinition) -> Any:
    """GSM8K: question and worked solution; the number after ``####`` is the gold."""
    return doc(f"Question: {row['question']}\nAnswer:", [f" {row['answer']}"])


@register(version=1)
def math_cot(row: Row, task: TaskDefinition) -> Any:
    r"""MATH: the problem and a request for a ``\boxed{}`` answer; the gold is the worked solution."""
    ask = "Please reason step by step, and put your final answer within \\boxed{}."
    return doc(f"{row['problem']}\n{ask}", [f" {row['solution']}"])


@register(version=1)
def siqa(row: Row, task: TaskDefinition) -> Any:
    """SIQA: a situation, a question and three answers; the label counts from 1."""
    return made.multiple_choice(
        task,
        {
            "question": row["question"],
            "context": row["context"],
            "choices": [row["answerA"], row["answerB"], row["answerC"]],
            "gold_idx": int(row["label"]) - 1,
        },
    )


@register(version=1)
def asdiv(row: Row, task: TaskDefinition) -> Any:
    """ASDiv: a word problem; the gold is a number with its unit."""
    return doc(f"{row['body']}\nQuestion: {row['question']}\nAnswer:", [f" {row['answer']}"])
