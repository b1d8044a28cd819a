"""RULER's string match as a lighteval metric."""

from typing import Any

from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.metrics.wrapping import single


@register(version=1)
def string_match(task: TaskDefinition) -> Any:
    """Return the share of the expected texts found, or whether any is: as the Doc says."""
    from smoleval.ruler.score import METRIC
    from smoleval.ruler.score import string_match as rule

    return single(METRIC, lambda doc, response: rule(response.text[0], doc.choices, doc.specific["match"]))
