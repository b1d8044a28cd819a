"""Metrics on generated text: extracted mathematical answers, and sacrebleu's translation scores.

``extractive_match`` compares what lighteval extracts (a boxed answer first, else the last number or formula)
by sympy, to 5 decimals. chrF++ and BLEU are of the whole corpus; BLEU-1 and BLEU-4 are means over items.
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
    """Mean of the items' BLEU of words."""
    return _sentence_bleu(1)


@register(version=1)
def bleu_4(task: TaskDefinition) -> Any:
    """Mean of the items' BLEU of runs of four words."""
    return _sentence_bleu(4)


def _lighteval(name: str) -> Any:
    from lighteval.metrics.metrics import Metrics

    return Metrics[name].value


def _sentence_bleu(length: int) -> Any:
    """Return lighteval's item BLEU (all weight on runs of one length), without its download.

    lighteval cuts the text into sentences first, by a model that nltk fetches for each item; here the text
    is one sentence. A full stop inside an item then stays with its word.
    """
    import numpy as np
    from lighteval.metrics.metrics_sample import SampleLevelComputation
    from lighteval.metrics.utils.metric_utils import SampleLevelMetric
    from lighteval.tasks.requests import SamplingMethod

    class ItemBleu(SampleLevelComputation):  # type: ignore[misc]  # lighteval ships no types
        def compute(self, doc: Any, model_response: Any, **_: Any) -> float:
            golds = doc.get_golds()
            answers = model_response.final_text
            return float(np.mean([sentence_bleu(golds, answer, length) for answer in answers]))

    return SampleLevelMetric(
        metric_name=f"bleu_{length}",
        sample_level_fn=ItemBleu(),
        category=SamplingMethod.GENERATIVE,
        corpus_level_fn=np.mean,
        higher_is_better=True,
    )


def sentence_bleu(gold: list[str], answer: str, length: int) -> float:
    """Return the BLEU of one text by the shared runs of ``length`` words, brevity penalty included."""
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.translate.bleu_score import sentence_bleu as score

    words = NLTKWordTokenizer().tokenize
    weights = [float(number == length) for number in range(1, 5)]
    return float(score([words(one) for one in gold], words(answer), weights=weights))
