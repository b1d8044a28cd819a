"""One prompt of each kind of task, as long as it may be: (random numbers, tokens wanted) -> draft.

A draft is laid out from counts of its pieces, so that it comes out within a few tokens of what was wanted;
:mod:`smoleval.ruler.build` counts the whole once, and asks again for the difference. Same random numbers,
same draft. What is left below one piece is filled where the kind allows it: noise stops inside its last line,
needles, words and documents are exchanged for longer ones, and the beginning of one more may follow.
Cost: linear in the tokens.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from smoldata.errors import InputError
from smoleval.ruler.exchange import take
from smoleval.ruler.material import Material
from smoleval.ruler.tasks import KINDS, NEEDLE, NOISE, Kind, Task

_DEPTHS = [round(100 * step / 39) for step in range(40)]
"""Per cent of the text after whose sentences needles may stand, as published."""
_FEWEST_WORDS = 100
"""Of running text in a prompt."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A prompt in its parts."""

    user: str
    answer_prefix: str
    answers: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """Return what a base model reads."""
        return self.user + self.answer_prefix


def niah(task: Task, random: Random, tokens: int, material: Material) -> Draft:
    """Return needles in a haystack: key-value sentences in noise, running text, or other needles."""
    wanted = [
        (key, [_value(task.value_type, random) for _ in range(task.values)])
        for key in _distinct_keys(task.keys, task.key_type, random, material)
    ]
    needles = [_needle(task, key, value) for key, values in wanted for value in values]
    random.shuffle(needles)
    asked = random.sample(wanted, task.queries)
    draft = _asking(task, [key for key, _ in asked], [value for _, values in asked for value in values])
    frame = material.meter.count(draft.prompt) + sum(material.meter.each([f"\n{one}" for one in needles]))
    room = tokens - int(frame)
    if task.haystack == "essay":
        context = _in_text(needles, random, room, material)
    else:
        lines = (
            noise(room, material)
            if task.haystack == "noise"
            else _other_needles(task, random, room, material, {key for key, _ in wanted})
        )
        context = _in_lines(needles, lines, random)
    return Draft(draft.user.replace("{context}", context, 1), draft.answer_prefix, draft.answers)


def fill(kind: Kind, **parts: str) -> tuple[str, str]:
    """Return template and answer prefix with ``parts`` in them; ``{context}`` stays if it is not given.

    Plain replacement: contexts hold braces.
    """
    texts = [kind.template, kind.answer_prefix]
    for name in [
        *(name for name in parts if name != "context"),
        *(["context"] if "context" in parts else []),
    ]:
        texts = [text.replace(f"{{{name}}}", parts[name]) for text in texts]
    return texts[0], texts[1]


def noise(room: int, material: Material) -> list[str]:
    """Return lines of noise of ``room`` tokens in all; the last one may stop after any word."""
    words = NOISE.split(" ")
    line = material.meter.piece(f"\n{NOISE}")
    if room < 2 * line:
        raise InputError(f"no room for noise: {room} tokens are left; give a greater --length")
    lines = [NOISE] * (room // line)
    left, last = room % line, ""
    for number in range(1, len(words)):
        part = " ".join(words[:number])
        if material.meter.piece(f"\n{part}") <= left:
            last = part
    return [*lines, last] if last else lines


def _needle(task: Task, key: str, value: str) -> str:
    return NEEDLE.replace("{values}", task.value_type).replace("{key}", key).replace("{value}", value)


def _asking(task: Task, keys: Sequence[str], values: list[str]) -> Draft:
    query = f"{', '.join(keys[:-1])}, and {keys[-1]}" if len(keys) > 1 else keys[0]
    kind = KINDS["niah"]
    if task.queries * task.values > 1:
        user, prefix = fill(kind, values=task.value_type, query=query)
        return Draft(user, prefix, tuple(values))
    one = Kind(_singular(kind.template), _singular(kind.answer_prefix), kind.answer_tokens, kind.metric)
    user, prefix = fill(one, values=task.value_type.removesuffix("s"), query=query)
    return Draft(user, prefix, tuple(values))


def _singular(text: str) -> str:
    """Return a prompt as RULER turns it where one value is asked for."""
    return text.replace("Some", "A").replace("are all", "is").replace("are", "is")


def _key(kind: str, random: Random, material: Material) -> str:
    if kind == "uuids":
        return _uuid(random)
    return f"{random.choice(material.words.adjectives)}-{random.choice(material.words.nouns)}"


def _distinct_keys(count: int, kind: str, random: Random, material: Material) -> list[str]:
    keys: dict[str, None] = {}
    while len(keys) < count:
        keys[_key(kind, random, material)] = None
    return list(keys)


def _value(kind: str, random: Random) -> str:
    return _uuid(random) if kind == "uuids" else str(random.randint(1_000_000, 9_999_999))


def _uuid(random: Random) -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _other_needles(task: Task, random: Random, room: int, material: Material, taken: set[str]) -> list[str]:
    """Return needles with other keys that are ``room`` tokens together."""

    def more(count: int) -> list[str]:
        keys = (_key(task.key_type, random, material) for _ in range(count))
        return [_needle(task, key, _value(task.value_type, random)) for key in keys if key not in taken]

    lines = more(64)
    mean = float(material.meter.each([f"\n{line}" for line in lines]).mean())
    lines += more(max(0, int(1.05 * room / mean)))
    sizes = material.meter.each([f"\n{line}" for line in lines])
    chosen = take(sizes, room)
    part = beginning(more(1)[0], room - int(sizes[chosen].sum()), material)
    return [lines[number] for number in chosen] + ([part] if part else [])


def beginning(line: str, tokens: int, material: Material) -> str:
    """Return the longest beginning of a line that takes at most ``tokens`` after a line feed."""
    low, high = 0, len(line)
    while low < high:
        middle = (low + high + 1) // 2
        if material.meter.count(f"\n{line[:middle]}") <= tokens:
            low = middle
        else:
            high = middle - 1
    return line[:low].rstrip()


def _in_lines(needles: list[str], lines: list[str], random: Random) -> str:
    """Return lines with the needles at distinct places among them."""
    if len(lines) < len(needles):
        raise InputError(f"no room for {len(needles)} needles: give a greater --length")
    for place, needle in zip(sorted(random.sample(range(len(lines)), len(needles)), reverse=True), needles,
                             strict=True):  # fmt: skip
        lines.insert(place, needle)
    return "\n".join(lines)


def _in_text(needles: list[str], random: Random, room: int, material: Material) -> str:
    """Return the first words of the filler, ``room`` tokens of them, with needles between sentences."""
    filler = material.filler
    assert filler is not None, "the build looks for the filler before"
    tokens, words = material.filler_tokens, filler.words
    rounds, rest = divmod(max(room, 0), int(tokens[-1]))
    count = int(np.searchsorted(tokens, rest, side="right")) - 1
    total = rounds * len(words) + count
    if total < _FEWEST_WORDS:
        raise InputError(f"no room for running text: {room} tokens are left; give a greater --length")
    ends = [
        0,
        *(int(end) + turn * len(words) + 1 for turn in range(rounds + 1) for end in filler.ends_sentence),
    ]
    ends = [end for end in ends if end < total] + [total]
    depths = sorted(random.sample(_DEPTHS, len(needles)))
    places = [ends[int((len(ends) - 1) * depth / 100)] for depth in depths]
    text = list(words) * rounds + list(words[:count])
    parts, before = [], 0
    for place, needle in zip(places, needles, strict=True):
        parts += [" ".join(text[before:place]), needle]
        before = place
    return " ".join(part for part in [*parts, " ".join(text[before:])] if part)
