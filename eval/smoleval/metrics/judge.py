"""Answers -> scores of a language model that judges them (MixEval), over an OpenAI-compatible endpoint.

``SMOLEVAL_JUDGE_URL`` names the endpoint (``.../v1``), ``SMOLEVAL_JUDGE_MODEL`` its model (published:
flowaicom/Flow-Judge-v0.1, served for instance by vLLM), ``SMOLEVAL_JUDGE_KEY`` a key if it wants one. The
judge sees question, options, reference and the end of the answer: 2048 tokens, counted as 4 characters each
where the answer is longer. The rubric is the published one, 0 or 1, for both kinds of question; its wording
is ours, and the judge decodes greedily (published: sampled). What it says is kept with the score's name: the
metric carries the judge's.
"""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from smoldata.errors import InputError, SourceError
from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.metrics.wrapping import together

_LONGEST_TOKENS = 2048
_CHARACTERS_A_TOKEN = 4
_ANSWER_TOKENS = 1024
_TIMEOUT_SECONDS = 300.0
_AT_ONCE = 8
_SCORE = re.compile(r"<score>\s*([01])\s*</score>")


@dataclass(frozen=True, slots=True)
class Judge:
    """An endpoint and its model."""

    url: str
    model: str
    key: str = ""

    def ask(self, question: str) -> str:
        """Return the model's answer. Raises :class:`SourceError` if the endpoint gives none."""
        import httpx

        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": _ANSWER_TOKENS,
        }
        try:
            reply = httpx.post(
                f"{self.url}/chat/completions", json=body, headers=headers, timeout=_TIMEOUT_SECONDS
            )
            reply.raise_for_status()
            return str(reply.json()["choices"][0]["message"]["content"] or "")
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            why = str(error).partition("\n")[0]
            raise SourceError(
                f"the judge {self.model} at {self.url} gave no answer ({type(error).__name__}: {why}); "
                "see that it is served there, then run the same command again: finished tasks are kept"
            ) from error


def judge_from_environment() -> Judge:
    """Return the judge that the environment names. Raises :class:`InputError` if it names none."""
    url, model = os.environ.get("SMOLEVAL_JUDGE_URL", ""), os.environ.get("SMOLEVAL_JUDGE_MODEL", "")
    if not url or not model:
        raise InputError(
            "this task is judged by a language model, and none is named: set SMOLEVAL_JUDGE_URL "
            "(an OpenAI-compatible endpoint, such as http://localhost:8000/v1) and SMOLEVAL_JUDGE_MODEL "
            "(published: flowaicom/Flow-Judge-v0.1)"
        )
    return Judge(url.rstrip("/"), model, os.environ.get("SMOLEVAL_JUDGE_KEY", ""))


@register(version=1)
def right_or_wrong(task: TaskDefinition) -> Any:
    """Return the share of answers that the judge calls right."""
    judge = judge_from_environment()

    def score(docs: Sequence[Any], responses: Sequence[Any]) -> list[float]:
        questions = [question(doc, cut(response)) for doc, response in zip(docs, responses, strict=True)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [read_score(answer) for answer in pool.map(judge.ask, questions)]

    return together(f"judge_score:{judge.model.rpartition('/')[2]}", score)


def cut(response: Any) -> str:
    """Return the answer without thoughts; of a long one its end."""
    text = str(response.final_text[0]).strip()
    is_long = bool(response.output_tokens) and len(response.output_tokens[0]) > _LONGEST_TOKENS
    return text[-_LONGEST_TOKENS * _CHARACTERS_A_TOKEN :] if is_long else text


def read_score(answer: str) -> float:
    """Return the judge's score; 0 if it gives none, as published."""
    found = _SCORE.search(answer)
    return float(found[1]) if found else 0.0


def question(doc: Any, answer: str) -> str:
    """Return what the judge is asked about an answer, in the sections that Flow-Judge was trained on."""
    choices = doc.choices if doc.specific["kind"] == "multiple_choice" else []
    options = "".join(f"\n{chr(ord('A') + number)}. {choice}" for number, choice in enumerate(choices))
    asked = doc.specific["question"] + (f"\noptions:{options}" if options else "")
    return _PROMPT.format(question=asked, answer=answer, gold=doc.get_golds()[0])


_PROMPT = """# GOAL
You grade the answer that a language model gave to a question.

# INPUT
The question:
<inputs>
{question}
</inputs>

# OUTPUT
The answer to grade:
<output>
{answer}
</output>

# EVALUATION CRITERIA AND SCORING RUBRIC
<evaluation_criteria>
The right answer is:
{gold}

Does the answer to grade give it?
</evaluation_criteria>

<scoring_rubric>
- score 0: it gives another answer, or none.
- score 1: it gives the right answer.
</scoring_rubric>

# INSTRUCTIONS FOR THE EVALUATION
1. Read the question and find the answer that the output settles on.
2. Hold it against the right answer and the rubric; wording and form do not matter.
3. Say in a few sentences between <feedback> and </feedback> what decides.
4. Then give the score, a single digit, between <score> and </score>.
"""
