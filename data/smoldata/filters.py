"""Which documents of which kind are dropped, and why: one list of datatrove filters a kind of source.

The published sets were filtered by their makers. What is here guards the door: rules that hold for any text
of a kind, with the makers' own thresholds. The Gopher heuristics split words with spaCy (about 13 ms for 3
kB) and run on English prose only.
"""

import re
import unicodedata
from functools import lru_cache
from typing import ClassVar

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from smoldata.registry import Kind

_MIN_CHARACTERS: dict[Kind, int] = {
    "prose": 200,
    "multilingual": 100,
    "reference": 200,
    "qa": 50,
    "code": 30,
    "notebook": 50,
    "discussion": 30,
    "math": 100,
    "reasoning": 20,
    "chat": 20,
}


class LengthFilter(BaseFilter):  # type: ignore[misc] # datatrove ships no types
    """Drops texts shorter than ``least`` characters."""

    name = "length"

    def __init__(self, least: int) -> None:
        """Keep texts of at least ``least`` characters."""
        super().__init__()
        self.least = least

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep, or drop as ``too_short``."""
        return len(doc.text.strip()) >= self.least or (False, "too_short")


class CodeFilter(BaseFilter):  # type: ignore[misc]
    """Drops files that are not written by people: the rules of StarCoder2 (Lozhkov et al. 2024, appendix A).

    Lines of more than 1,000 characters, of more than 100 on average, under a quarter of letters and digits, a
    generator's mark in the first five lines. Markup and data keep long lines (up to 100,000 characters).
    """

    name = "code"
    _LONG_LINES = frozenset({"HTML", "Markdown", "SQL", "JSON", "XML", "CSS"})
    _GENERATED = re.compile(
        r"auto-?generated|automatically generated|generated automatically|this file is generated",
        re.IGNORECASE,
    )

    def __init__(self, language: str | None) -> None:
        """Filter files in ``language``, a name as in the registry."""
        super().__init__()
        self.keeps_long_lines = language in self._LONG_LINES

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep, or drop with the rule that a file breaks."""
        lines = doc.text.splitlines()
        longest = max((len(line) for line in lines), default=0)
        if longest > (100_000 if self.keeps_long_lines else 1_000):
            return False, "long_line"
        if not self.keeps_long_lines and sum(map(len, lines)) > 100 * max(len(lines), 1):
            return False, "long_lines_on_average"
        if sum(map(str.isalnum, doc.text)) < len(doc.text) / 4:
            return False, "few_letters_and_digits"
        if self._GENERATED.search("\n".join(lines[:5])):
            return False, "generated"
        return True


class ScriptFilter(BaseFilter):  # type: ignore[misc]
    """Drops texts of which under half the letters are in the language's script (``fas_Arab``: Arabic)."""

    name = "script"
    _SCRIPTS: ClassVar[dict[str, tuple[str, ...]]] = {
        "Latn": ("LATIN",),
        "Cyrl": ("CYRILLIC",),
        "Arab": ("ARABIC",),
        "Hani": ("CJK",),
        "Jpan": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"),
        "Hang": ("HANGUL", "CJK"),
        "Deva": ("DEVANAGARI",),
        "Thai": ("THAI",),
        "Grek": ("GREEK",),
    }

    def __init__(self, language: str | None) -> None:
        """Filter by the script of a FineWeb2 code; a script that is not known keeps everything."""
        super().__init__()
        self.scripts = self._SCRIPTS.get((language or "").rpartition("_")[2], ())

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep, or drop as ``other_script``."""
        if not self.scripts:
            return True
        letters = [character for character in doc.text if character.isalpha()]
        fitting = sum(_script(character) in self.scripts for character in letters)
        return 2 * fitting >= max(len(letters), 1) or (False, "other_script")


@lru_cache(maxsize=1 << 17)
def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]


def filters_for(kind: Kind, language: str | None) -> list[BaseFilter]:
    """Return the filters of a kind of source, the cheap ones first."""
    filters: list[BaseFilter] = [LengthFilter(_MIN_CHARACTERS[kind])]
    if kind in {"code", "notebook"}:
        filters.append(CodeFilter(language))
    elif kind == "multilingual":
        filters.append(ScriptFilter(language))
    elif kind == "prose" and language == "eng_Latn":
        from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter

        # Both share one split of the words; the n-grams of repetition cost most, so they come last.
        filters += [GopherQualityFilter(language="eng_Latn"), GopherRepetitionFilter(language="eng_Latn")]
    return filters
