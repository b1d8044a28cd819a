"""Is the fast engine still exact here? Compares it with the reference on a fixed hard list, once a machine.

An engine is a compiled program with processor-specific code, so a version, a vocabulary and a processor that
were never seen together are tested before the first document. The verdict is kept in the user's cache under
(engine versions, vocabulary, processor, list); with a kept verdict the test costs nothing. An engine that
differs anywhere is passed over for the next, with a warning that says so. Cost: about 4 s when it runs.
"""

import json
import platform
import random
import sys
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xxhash

from smoldata.errors import TokenizerError
from smoldata.files import digest_values
from smoltok import cache
from smoltok.engines import ENGINES, Engine, Reference
from smoltok.tokenizer import Tokenizer

_SEED = 3
_RANDOM_TEXTS = 2000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the self-test said about one engine."""

    engine: str
    version: str
    texts: int
    differences: int
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether the engine may be used."""
        return self.differences == 0 and not self.error


def choose(tokenizer: Tokenizer) -> str:
    """Return the name of the fastest engine that is exact on this machine; warn about those passed over."""
    for name in ENGINES:
        if name == Reference.name:
            return name
        verdict = judge(tokenizer, name)
        if verdict.passed:
            return name
        if name == next(iter(ENGINES)):
            what = (
                verdict.error
                or f"differs from the reference in {verdict.differences} of {verdict.texts} texts"
            )
            print(f"warning: engine {name} {verdict.version} {what}; using a slower one", file=sys.stderr)
    raise AssertionError("the reference is always there")


def judge(tokenizer: Tokenizer, name: str, *, again: bool = False) -> Verdict:
    """Return the verdict on an engine: the kept one, or a fresh one if there is none or ``again``."""
    kept = None if again else cache.read(_file_name(tokenizer, name))
    if kept is not None:
        return Verdict(**json.loads(kept))
    verdict = _test(tokenizer, name)
    fields = {key: getattr(verdict, key) for key in Verdict.__slots__}
    cache.store(_file_name(tokenizer, name), json.dumps(fields))
    return verdict


def _test(tokenizer: Tokenizer, name: str) -> Verdict:
    texts = hard_texts()
    try:
        engine, reference = ENGINES[name](tokenizer), Reference(tokenizer)  # not kept: the reference is large
    except (TokenizerError, ValueError, ImportError) as error:
        return Verdict(name, _version(name), len(texts), 0, error=f"cannot load it: {error}")
    return Verdict(name, _version(name), len(texts), len(differing(engine, reference, texts)))


def differing(one: Engine, other: Engine, texts: list[str]) -> list[int]:
    """Return the positions of texts to which two engines give different ids."""
    (ids, ends), (others, other_ends) = one.encode_flat(texts), other.encode_flat(texts)
    if np.array_equal(ends, other_ends) and np.array_equal(ids, others):
        return []
    return [
        i
        for i in range(len(texts))
        if not np.array_equal(ids[ends[i] : ends[i + 1]], others[other_ends[i] : other_ends[i + 1]])
    ]


def _file_name(tokenizer: Tokenizer, name: str) -> str:
    digest = digest_values(
        tokenizer.sha256,
        tokenizer.pattern,
        name,
        _version(name),
        _version(Reference.name),
        _processor(),
        *_texts_version(),
    )
    return f"verdict-{digest}.json"


def _version(name: str) -> str:
    return version(name)


def _texts_version() -> tuple[str, ...]:
    """Return what :func:`hard_texts` is a function of: this file and Python. To make them takes 0.06 s."""
    code = xxhash.xxh3_128_hexdigest(Path(__file__).read_bytes())
    return code, platform.python_version(), unicodedata.unidata_version


@lru_cache(maxsize=1)
def _processor() -> list[str]:
    """Return what compiled code may choose its path by: architecture, model and feature flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    if not lines:
        return [
            platform.machine(),
            platform.processor(),
        ]  # It may start a process, so only where it is needed.
    first = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in reversed(lines)}
    names = ("model name", "flags", "Features", "CPU part")
    return [platform.machine(), *(first.get(name, "") for name in names)]


_SCRIPTS = (
    "The quick brown fox, they're 1,234,567.89 — “naïve” café's ﬁancée; I'LL, we'VE, don'T 5K K'm",
    "it\u017f, there'\u017f, '\u017f, I'\u212a \u2019s",  # the long s and the Kelvin sign fold to s and k
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία",
    "視野無限廣，窗外有藍天。我能吞下玻璃而不傷身體。",  # noqa: RUF001 - Chinese punctuation
    "いろはにほへと ちりぬるを　カタカナ ｶﾀｶﾅ",
    "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.",
    "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر",
    "דג סקרן שט בים מאוכזב ולפתע מצא לו חברה",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
    "Tôi có thể ăn thủy tinh mà không hại gì. việc hợp thời",
    "ⴰⵣⵓⵍ ⵎⴰⴷⴷⴻⵏ ᚠᛇᚻ᛫ᛒᛦᚦ 𐌰𐌱𐌲 𓀀𓁐 ꙮ ꧁꧂",
    "e\u0301 é n\u0303 ñ ạ̈ \u1e69 s\u0323\u0307 \u0d4d\u200c\u200d क्‍ष",
    "👩‍👩‍👧‍👦👍🏽🇫🇷🏳️‍🌈 ☃️ 1️⃣ 🧑🏿‍🚀",
    "0 12 123 1234 1234567890 ٠١٢٣٤٥٦٧٨٩ ०१२३४ ½ ² Ⅷ ④",
    "def f(x):\n\treturn {k: v for k, v in x.items()}  # ok\r\n\r\n\n    if a != b: ++i;\n",
    "https://example.org/a_b-c?d=%20e&f=g#h .:.:.: \\begin{align*} x^{2}_{i} \\end{align*}",
    "<|begin_of_text|><|end_of_text|><|eot_id|> <|im_start|>system\n<think>\n</think><tool_call></tool_call>",
    "<|reserved_special_token_0|><|finetune_right_pad_id|><|python_tag|><|endoftext|></s><s>[INST]<pad>",
    "\ufeff\u200b\u2028\u2029\x85\xa0\u3000\u180e\u2060 \x00\x01\x7f\ufffd\uffff\U0010ffff\ue000",
    "AAAAAAAAaaaaaaaa========--------________........!!!!!!!!\u4e00\u4e00\u4e00\u4e00",
)
_RUNS = (
    " ",
    "\n",
    "\t",
    "\r\n",
    "a",
    "é",
    "1",
    ".",
    "=",
    "ह",
    "的",
    "👍",
    " a",
    "\n ",
    " \n",
    "\u3000",
    "'s",
    "-*",
)


@lru_cache(maxsize=1)
def hard_texts() -> list[str]:
    """Return the fixed list: scripts and their cuts, runs of many lengths, seeded mixtures of Unicode."""
    texts = ["", *_SCRIPTS, *(unicodedata.normalize("NFD", text) for text in _SCRIPTS)]
    texts += [text[i:] + text[:i] for text in _SCRIPTS for i in range(1, len(text), 7)]
    texts += [
        run * n for run in _RUNS for n in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 127, 129, 1000)
    ]
    texts += [f"a{run * n}b {run * n}" for run in _RUNS for n in (1, 2, 3, 8, 17)]
    source = random.Random(_SEED)  # noqa: S311 - test data, the same every time
    pieces = [piece for text in _SCRIPTS for piece in (text[i : i + 5] for i in range(0, len(text), 5))]
    texts += [
        "".join(source.choices([*pieces, *_RUNS], k=source.randint(1, 40))) for _ in range(_RANDOM_TEXTS)
    ]
    texts += ["".join(_scalar(source) for _ in range(source.randint(1, 60))) for _ in range(_RANDOM_TEXTS)]
    return texts


def _scalar(source: random.Random) -> str:
    """Return any Unicode scalar value, the low planes more often."""
    while True:
        code = source.randrange(source.choice((0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x110000)))
        if not 0xD800 <= code < 0xE000:  # noqa: PLR2004 - the surrogates are no scalar values
            return chr(code)
