"""Strings on which encoders may differ: seeded, endless, numbered in blocks that can be had one by one.

Ten families, each aimed at one thing that a tokenizer can get wrong: the split pattern (contractions,
digits, white space, code), the merges (joined tokens, long runs), Unicode (scripts, emoji, any scalar
value, broken-up characters) and control tokens (look-alikes, whole and cut). Cost: about 5 µs a string.
"""

import random
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Literal

from smoltok.control import llama_names, smollm3_names
from smoltok.tokenizer import LLAMA_3_2
from smoltok.vocabulary import load_ranks

BLOCK = 10_000
SCALARS = 0x110000 - 0x800
"""How many Unicode scalar values there are."""

_FIRST_SURROGATE, _SURROGATES = 0xD800, 0x800
_RANGES = (
    (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xD80),
    (0xE00, 0x1000), (0x1100, 0x1200), (0x1780, 0x1800), (0x1E00, 0x2000), (0x2000, 0x2070),
    (0x20A0, 0x2BFF), (0x2E80, 0x3400), (0x3400, 0xA000), (0xAC00, 0xD7A4), (0xE000, 0xE100),
    (0xF900, 0xFE00), (0xFE00, 0xFFFF), (0x10000, 0x10400), (0x12000, 0x13430),
    (0x1D400, 0x1D800), (0x1F000, 0x1FB00), (0x20000, 0x2A6E0), (0xE0000, 0xE01F0),
)  # fmt: skip
_SPACES = (
    " ", "  ", "   ", "\n", "\n\n", "\t", "\r", "\r\n", "\v", "\f", "\x85", "\xa0", "\u1680",
    "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u200b", "\ufeff", "\u180e",
    "a", "B", "1", ".", "é", "的",
)  # fmt: skip
_DIGITS = (
    *"0123456789", "٣", "९", "五", "½", "²", "Ⅷ", "\U0001d7d8", "\U0001d7d7", ".",
    ",", " ", "-", "a", "e", "x",
    "%", "$",
)  # fmt: skip
_CONTRACTIONS = (
    "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'lL", "'D",
    "'\u017f", "\u2019s", "'K", "'\u212a", "can", "it", "I", "they", "WE", " ", "\n", "'", "''",
    "é", "1", ".", "x", "ll", "re", "不",
)  # fmt: skip
_CODE = (
    "def ", "return", "self.", "(", ")", "()", "{", "}", "{}", "[", "]", ";", ";\n", ":\n",
    "    ", "\t", "\n", "==", "!=", "->", "=>", "//", "/*", "*/", "#", '"', "'", "`", "\\",
    "\\n", "<", ">", "</", "&&", "||", "++", "--", "0x", "i", "x_1", "camelCase", "SNAKE_CASE",
    "import", "std::", "%d", "${", "...", ".:.:", "\r\n", "=", "é", "λ",
)  # fmt: skip
_EMOJI = (
    "👍", "🏽", "👩", "\u200d", "👧", "🇫", "🇷", "🏳", "\ufe0f", "🌈", "1", "\u20e3", "☃", "❤",
    "🧑", "🏿", "🚀", " ", "a", "\U000e0067", "\U000e007f", "©", "™", "‼", "〰",
)  # fmt: skip


def strings(family: str, block: int, seed: int, count: int = BLOCK) -> list[str]:
    """Return the first strings of a block of a family; the same for the same arguments, always."""
    source = random.Random(f"{seed}/{family}/{block}")  # noqa: S311 - test data, the same every time
    make = FAMILIES[family]
    return [make(source) for _ in range(count)]


def scalar_strings(first: int, count: int, step: int = 1) -> list[str]:
    """Return scalar values number ``first``, ``first + step``, … alone and in two contexts."""
    last = min(first + count * step, SCALARS)
    characters = [_scalar(number) for number in range(first, last, step)]
    return [text for c in characters for text in (c, f"a{c}b", f" {c}1{c}{c}\n")]


def _scalar(number: int) -> str:
    return chr(number if number < _FIRST_SURROGATE else number + _SURROGATES)


def _any_scalar(source: random.Random) -> str:
    return "".join(_scalar(source.randrange(SCALARS)) for _ in range(source.randint(1, 12)))


def _script(source: random.Random) -> str:
    low, high = source.choice(_RANGES)
    other = source.choice(_RANGES)
    count = source.randint(1, 24)
    codes = [source.randrange(*(other if source.randrange(10) == 0 else (low, high))) for _ in range(count)]
    return "".join(" " if source.randrange(7) == 0 else chr(code) for code in codes)


def _joined(pool: Sequence[str], longest: int = 16) -> Callable[[random.Random], str]:
    def make(source: random.Random) -> str:
        return "".join(source.choices(pool, k=source.randint(1, longest)))

    return make


def _run(source: random.Random) -> str:
    unit = source.choice((*_SPACES, *_EMOJI, *_CODE, _scalar(source.randrange(SCALARS)), "ab", "aab"))
    length = source.choice((2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 128, source.randint(1, 200)))
    return f"{source.choice(_SPACES)}{unit * length}{source.choice(_CODE)}"


def _look_alike(source: random.Random) -> str:
    name = source.choice(_control_names())
    if source.choice((True, True, False, False, False)):
        cut = source.randint(0, len(name))
        name = name[:cut] + source.choice(("", " ", "\n", "|", name)) + name[cut:]
    return source.choice(_SPACES) + name + source.choice(_CONTRACTIONS) * source.randint(0, 2)


def _tokens(source: random.Random) -> str:
    """Join random tokens: their bytes meet where no text would let them."""
    return b"".join(source.choices(_token_bytes(), k=source.randint(1, 6))).decode("utf-8", "replace")


def _forms(source: random.Random) -> str:
    form: Literal["NFC", "NFD", "NFKC", "NFKD"] = source.choice(("NFC", "NFD", "NFKC", "NFKD"))
    return unicodedata.normalize(form, _script(source))


@lru_cache(maxsize=1)
def _control_names() -> list[str]:
    return sorted(
        {*llama_names().values(), *smollm3_names().values(), "<|endoftext|>", "</s>", "<s>", "[INST]"}
    )


@lru_cache(maxsize=1)
def _token_bytes() -> list[bytes]:
    return list(load_ranks(LLAMA_3_2))


FAMILIES: dict[str, Callable[[random.Random], str]] = {
    "scripts": _script,
    "any scalar value": _any_scalar,
    "Unicode forms": _forms,
    "white space": _joined(_SPACES),
    "digits": _joined(_DIGITS),
    "contractions": _joined(_CONTRACTIONS),
    "code": _joined(_CODE, 24),
    "emoji": _joined(_EMOJI),
    "long runs": _run,
    "look-alikes": _look_alike,
    "joined tokens": _tokens,
}


def blocks(total: int) -> Iterator[tuple[str, int]]:
    """Yield (family, block number) for at least ``total`` strings, the families in turn."""
    for number in range(-(-total // BLOCK)):
        family = tuple(FAMILIES)[number % len(FAMILIES)]
        yield family, number // len(FAMILIES)
