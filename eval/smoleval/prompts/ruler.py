"""RULER: a generated prompt with the beginning of its answer into a Doc, as a base model is asked."""

from dataclasses import asdict
from typing import Any

from smoldata.files import digest_values
from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.prompts import Row, doc
from smoleval.ruler.tasks import KINDS, TASKS

_RULE = int(
    digest_values([asdict(task) for task in TASKS.values()], [asdict(kind) for kind in KINDS.values()])[:12],
    16,
)
"""The published parameters themselves: another parameter is another version."""


@register(version=_RULE)
def prompt(row: Row, task: TaskDefinition) -> Any:
    """Ask with the answer begun; all expected texts are gold, ``specific`` says how they are matched."""
    outputs = list(row["outputs"])
    specific = {"match": row["match"], "answer_tokens": row["answer_tokens"]}
    return doc(row["input"] + row["answer_prefix"], outputs, list(range(len(outputs))), specific=specific)
