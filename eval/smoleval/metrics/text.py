"""Metrics on generated text: extracted mathematical answers, and sacrebleu's translation scores.

``extractive_match`` compares what lighteval extracts (a boxed answer first, else the last number or formula)
by sympy, to 5 decimals. chrF++ and BLEU are of the whole corpus.
"""

from typing import Any

from smoleval.definition import TaskDefinition
from smoleval.functions import register


@register(version=1)
def extractive_match_expression(task: TaskDefinition) -> Any:
    """Gold is a plain number (GSM8K)."""
    from lighteval.metrics.metrics import Metrics

    return Metrics.expr_gold_metric.value


@register(version=1)
def extractive_match_latex(task: TaskDefinition) -> Any:
    """Gold is LaTeX (MATH)."""
    import numpy as np
    from lighteval.metrics.dynamic_metrics import MultilingualExtractiveMatchMetric
    from lighteval.metrics.utils.extractive_match_utils import ExprExtractionConfig, LatexExtractionConfig
    from lighteval.metrics.utils.metric_utils import SampleLevelMetric
    from lighteval.tasks.requests import SamplingMethod

    return SampleLevelMetric(
        metric_name="extractive_match",
        sample_level_fn=MultilingualExtractiveMatchMetric(
            fallback_mode="first_match",
            precision=5,
            gold_extraction_target=(LatexExtractionConfig(),),
            pred_extraction_target=(ExprExtractionConfig(), LatexExtractionConfig(boxed_match_priority=0)),
        ),
        category=SamplingMethod.GENERATIVE,
        corpus_level_fn=np.mean,
        higher_is_better=True,
    )


@register(version=1)
def chrf_plus(task: TaskDefinition) -> Any:
    """chrF++: sacrebleu's chrF with word bigrams."""
    return _lighteval("chrf_plus")


@register(version=1)
def bleu(task: TaskDefinition) -> Any:
    """BLEU of the corpus (sacrebleu)."""
    return _lighteval("bleu")


@register(version=1)
def bleu_1(task: TaskDefinition) -> Any:
    """Mean of the items' BLEU-1 (lighteval)."""
    return _lighteval("bleu_1")


@register(version=1)
def bleu_4(task: TaskDefinition) -> Any:
    """Mean of the items' BLEU-4 (lighteval)."""
    return _lighteval("bleu_4")


def _lighteval(name: str) -> Any:
    from lighteval.metrics.metrics import Metrics

    return Metrics[name].value
