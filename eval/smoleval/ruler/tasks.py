"""The thirteen tasks of RULER: parameters, prompts and reserved answer tokens, as published.

Source: Hsieh et al., arXiv 2404.06654, and github.com/NVIDIA/RULER at c3f5e3b (Apache-2.0): parameters from
``scripts/synthetic.yaml``, prompts and answer tokens from ``scripts/data/synthetic/constants.py``, the metric
of each kind from ``scripts/eval/synthetic/constants.py``. The prompts are the benchmark: another wording is
another benchmark. A score of RULER is the plain mean of the thirteen.
"""

from dataclasses import dataclass
from typing import Literal

from smoldata.errors import InputError

NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
NEEDLE = "One of the special magic {values} for {key} is: {value}."


@dataclass(frozen=True, slots=True)
class Kind:
    """What tasks of one kind share."""

    template: str
    answer_prefix: str
    """Begins the answer: in the prompt of a base model, or put into the assistant's mouth."""
    answer_tokens: int
    """Reserved for the answer; the prompt has the rest of the length."""
    metric: Literal["all", "part"]
    """``all``: share of the expected texts that the answer holds; ``part``: whether it holds any."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task."""

    name: str
    kind: Literal["niah", "vt", "cwe", "fwe", "qa"]
    haystack: Literal["noise", "essay", "needle", ""] = ""
    key_type: Literal["words", "uuids"] = "words"
    value_type: Literal["numbers", "uuids"] = "numbers"
    keys: int = 1
    values: int = 1
    queries: int = 1
    questions: Literal["squad", "hotpotqa", ""] = ""


KINDS = {
    "niah": Kind(
        "Some special magic {values} are hidden within the following text. Make sure to memorize it. "
        "I will quiz you about the {values} afterwards.\n{context}\n"
        "What are all the special magic {values} for {query} mentioned in the provided text?",
        " The special magic {values} for {query} mentioned in the provided text are",
        128,
        "all",
    ),
    "vt": Kind(
        "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{context}\n"
        "Question: Find all variables that are assigned the value {query} in the text above.",
        " Answer: According to the chain(s) of variable assignment in the text above, {count} variables "
        "are assigned the value {query}, they are: ",
        30,
        "all",
    ),
    "cwe": Kind(
        "Below is a numbered list of words. In these words, some appear more often than others. "
        "Memorize the ones that appear most often.\n{context}\n"
        "Question: What are the 10 most common words in the above list?",
        " Answer: The top 10 words that appear most often in the list are:",
        120,
        "all",
    ),
    "fwe": Kind(
        "Read the following coded text and track the frequency of each coded word. Find the three most "
        "frequently appeared coded words. {context}\nQuestion: Do not provide any explanation. Please ignore "
        "the dots '....'. What are the three most frequently appeared words in the above coded text?",
        " Answer: According to the coded text above, the three most frequently appeared words are:",
        50,
        "all",
    ),
    "qa": Kind(
        "Answer the question based on the given documents. Only give me the answer and do not output any "
        "other words.\n\nThe following are given documents.\n\n{context}\n\nAnswer the question based on the "
        "given documents. Only give me the answer and do not output any other words.\n\nQuestion: {query}",
        " Answer:",
        32,
        "part",
    ),
}
TASKS = {
    task.name: task
    for task in (
        Task("niah_single_1", "niah", "noise"),
        Task("niah_single_2", "niah", "essay"),
        Task("niah_single_3", "niah", "essay", value_type="uuids"),
        Task("niah_multikey_1", "niah", "essay", keys=4),
        Task("niah_multikey_2", "niah", "needle"),
        Task("niah_multikey_3", "niah", "needle", key_type="uuids", value_type="uuids"),
        Task("niah_multivalue", "niah", "essay", values=4),
        Task("niah_multiquery", "niah", "essay", keys=4, queries=4),
        Task("vt", "vt", "noise"),
        Task("cwe", "cwe"),
        Task("fwe", "fwe"),
        Task("qa_1", "qa", questions="squad"),
        Task("qa_2", "qa", questions="hotpotqa"),
    )
}
VT_HOPS = 4
CWE_LONG, CWE_SHORT = (30, 3), (6, 1)
"""Times that each common word and each other stand in the list; the second where a length is below SHORT."""
CWE_COMMON = 10
FWE_ALPHA, FWE_LETTERS = 2.0, 6
SHORT = 4096
_SHORTEST = 1024


def parse_tasks(text: str) -> list[Task]:
    """Return the tasks of ``all`` or of names with commas; raises :class:`InputError` for another name."""
    names = list(TASKS) if text.strip() == "all" else [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in TASKS]
    if unknown:
        raise InputError(f"no RULER task is named {', '.join(unknown)}; there are: all, {', '.join(TASKS)}")
    return [TASKS[name] for name in dict.fromkeys(names)]


def parse_length(text: str) -> int:
    """Return tokens: ``32k`` is 32,768; raises :class:`InputError` if it is no length.

    >>> parse_length("32k"), parse_length("4096")
    (32768, 4096)
    """
    lowered = text.strip().lower()
    number, unit = (lowered[:-1], 1024) if lowered.endswith("k") else (lowered, 1)
    if not number.isdigit() or int(number) * unit < _SHORTEST:
        raise InputError(f"length {text!r}: give tokens of at least 1024, such as 4096, 32k or 128k")
    return int(number) * unit


def length_name(length: int) -> str:
    """Return a length as it is written in names.

    >>> length_name(131072), length_name(5000)
    ('128k', '5000')
    """
    return f"{length // 1024}k" if length % 1024 == 0 else str(length)
