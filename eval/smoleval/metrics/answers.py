r"""Answers in prose -> right or wrong: mathematical ones by value, multiple-choice ones by letter.

Formulas are extracted and compared by lighteval (latex2sympy2_extended and sympy: ``\frac{1}{2}`` equals 0.5;
the last boxed or announced answer counts), letters by :mod:`smoleval.metrics.letters`. Thoughts between
``<think>`` and ``</think>`` are cut off before; thoughts that never end stay, as with the published figures.
Scores: pass@1 over the first 1, 4, 8, ... samples.
"""

from collections.abc import Callable
from typing import Any

from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.metrics.counting import means, sample_counts
from smoleval.metrics.letters import chosen_letter
from smoleval.metrics.wrapping import several


@register(version=2)
def math_pass_at_1(task: TaskDefinition) -> Any:
    """pass@1 of answers that are numbers or formulas; names as published (``math_pass@1:4_samples``)."""
    from lighteval.metrics.dynamic_metrics import MultilingualExtractiveMatchMetric
    from lighteval.metrics.utils.extractive_match_utils import ExprExtractionConfig, LatexExtractionConfig
    from lighteval.models.model_output import ModelResponse

    targets = [ExprExtractionConfig(), LatexExtractionConfig()]
    # As published, what no parser reads is no answer: lighteval 0.13 would compare it as text.
    matcher = MultilingualExtractiveMatchMetric(
        gold_extraction_target=targets,
        pred_extraction_target=targets,
        fallback_mode="no_fallback",
        precision=6,
    )

    def right(doc: Any, text: str) -> float:
        return float(matcher.compute(doc=doc, model_response=ModelResponse(text=[text.strip()])))

    return _pass_at_1(task, "math_pass@1", right)


@register(version=2)
def letter_pass_at_1(task: TaskDefinition) -> Any:
    """pass@1 of answers that are a letter; ``args``: ``language``, ``unannounced`` (any letter counts)."""
    from lighteval.tasks.templates.utils.translation_literals import TRANSLATION_LITERALS
    from lighteval.utils.language import Language

    word = TRANSLATION_LITERALS[Language(str(task.args.get("language", "eng")))].answer
    unannounced = bool(task.args.get("unannounced", False))

    def right(doc: Any, text: str) -> float:
        letter = chosen_letter(text.strip(), "".join(doc.choices), word, unannounced=unannounced)
        return float(letter == doc.get_golds()[0])

    return _pass_at_1(task, str(task.args.get("metric_name", "pass@1")), right)


def _pass_at_1(task: TaskDefinition, name: str, right: Callable[[Any, str], float]) -> Any:
    counts = sample_counts(task.generation.samples if task.generation else 1)

    def score(doc: Any, response: Any) -> list[float]:
        return means([right(doc, text) for text in response.final_text], counts)

    return several([f"{name}:{count}_samples" for count in counts], score)
