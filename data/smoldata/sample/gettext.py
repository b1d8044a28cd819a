"""A gettext catalogue (``.po``) -> the translated texts, in the order of the catalogue.

Messages that were translated from one place (a help text, a page) stay together in one document. Fuzzy and
untranslated messages and mere labels are left out. The format: GNU gettext manual, "The Format of PO Files".
"""

import re
from collections.abc import Iterator

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPES = {"n": "\n", "t": "\t", "r": "", '"': '"', "\\": "\\"}
_DOCUMENT_CHARACTERS = 6000
# Labels and names of menus are no sentences. Counted in bytes, so that dense scripts need fewer characters.
_SENTENCE_BYTES = 32


def read_catalogue(text: str) -> Iterator[tuple[str, str]]:
    """Yield (number, text) of documents made of about 6,000 characters of translations."""
    kept: list[str] = []
    number = 0
    for message in _messages(text):
        kept.append(message)
        if sum(map(len, kept)) >= _DOCUMENT_CHARACTERS:
            number += 1
            yield str(number), "\n".join(kept) + "\n"
            kept = []
    if kept:
        yield str(number + 1), "\n".join(kept) + "\n"


def _messages(text: str) -> Iterator[str]:
    """Yield translations, header, fuzzy and obsolete entries left out."""
    for entry in re.split(r"\n\s*\n", text):
        lines = entry.splitlines()
        if any(line.startswith("#,") and "fuzzy" in line for line in lines):
            continue
        fields = _fields(lines)
        # Plural forms say nearly the same: the last one stands for all.
        translations = [value for name, value in fields.items() if name.startswith("msgstr")]
        if fields.get("msgid") and translations and translations[-1] != fields["msgid"]:
            text = translations[-1].strip("\n")
            if len(text.strip().encode()) >= _SENTENCE_BYTES:
                yield text


def _fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    current = ""
    for line in lines:
        if line.startswith("msg"):
            current, _, rest = line.partition(" ")
            fields[current] = _unquoted(rest)
        elif line.startswith('"') and current:
            fields[current] += _unquoted(line)
    return fields


def _unquoted(line: str) -> str:
    match = _QUOTED.match(line.strip())
    if not match:
        return ""
    return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[0]), match[1])
