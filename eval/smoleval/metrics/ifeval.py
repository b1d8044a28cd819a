"""Answers -> which of an item's instructions they follow, strictly and loosely (IFEval).

The checkers are lighteval's. Strict: the answer as it is; loose: also without its first or last line or
its asterisks. Prompt level: all instructions of an item; instruction level: the share over all instructions
of all items. Some checkers count sentences with NLTK's punkt data, which NLTK would download at import: here
nothing is downloaded; an item that needs it raises an error that says how to get it.
"""

from collections.abc import Sequence
from typing import Any

from smoldata.errors import InputError
from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.intervals import stderr_of_ratio

_NAMES = (
    "prompt_level_strict_acc",
    "inst_level_strict_acc",
    "prompt_level_loose_acc",
    "inst_level_loose_acc",
)


@register(version=1)
def instructions(task: TaskDefinition) -> Any:
    """Return the four accuracies, under lighteval's names."""
    from lighteval.metrics.utils.metric_utils import SampleLevelMetricGrouping
    from lighteval.tasks.requests import SamplingMethod

    from smoleval.metrics.wrapping import mean

    checks = _checks()
    return SampleLevelMetricGrouping(
        metric_name=list(_NAMES),
        higher_is_better=dict.fromkeys(_NAMES, True),
        category=SamplingMethod.GENERATIVE,
        sample_level_fn=checks,
        corpus_level_fn={name: ShareOfAll() if name.startswith("inst") else mean for name in _NAMES},
    )


class ShareOfAll:
    """The share of true values over all items' lists: long ones weigh more."""

    def __call__(self, lists: Sequence[Sequence[bool]]) -> float:
        """Return the share."""
        values = [value for one in lists for value in one]
        return sum(values) / len(values)

    def standard_error(self, lists: Sequence[Sequence[bool]]) -> float | None:
        """Return its standard error; prompts are the sample, not instructions, which share a prompt."""
        return stderr_of_ratio([float(sum(one)) for one in lists], [float(len(one)) for one in lists])


def _checks() -> Any:
    base: Any = _lighteval_ifeval().IFEvalMetrics

    class Checks(base):  # type: ignore[misc]  # lighteval ships no types
        def compute(self, **given: Any) -> Any:
            try:
                return super().compute(doc=given["doc"], model_response=given["model_response"])
            except LookupError as error:
                if "nltk" not in str(error).lower():
                    raise
                raise InputError(
                    "IFEval's checkers count words and sentences with NLTK's punkt data, which is not on "
                    "this machine: python -m nltk.downloader punkt punkt_tab, then run the same command again"
                ) from error

    return Checks()


def _lighteval_ifeval() -> Any:
    """Import lighteval's checkers with NLTK's downloads off: a missing file is a matter for the items."""
    import nltk

    download = nltk.download
    nltk.download = lambda *_, **__: False
    try:
        import lighteval.tasks.tasks.ifeval.main as ifeval
    finally:
        nltk.download = download
    return ifeval
