"""Drafts of the tasks that are no needles: variable tracking, common words, frequent words, questions.

As :mod:`smoleval.ruler.drafts`: laid out from counts of the pieces. Parameters are RULER's (tasks.py).
"""

import itertools
import string
from math import pi
from random import Random

import numpy as np

from smoldata.errors import InputError
from smoleval.ruler.drafts import Draft, fill, noise
from smoleval.ruler.exchange import take
from smoleval.ruler.material import Material
from smoleval.ruler.tasks import (
    CWE_COMMON,
    CWE_LONG,
    CWE_SHORT,
    FWE_ALPHA,
    FWE_LETTERS,
    KINDS,
    SHORT,
    VT_HOPS,
    Task,
)

_VT_EXAMPLE_TOKENS = 500
_ZETA_2 = pi * pi / 6
_HEADING_TOKENS, _SHORTEST_PART = 6, 8
"""Of a document's heading with the lines around it, about; and below which no part of one is added."""


def variables(_task: Task, random: Random, tokens: int, material: Material) -> Draft:
    """Return a chain of assignments in noise, after a solved example of 500 tokens."""
    example = _chain(random, _VT_EXAMPLE_TOKENS, material, letters=3)
    solved = f"{example.prompt} {' '.join(example.answers)}\n\n"
    draft = _chain(random, tokens - material.meter.count(solved), material, letters=5)
    return Draft(solved + draft.user, draft.answer_prefix, draft.answers)


def _chain(random: Random, tokens: int, material: Material, letters: int) -> Draft:
    names: dict[str, None] = {}
    while len(names) <= VT_HOPS:
        names["".join(random.choices(string.ascii_uppercase, k=letters))] = None
    chain = list(names)
    value = str(random.randint(10_000, 99_999))
    lines = [f"VAR {chain[0]} = {value}"]
    lines += [f"VAR {new} = VAR {old} " for old, new in itertools.pairwise(chain)]
    user, prefix = fill(KINDS["vt"], query=value, count=str(VT_HOPS + 1))
    assigned = int(material.meter.each([f"\n{one}" for one in lines]).sum())
    frame = material.meter.count(user + prefix) + assigned
    haystack = noise(tokens - frame, material)
    if len(haystack) < len(lines):
        raise InputError(f"no room for {len(lines)} assignments in {tokens} tokens; give a greater --length")
    for before, place in enumerate(sorted(random.sample(range(len(haystack)), len(lines)))):
        haystack.insert(place + before, lines[before])
    return Draft(user.replace("{context}", "\n".join(haystack), 1), prefix, tuple(chain))


def common_words(_task: Task, random: Random, tokens: int, material: Material) -> Draft:
    """Return a numbered list in which ten words stand more often than the others, after a solved one."""
    # RULER's lists are shorter below 4096 tokens in all, answer included.
    short = tokens + KINDS["cwe"].answer_tokens < SHORT
    size, often, seldom = (20, 3, 1) if short else (40, 10, 3)
    words = random.sample(material.words.all, size)
    context, common = _list(words, often, seldom, random)
    user, prefix = fill(KINDS["cwe"], context=context)
    solved = f"{user}{prefix} {' '.join(f'{at}. {word}' for at, word in enumerate(common, 1))}\n"
    often, seldom = CWE_SHORT if short else CWE_LONG
    user, prefix = fill(KINDS["cwe"])
    room = tokens - material.meter.count(solved) - material.meter.count(user + prefix)
    words = _words_for(room, often, seldom, random, material)
    context, common = _list(words, often, seldom, random)
    return Draft(solved + user.replace("{context}", context, 1), prefix, common)


def _list(words: list[str], often: int, seldom: int, random: Random) -> tuple[str, tuple[str, ...]]:
    common, others = words[:CWE_COMMON], words[CWE_COMMON:]
    entries = common * often + others * seldom
    random.shuffle(entries)
    return " ".join(f"{at}. {word}" for at, word in enumerate(entries, 1)), tuple(common)


def _words_for(room: int, often: int, seldom: int, random: Random, material: Material) -> list[str]:
    """Return words, the common ones first, whose list takes ``room`` tokens."""
    shuffled = random.sample(material.words.all, len(material.words.all))
    sizes = np.asarray([material.word_tokens[word] for word in shuffled], np.int64)
    others, left = sizes[CWE_COMMON:], room - int(sizes[:CWE_COMMON].sum()) * often
    heads = material.number_tokens(often * CWE_COMMON + seldom * len(others))
    heads = heads[often * CWE_COMMON + seldom * np.arange(len(others) + 1)]
    count = int(np.searchsorted(heads[1:] + seldom * np.cumsum(others), left, side="right"))
    if count == len(others):
        raise InputError(
            f"a list of {room:,} tokens needs more than the {len(shuffled):,} words of "
            f"{material.words.origin}; give a smaller --length for cwe"
        )
    if count < CWE_COMMON:
        raise InputError(f"no room for a list of words in {room} tokens; give a greater --length")
    chosen = take(others, left - int(heads[count]), step=seldom, count=count)
    return shuffled[:CWE_COMMON] + [shuffled[CWE_COMMON + number] for number in chosen]


def frequent_words(_task: Task, random: Random, tokens: int, material: Material) -> Draft:
    """Return coded words with zeta-distributed counts; dots stand for the most frequent rank."""
    names: dict[str, None] = {"...": None}
    while len(names) < max(tokens // 50, 5):
        names["".join(random.choices(string.ascii_lowercase, k=FWE_LETTERS))] = None
    coded = list(names)
    user, prefix = fill(KINDS["fwe"])
    room = tokens - material.meter.count(user + prefix)
    sizes = material.meter.each([f" {word}" for word in coded])
    shares = np.arange(1, len(coded) + 1) ** -FWE_ALPHA / _ZETA_2
    low, high = 0.0, 4.0 * max(room, 1)
    for _ in range(60):  # a real number of words: counts grow one at a time
        middle = (low + high) / 2
        low, high = (low, middle) if int((middle * shares).astype(int) @ sizes) > room else (middle, high)
    counts = (low * shares).astype(int)
    if not counts[1] > counts[2] > counts[3] > counts[4]:
        raise InputError(
            f"three most frequent words can't be told in {tokens} tokens; give a greater --length"
        )
    words = [word for word, count in zip(coded, counts.tolist(), strict=True) for _ in range(count)]
    random.shuffle(words)
    return Draft(user.replace("{context}", " ".join(words), 1), prefix, tuple(coded[1:4]))


def questions(task: Task, random: Random, tokens: int, material: Material, index: int) -> Draft:
    """Return a question after its documents among others; questions in the order of the file.

    Where no whole document fits into what is left, the beginning of one does.
    """
    library = material.libraries[task.questions]
    question = library.questions[index % len(library.questions)]
    user, prefix = fill(KINDS["qa"], query=question.text)
    sizes = material.library_tokens(task.questions)
    own, related = list(question.documents), list(question.related)
    others = sorted(set(range(len(sizes))) - set(own) - set(related))
    random.shuffle(related)
    random.shuffle(others)
    pool = own + related + others
    room = tokens - material.meter.count(user + prefix)
    if int(sizes[own].sum()) > room:
        raise InputError(
            f"the documents of question {index} take {int(sizes[own].sum()):,} tokens, {room:,} are left; "
            "give a greater --length"
        )
    while int(sizes[pool].sum()) < room:
        pool += others or pool  # as RULER: a library that is too small is read again
    chosen = take(sizes[pool], room, keep=len(own))
    left, unused = room - int(sizes[pool][chosen].sum()), sorted(set(range(len(pool))) - set(chosen))
    texts = [library.documents[pool[number]] for number in chosen]
    if left > _SHORTEST_PART and unused:
        texts.append(_beginning(library.documents[pool[unused[0]]], left, material))
    random.shuffle(texts)
    context = "\n\n".join(f"Document {at}:\n{text}" for at, text in enumerate(texts, 1))
    return Draft(user.replace("{context}", context, 1), prefix, question.answers)


def _beginning(document: str, tokens: int, material: Material) -> str:
    """Return the first words of a document that take ``tokens`` with their heading."""
    words = document.split(" ")
    sums = np.cumsum(material.meter.each([f" {word}" for word in words])) + _HEADING_TOKENS
    return " ".join(words[: int(np.searchsorted(sums, tokens, side="right"))])
