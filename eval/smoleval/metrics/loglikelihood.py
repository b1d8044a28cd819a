"""Accuracy of the choice with the highest log-likelihood: as it is, by tokens, by characters.

lighteval's ``LoglikelihoodAcc``: argmax over choices of sum(ln p), divided by the number of the choice's
tokens (``acc_norm_token``) or of its characters with the space before it (``acc_norm``); ties go to the
first choice.
"""

from typing import Any

from smoleval.definition import TaskDefinition
from smoleval.functions import register


@register(version=1)
def acc(task: TaskDefinition) -> Any:
    """Accuracy by the sum of ln p."""
    from lighteval.metrics.dynamic_metrics import LogLikelihoodAccMetric

    return LogLikelihoodAccMetric()


@register(version=1)
def acc_norm_token(task: TaskDefinition) -> Any:
    """Accuracy by ln p a token of the choice."""
    from lighteval.metrics.dynamic_metrics import LogLikelihoodAccMetric
    from lighteval.metrics.normalizations import LogProbTokenNorm

    return LogLikelihoodAccMetric(normalization=LogProbTokenNorm())


@register(version=1)
def acc_norm(task: TaskDefinition) -> Any:
    """Accuracy by ln p a character of the choice, the space before it counted."""
    from lighteval.metrics.dynamic_metrics import LogLikelihoodAccMetric
    from lighteval.metrics.normalizations import LogProbCharNorm

    return LogLikelihoodAccMetric(normalization=LogProbCharNorm())
