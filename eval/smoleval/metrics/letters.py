r"""Prose -> the letter that it gives as its answer, by the rule of the published runs.

The rule is that of lighteval at commit 2788496c, which SmolLM3's published runs pin; release 0.13 reads less
(no ``Answer: B) Paris``, no letter before a line break, for GPQA no letter that is not announced), so its
metric would give other scores. Tried in this order, the last place in the text first: "final answer is X"
(English), the language's word for "answer" with a colon, without one, a letter that begins the text, one
that begins a line; and, where a task takes unannounced letters, one by itself, then any of the letters.
Microseconds a text.
"""

import re
from functools import cache

_ENGLISH = "answer"


def chosen_letter(text: str, letters: str, word: str, *, unannounced: bool = False) -> str:
    r"""Return the letter chosen, of ``letters``; empty if there is none.

    ``word``: the language's word for "answer". Punctuation is that of Latin script.

    >>> chosen_letter("Paris it is.\nAnswer: B) Paris", "ABCD", "answer")
    'B'
    """
    for rule in _rules(letters, word.lower(), unannounced=unannounced):
        found = list(rule.finditer(text))
        if found:
            last = max(found, key=lambda match: (match.end(), -match.start()))
            return last["letter"].strip("()")
    return ""


@cache
def _rules(letters: str, word: str, *, unannounced: bool) -> list[re.Pattern[str]]:
    letter = rf"(?P<letter>[{letters}]|\([{letters}]\))"
    whole = rf"(?:\*\*)?{letter}\)?(?:\*\*)?(?:[.,:\s]|$)"
    by_itself = rf"(?:^|\s){whole}"
    english = (
        rf"(?i:final answer is):?\s*{letter}\.?\s?I hope",
        rf"(?i:final answer.{{0,100}}?)\s+is:?\s*{letter}",
    )
    announced = (
        rf"(?i:{word}):.{{0,50}}?{by_itself}",
        rf"(?i:{word}).{{0,50}}?{by_itself}",
        f"^{whole}",
        f"\n{whole}",
    )
    patterns = (*(english if word == _ENGLISH else ()), *announced)
    return [re.compile(one) for one in (*patterns, *((by_itself, letter) if unannounced else ()))]
