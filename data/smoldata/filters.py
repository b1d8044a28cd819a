"""Filters of datatrove's kind that decide by a rule: on the text, its language, a score, a column.

Each returns whether a document is kept, or why not. The thresholds stand in the recipes (``data/pipelines``),
each with its source; :mod:`smoldata.rules` reads them.
"""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar

import xxhash
from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from smoldata.rules import CodeSettings, ColumnSettings, ScoreSettings

_MOST_SCORE = 5


class LengthFilter(BaseFilter):  # type: ignore[misc] # datatrove ships no types
    """Drops texts that are too short or too long."""

    name = "length"

    def __init__(self, least: int, most: int | None = None, least_words: int = 0) -> None:
        """Keep texts of ``least`` to ``most`` characters and at least ``least_words`` words."""
        super().__init__()
        self.least, self.most, self.least_words = least, most, least_words

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep, or drop as ``too_short`` or ``too_long``."""
        text = doc.text.strip()
        if len(text) < self.least or (self.least_words and len(text.split()) < self.least_words):
            return False, "too_short"
        return self.most is None or len(text) <= self.most or (False, "too_long")


class CodeFilter(BaseFilter):  # type: ignore[misc]
    """Drops files that are not written by people: long lines, few letters and digits, a generator's mark."""

    name = "code"
    _GENERATED = re.compile(
        r"auto-?generated|automatically generated|generated automatically|this file is generated",
        re.IGNORECASE,
    )
    _ENCODED = (
        re.compile(r"[a-zA-Z0-9+/\n=]{64,}"),
        re.compile(r"(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)){8,}"),
        re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}"),
    )
    """Base64, hexadecimal numbers, characters by number: the paper's patterns."""

    def __init__(self, settings: CodeSettings, language: str | None) -> None:
        """Filter files in ``language``, a name as in the registry."""
        super().__init__()
        self.settings = settings
        self.is_markup = language in settings.markup

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep, or drop with the rule that a file breaks."""
        lines = doc.text.splitlines()
        reason = self._lines(lines) or self._characters(doc.text)
        if not reason and self._GENERATED.search("\n".join(lines[: self.settings.generated_lines])):
            reason = "generated"
        return (False, reason) if reason else True

    def _lines(self, lines: list[str]) -> str:
        """Return which rule on lines is broken; an empty string: none."""
        rules = self.settings
        if rules.most_lines is not None and len(lines) > rules.most_lines:
            return "too_many_lines"
        longest = max((len(line) for line in lines), default=0)
        if longest > (rules.longest_markup_line if self.is_markup else rules.longest_line):
            return "long_line"
        if not self.is_markup and sum(map(len, lines)) > rules.mean_line * max(len(lines), 1):
            return "long_lines_on_average"
        return ""

    def _characters(self, text: str) -> str:
        """Return which rule on characters is broken; an empty string: none."""
        rules = self.settings
        if sum(map(str.isalnum, text)) < len(text) * rules.least_alphanumeric:
            return "few_letters_and_digits"
        if rules.least_alphabetic and sum(map(str.isalpha, text)) < len(text) * rules.least_alphabetic:
            return "few_letters"
        if rules.most_encoded is not None and self._is_encoded(text):
            return "encoded_data"
        return ""

    def _is_encoded(self, text: str) -> bool:
        """Return whether a piece of encoded data is long, or such pieces make much of the file."""
        rules = self.settings
        sizes = [len(match[0]) for pattern in self._ENCODED for match in pattern.finditer(text)]
        longest = max(sizes, default=0)
        return longest > (rules.most_encoded or 0) or sum(sizes) > rules.most_encoded_share * len(text)


class ScriptFilter(BaseFilter):  # type: ignore[misc]
    """Drops texts of which too few letters are in the language's script (``fas_Arab``: Arabic)."""

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

    def __init__(self, language: str | None, least_share: float = 0.5) -> None:
        """Filter by the script of a FineWeb2 code; a script that is not known keeps everything."""
        super().__init__()
        self.scripts = self._SCRIPTS.get((language or "").rpartition("_")[2], ())
        self.least_share = least_share

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep, or drop as ``other_script``."""
        if not self.scripts:
            return True
        letters = [character for character in doc.text if character.isalpha()]
        fitting = sum(_script(character) in self.scripts for character in letters)
        return fitting >= self.least_share * max(len(letters), 1) or (False, "other_script")


@lru_cache(maxsize=1 << 17)
def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]


class ScoreFilter(BaseFilter):  # type: ignore[misc]
    """Drops documents whose named score is under a threshold; scores come from columns or earlier steps."""

    name = "score"

    def __init__(self, settings: ScoreSettings) -> None:
        """Filter by ``settings.name``."""
        super().__init__()
        self.settings = settings

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep, or drop as ``low_<name>``, ``no_<name>``."""
        rule = self.settings
        value = dict(doc.metadata.get("scores") or ()).get(rule.name)
        if value is None:
            return rule.missing == "keep" or (False, f"no_{rule.name}")
        if rule.rounded:
            value = round(max(0.0, min(float(value), _MOST_SCORE)))
        return value >= rule.at_least or (False, f"low_{rule.name}")


class ColumnFilter(BaseFilter):  # type: ignore[misc]
    """Drops documents by the value of one of the row's columns."""

    name = "column"

    def __init__(self, settings: ColumnSettings) -> None:
        """Filter by ``settings.name``."""
        super().__init__()
        self.settings = settings

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep, or drop as the column's name."""
        rule = self.settings
        value = (doc.metadata.get("row") or {}).get(rule.name)
        if value is None:
            return rule.missing == "keep" or (False, f"no_{rule.name}")
        if rule.keep and value not in rule.keep:
            return False, rule.name
        if value in rule.drop:
            return False, rule.name
        too_much = rule.most is not None and value > rule.most
        too_little = rule.least is not None and value < rule.least
        return not (too_much or too_little) or (False, rule.name)


class SampleFilter(BaseFilter):  # type: ignore[misc]
    """Keeps a share of the documents: those whose text hashes under the share."""

    name = "sample"

    def __init__(self, share: str) -> None:
        """Keep ``share``, a fraction or a decimal."""
        super().__init__()
        self.limit = int(Fraction(share) * 2**64)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep, or drop as ``not_sampled``."""
        # A seed of its own: the validation split hashes with seed 0, and the two must not be the same draw.
        return xxhash.xxh3_64_intdigest(doc.text.encode(), seed=1) < self.limit or (False, "not_sampled")
