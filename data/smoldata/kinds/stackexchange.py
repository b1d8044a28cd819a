"""A question and its answers -> one document, the accepted answer first, then by votes.

Rows as in HuggingFaceH4/stack-exchange-preferences: ``question`` (HTML), ``answers``: a list of ``text``
(HTML), ``pm_score``, ``selected``, ``answer_id``. The form, ``Q: …`` and ``A: …`` a line each, is that of
togethercomputer/RedPajama-Data (data_prep/stack_exchange/post_processing.py), there by votes alone.
"""

from collections.abc import Mapping
from typing import Any

from smoldata.kinds import Unrenderable
from smoldata.kinds.markup import fragment_text


def question_and_answers(row: Mapping[str, Any]) -> str:
    """Return the question and its ranked answers; raise :class:`Unrenderable` without either."""
    question = _text(row.get("question"))
    if not question:
        raise Unrenderable("no_question")
    title = str(row.get("title") or "").strip()
    answers = [text for answer in ranked(row.get("answers") or ()) if (text := _text(answer.get("text")))]
    if not answers:
        raise Unrenderable("no_answer")
    head = f"{title}\n\n{question}" if title else question
    return "\n".join([f"Q: {head}", *(f"A: {answer}" for answer in answers)]) + "\n"


def ranked(answers: Any) -> list[Mapping[str, Any]]:
    """Return answers best first: the accepted one, then by votes, then the older (the smaller identifier)."""
    known = [answer for answer in answers if isinstance(answer, Mapping)]
    return sorted(
        known,
        key=lambda answer: (
            not answer.get("selected"),
            -float(answer.get("pm_score") or answer.get("score") or 0),
            int(answer.get("answer_id") or 0),
        ),
    )


def _text(html: Any) -> str:
    return fragment_text(html) if isinstance(html, str) else ""
