"""The multilingual base tasks: rows in the hub datasets' columns into Docs.

The wording (question and answer words, punctuation, spaces) is lighteval's for each language; ``language``
in a definition's ``args`` is its ISO 639-3 code there. Microseconds a row.
"""

from string import ascii_uppercase
from typing import Any

from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.prompts import Row
from smoleval.prompts import templates as made

_OPTIONS = ("option_a", "option_b", "option_c", "option_d")


@register(version=1)
def belebele(row: Row, task: TaskDefinition) -> Any:
    """Belebele: a Flores passage, a question, four answers."""
    return made.multiple_choice(
        task,
        {
            "question": row["question"],
            "context": row["flores_passage"],
            "choices": [row[f"mc_answer{number}"] for number in range(1, 5)],
            "gold_idx": int(row["correct_answer_num"]) - 1,
        },
    )


@register(version=1)
def global_mmlu(row: Row, task: TaskDefinition) -> Any:
    """Global-MMLU: rows of one sensitivity (``CA``: culturally agnostic), all four options filled in."""
    label = (row["cultural_sensitivity_label"] or "-").replace("-", "UNK")
    options = [row[name] for name in _OPTIONS]
    if str(task.args["sensitivity"]) not in label or not all(one and one.strip() for one in options):
        return None
    gold = ascii_uppercase.index(row["answer"])
    return made.multiple_choice(task, {"question": row["question"], "choices": options, "gold_idx": gold})


@register(version=1)
def okapi_hellaswag(row: Row, task: TaskDefinition) -> Any:
    """Okapi's translations of HellaSwag: no activity label."""
    return made.hellaswag(
        task,
        {
            "ctx_a": row["ctx_a"],
            "ctx_b": row["ctx_b"],
            "continuations": list(row["endings"]),
            "gold_idx": int(row["label"]),
        },
    )


@register(version=1)
def flores(row: Row, task: TaskDefinition) -> Any:
    """Flores-200: a sentence in ``from``, its translation into ``to`` (codes such as ``fra_Latn``)."""
    source, target = str(task.args["from"]), str(task.args["to"])
    return made.translation(
        task,
        source.partition("_")[0],
        target.partition("_")[0],
        {"source_text": row[f"sentence_{source}"], "target_text": row[f"sentence_{target}"]},
    )
