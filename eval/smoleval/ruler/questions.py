"""Files of questions with passages -> a library: documents, and questions that some of them answer.

Read: SQuAD 2.0 (``data`` / ``paragraphs`` / ``qas``; unanswerable questions are left out), HotpotQA with
distractors (a list with ``context``), and JSON lines with ``question``, ``answers`` or ``answer`` and
``passage`` or ``context``. A file inside a zip or wheel is named ``archive.whl!path/in/it``. Documents are
sorted and distinct, as in RULER. Cost: 1 s for 100 MB.
"""

import ast
import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoldata.errors import InputError

PUBLISHED_QUESTIONS = {"squad": 5928, "hotpotqa": 7405}
"""Answerable questions of SQuAD 2.0's dev set, and questions of HotpotQA's dev set with distractors."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, any of its answers, and the documents that hold it."""

    text: str
    answers: tuple[str, ...]
    documents: tuple[int, ...]
    """Numbers in the library: all of them stand in the prompt."""
    related: tuple[int, ...] = ()
    """Other documents of the same article: the first to be added."""


@dataclass(frozen=True, slots=True)
class Library:
    """Documents and questions of a file."""

    documents: tuple[str, ...]
    questions: tuple[Question, ...]
    origin: str
    sha256: str
    published: bool
    """Whether it is RULER's own data set, as far as its form and its number of questions tell."""


def read_library(path: str, schema: str) -> Library:
    """Read a question file for the task that RULER makes of ``schema`` (``squad`` or ``hotpotqa``).

    Raises :class:`InputError` if the file is missing, cannot be read or holds no question.
    """
    content, name = _bytes(path)
    try:
        text = content.decode("utf-8")
        library = _read(text, schema)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{name}: not SQuAD, HotpotQA or JSON lines with question, answer and passage ({error!r}); "
            "give another file"
        ) from error
    documents, questions, in_form = library
    published = in_form and len(questions) == PUBLISHED_QUESTIONS.get(schema)
    if not questions:
        raise InputError(f"{name} holds no answerable question; give another file")
    return Library(documents, questions, name, hashlib.sha256(content).hexdigest(), published)


def _bytes(path: str) -> tuple[bytes, str]:
    archive, _, member = path.partition("!")
    try:
        if not member:
            return Path(path).read_bytes(), Path(path).name
        with zipfile.ZipFile(archive) as opened:
            return opened.read(member), f"{Path(archive).name}!{member}"
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read questions from {path}: {error}") from error


def _read(text: str, schema: str) -> tuple[tuple[str, ...], tuple[Question, ...], bool]:
    first = text.lstrip()[:1]
    if first == "[":
        return *_numbered(_hotpot(json.loads(text))), schema == "hotpotqa"
    head = json.loads(text.splitlines()[0]) if first == "{" and "\n" in text.strip() else None
    if isinstance(head, dict) and "question" in head:
        return *_numbered(_lines(text)), False
    return *_numbered(_squad(json.loads(text))), schema == "squad"


# A question before its documents have numbers: text, answers, own documents, related documents.
_Raw = tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def _numbered(raw: Iterable[_Raw]) -> tuple[tuple[str, ...], tuple[Question, ...]]:
    rows = list(raw)
    documents = tuple(sorted({one for _, _, own, related in rows for one in (*own, *related)}))
    number = {document: at for at, document in enumerate(documents)}
    questions = tuple(
        Question(
            text,
            answers,
            tuple(dict.fromkeys(number[one] for one in own)),
            tuple(dict.fromkeys(number[one] for one in related if one not in own)),
        )
        for text, answers, own, related in rows
        if answers
    )
    return documents, questions


def _squad(content: dict[str, Any]) -> Iterator[_Raw]:
    for article in content["data"]:
        contexts = tuple(paragraph["context"] for paragraph in article["paragraphs"])
        for paragraph in article["paragraphs"]:
            for one in paragraph["qas"]:
                answers = () if one.get("is_impossible") else tuple(row["text"] for row in one["answers"])
                yield one["question"], answers, (paragraph["context"],), contexts


def _hotpot(content: list[dict[str, Any]]) -> Iterator[_Raw]:
    for row in content:
        documents = tuple(f"{title}\n{''.join(sentences)}" for title, sentences in row["context"])
        yield row["question"], (row["answer"],), documents, ()


def _lines(text: str) -> Iterator[_Raw]:
    for line in text.splitlines():
        if line.strip():
            row = json.loads(line)
            passage = row.get("passage") or row["context"]
            yield row["question"], _answers(row.get("answers", row.get("answer"))), (passage,), ()


def _answers(value: Any) -> tuple[str, ...]:
    """Return the answers of a row: a list, a list written as text, a truth value, or one text."""
    if isinstance(value, str) and value.startswith("["):
        value = ast.literal_eval(value)
    if isinstance(value, list):
        return tuple(dict.fromkeys(str(one).strip() for one in value if str(one).strip()))
    word = {"True": "yes", "False": "no", "None": ""}.get(str(value).strip(), str(value).strip())
    return (word,) if word else ()
