"""Scores given answers with the tasks' own prompts and metrics.

Standard input: JSON, a list of [task, row, answers]; ``GOLD`` and ``OTHER`` in an answer stand for the letter
of the right option and of another. Standard output: for each its metrics. As lighteval's pipeline does,
thoughts are cut off first. One process for all: lighteval's import takes 20 s.
"""

import json
import sys
from typing import Any

from smoleval.definition import registry
from smoleval.functions import find


def scored(name: str, row: dict[str, Any], answers: list[str]) -> dict[str, Any]:
    """Return the metrics of one item's answers."""
    from lighteval.models.model_output import ModelResponse
    from lighteval.utils.utils import remove_reasoning_tags

    task = registry()[name]
    doc = find("prompts", task.prompt).call(row, task)
    if doc is None:
        return {"left out": True}
    gold = doc.get_golds()[0]
    other = next((choice for choice in doc.choices if choice != gold), "")
    texts = [text.replace("GOLD", gold).replace("OTHER", other) for text in answers]
    spoken = [remove_reasoning_tags(text, [("<think>", "</think>")]) for text in texts]
    response = ModelResponse(text=texts, text_post_processed=spoken, output_tokens=[[0]] * len(texts))
    found: dict[str, Any] = {"query": doc.query}
    for metric in (find("metrics", one).call(task) for one in task.metrics):
        if metric.batched_compute:
            values = metric.compute_sample(docs=[doc], responses=[response])
            found[metric.metric_name] = values[metric.metric_name][0]
        else:
            found |= metric.compute_sample(doc=doc, model_response=response)
    return found


if __name__ == "__main__":
    results = [scored(*given) for given in json.load(sys.stdin)]
    sys.stdout.write("\n" + json.dumps(results) + "\n")
