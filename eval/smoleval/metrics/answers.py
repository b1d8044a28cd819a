r"""Answers in prose -> right or wrong: mathematical ones by value, multiple-choice ones by letter.

Extraction and comparison are lighteval's (latex2sympy2_extended and sympy: ``\frac{1}{2}`` equals 0.5; the
last boxed or announced answer counts). Thoughts between ``<think>`` and ``</think>`` are cut off before;
thoughts that never end stay, as with the published figures. Scores: pass@1 over the first 1, 4, 8, ...
samples.
"""

from typing import Any

from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.metrics.counting import means, sample_counts
from smoleval.metrics.wrapping import several


@register(version=1)
def math_pass_at_1(task: TaskDefinition) -> Any:
    """pass@1 of answers that are numbers or formulas; names as published (``math_pass@1:4_samples``)."""
    from lighteval.metrics.utils.extractive_match_utils import ExprExtractionConfig, LatexExtractionConfig

    targets = [ExprExtractionConfig(), LatexExtractionConfig()]
    return _pass_at_1(task, "math_pass@1", _matcher(targets, "eng"))


@register(version=1)
def letter_pass_at_1(task: TaskDefinition) -> Any:
    """pass@1 of answers that are a letter; ``args``: ``language``, ``unannounced`` (a bare letter counts)."""
    from lighteval.metrics.utils.extractive_match_utils import IndicesExtractionConfig

    targets = [
        IndicesExtractionConfig(
            prefix_for_extraction=str(task.args.get("letters", "NativeLetters")),
            try_extract_without_anchor=bool(task.args.get("unannounced", False)),
        )
    ]
    name = str(task.args.get("metric_name", "pass@1"))
    return _pass_at_1(task, name, _matcher(targets, str(task.args.get("language", "eng"))))


def _matcher(targets: list[Any], language: str) -> Any:
    from lighteval.metrics.dynamic_metrics import MultilingualExtractiveMatchMetric
    from lighteval.utils.language import Language

    return MultilingualExtractiveMatchMetric(
        language=Language(language),
        gold_extraction_target=targets,
        pred_extraction_target=targets,
        precision=6,
    )


def _pass_at_1(task: TaskDefinition, name: str, matcher: Any) -> Any:
    counts = sample_counts(task.generation.samples if task.generation else 1)

    def score(doc: Any, response: Any) -> list[float]:
        return means([_right(matcher, doc, text) for text in response.final_text], counts)

    return several([f"{name}:{count}_samples" for count in counts], score)


def _right(matcher: Any, doc: Any, text: str) -> float:
    from lighteval.models.model_output import ModelResponse

    return float(matcher.compute(doc=doc, model_response=ModelResponse(text=[text.strip()])))
