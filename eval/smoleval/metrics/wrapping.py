"""Functions of our own -> lighteval metrics. Nothing of lighteval is imported before one is asked for."""

from collections.abc import Callable, Sequence
from typing import Any

Score = Callable[[Any, Any], Any]
"""(doc, response) -> a number, or with several names numbers in their order."""
ScoreMany = Callable[[Sequence[Any], Sequence[Any]], list[float]]
"""(docs, responses) -> a number each."""


def mean(values: Sequence[float]) -> float:
    """Return the plain mean."""
    return sum(values) / len(values)


def single(name: str, score: Score) -> Any:
    """Return a metric of one number an item, whose score is the mean."""
    from lighteval.metrics.utils.metric_utils import SampleLevelMetric

    return SampleLevelMetric(
        metric_name=name,
        sample_level_fn=_computation(score),
        category=_generative(),
        corpus_level_fn=mean,
        higher_is_better=True,
    )


def together(name: str, score: ScoreMany) -> Any:
    """Return a metric that is computed for all items at once."""
    from lighteval.metrics.utils.metric_utils import SampleLevelMetric

    return SampleLevelMetric(
        metric_name=name,
        sample_level_fn=_computation(score, batched=True),
        category=_generative(),
        corpus_level_fn=mean,
        higher_is_better=True,
        batched_compute=True,
    )


def several(names: Sequence[str], score: Score) -> Any:
    """Return a metric of several numbers an item, each averaged."""
    from lighteval.metrics.utils.metric_utils import SampleLevelMetricGrouping

    return SampleLevelMetricGrouping(
        metric_name=list(names),
        sample_level_fn=_computation(
            lambda doc, response: dict(zip(names, score(doc, response), strict=True))
        ),
        category=_generative(),
        corpus_level_fn=dict.fromkeys(names, mean),
        higher_is_better=dict.fromkeys(names, True),
    )


def _generative() -> Any:
    from lighteval.tasks.requests import SamplingMethod

    return SamplingMethod.GENERATIVE


def _computation(score: Callable[[Any, Any], Any], *, batched: bool = False) -> Any:
    from lighteval.metrics.metrics_sample import SampleLevelComputation

    class Computation(SampleLevelComputation):  # type: ignore[misc]  # lighteval ships no types
        def compute(self, **given: Any) -> Any:
            if batched:
                return score(given["docs"], given["responses"])
            return score(given["doc"], given["model_response"])

    return Computation()
