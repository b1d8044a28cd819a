"""Generated programs -> pass@1, run in the sandbox.

The Docs carry how a program is tested (:mod:`smoleval.prompts.code`). All samples of all items run side by
side, one a core; nothing is executed outside of :mod:`smoleval.sandbox`, and on a machine that cannot
isolate, the metric raises :class:`~smoleval.sandbox.SandboxError`.
"""

from collections.abc import Sequence
from typing import Any

from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.metrics.wrapping import together
from smoleval.sandbox import Case, Limits, judge_many

_FENCE = "```"
_GIB = 1 << 30


@register(version=1)
def completion_pass_at_1(task: TaskDefinition) -> Any:
    """Run answers that go on where the prompt ends (HumanEval+, MBPP+ on base models)."""
    return _pass_at_1(task, lambda doc, text: doc.specific["begin"] + text, "pass@1")


@register(version=1)
def block_pass_at_1(task: TaskDefinition) -> Any:
    """Run the last fenced block of answers (LiveCodeBench)."""
    samples = task.generation.samples if task.generation else 1
    return _pass_at_1(task, lambda _doc, text: last_block(text), f"codegen_pass@1:{samples}")


def last_block(text: str) -> str:
    """Return what stands between the last two lines with a fence; nothing if there are fewer than two."""
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if _FENCE in line]
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) > 1 else ""


def _pass_at_1(task: TaskDefinition, program_of: Any, name: str) -> Any:
    limits = Limits(
        cpu_seconds=int(task.args.get("cpu_seconds", 10)),
        wall_seconds=float(task.args.get("wall_seconds", 60)),
        memory_bytes=int(task.args.get("memory_gib", 1)) * _GIB,
        output_bytes=16 << 20,
    )

    def score(docs: Sequence[Any], responses: Sequence[Any]) -> list[float]:
        cases = [
            case_of(doc.specific, program_of(doc, text), limits)
            for doc, response in zip(docs, responses, strict=True)
            for text in response.final_text
        ]
        verdicts = iter(judge_many(cases))
        found = []
        for response in responses:
            passed = [next(verdicts).passed for _ in response.final_text]
            found.append(sum(passed) / len(passed))
        return found

    return together(name, score)


def case_of(specific: dict[str, Any], program: str, limits: Limits) -> Case:
    """Return how a program is tested, from what a Doc carries."""
    return Case(
        specific.get("preamble", "") + program,
        tests=specific.get("tests", ""),
        functions=tuple(specific.get("functions", ())),
        prelude=specific.get("prelude", ""),
        exchanges=tuple((given, wanted) for given, wanted in specific.get("exchanges", ())),
        limits=limits,
        packages=True,
    )
