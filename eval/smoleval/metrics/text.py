"""Metrics on generated text: extracted mathematical answers, and sacrebleu's translation scores.

``extractive_match`` compares what lighteval extracts (a boxed answer first, else the last number or formula)
by sympy, to 5 decimals. chrF++ and BLEU are of the whole corpus, with
standard errors by the jackknife; BLEU-1 and BLEU-4 are means over items.
"""

from collections.abc import Callable
from typing import Any

from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.intervals import stderr_by_jackknife


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
    """chrF++ of the corpus: sacrebleu's chrF with word bigrams."""
    return _corpus("chrf++", lambda sacrebleu: sacrebleu.CHRF(word_order=2))


@register(version=1)
def bleu(task: TaskDefinition) -> Any:
    """BLEU of the corpus: sacrebleu's, with its default tokenizer."""
    return _corpus("bleu", lambda sacrebleu: sacrebleu.BLEU())


@register(version=1)
def bleu_1(task: TaskDefinition) -> Any:
    """Mean of the items' BLEU of words."""
    return _sentence_bleu(1)


@register(version=1)
def bleu_4(task: TaskDefinition) -> Any:
    """Mean of the items' BLEU of runs of four words."""
    return _sentence_bleu(4)


def _corpus(name: str, scorer: Callable[[Any], Any]) -> Any:
    """Return sacrebleu's score of all answers.

    Not lighteval's: in 0.13 its chrF hands sacrebleu one list an item where sacrebleu wants one list of all
    references, so that only the first answer is scored; its BLEU asks the network for a file each time.
    """
    from lighteval.metrics.metrics_corpus import CorpusLevelComputation
    from lighteval.metrics.sample_preparator import GenerativePreparator
    from lighteval.metrics.utils.metric_utils import CorpusLevelMetric
    from lighteval.tasks.requests import SamplingMethod

    class Translation(CorpusLevelComputation):  # type: ignore[misc]  # lighteval ships no types
        def compute_corpus(self, items: list[Any]) -> float:
            return corpus_score(scorer, *_pairs(items))

        def standard_error(self, items: list[Any]) -> float | None:
            return corpus_stderr(scorer, *_pairs(items))

    return CorpusLevelMetric(
        metric_name=name,
        sample_level_fn=GenerativePreparator(),
        category=SamplingMethod.GENERATIVE,
        corpus_level_fn=Translation(),
        higher_is_better=True,
    )


def corpus_score(scorer: Callable[[Any], Any], golds: list[str], answers: list[str]) -> float:
    """Return a sacrebleu score (0 to 100) of answers against one reference each."""
    import sacrebleu

    return float(scorer(sacrebleu).corpus_score(answers, [golds]).score)


def corpus_stderr(scorer: Callable[[Any], Any], golds: list[str], answers: list[str]) -> float | None:
    """Return the standard error (0 to 100) of a sacrebleu score over items; None for one item.

    sacrebleu's counts of each item are added up, less one item at a time: 60 ms for 1,000 items.
    """
    import numpy as np
    import sacrebleu

    metric = scorer(sacrebleu)
    counts = np.array(metric._extract_corpus_statistics(answers, [golds]))  # noqa: SLF001 - as its bootstrap does
    score = metric._compute_score_from_stats  # noqa: SLF001 - the same
    return stderr_by_jackknife([float(score(left.tolist()).score) for left in counts.sum(axis=0) - counts])


def _pairs(items: list[Any]) -> tuple[list[str], list[str]]:
    return [item.golds[0] for item in items], [item.preds[0] for item in items]


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
