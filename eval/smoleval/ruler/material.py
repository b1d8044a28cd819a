"""What prompts are made of: words for keys, running text to hide needles in, documents with questions.

Words: the lists of the package ``wonderwords``, as RULER uses them (adjective-noun keys; nouns, adjectives
and verbs to count). Running text: a file that the user names (RULER's own essays: a JSON with ``text``), or
the documents of a build; used from its beginning, repeated where it is too short, as RULER does. Questions:
SQuAD 2.0 or HotpotQA files, or JSON lines with ``question``, ``answer(s)`` and ``passage`` or ``context``.
Cost: 2 s for 2 MB of text, once a run.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np

from smoldata.errors import InputError
from smoleval.ruler.meter import Ints, Meter
from smoleval.ruler.questions import Library

_LISTS = ("nounlist.txt", "adjectivelist.txt", "verblist.txt")
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\Z|(?<=[.!?][\"')\]])\Z")
FILLER_SOURCES = ("fineweb-edu", "dclm", "wiki", "pes2o")
"""English sources of a build, in the order in which their documents are taken as running text."""
_FILLER_CHARACTERS = 4_000_000


@dataclass(frozen=True)
class Words:
    """Words to draw from, sorted."""

    nouns: tuple[str, ...]
    adjectives: tuple[str, ...]
    all: tuple[str, ...]
    origin: str


@dataclass(frozen=True)
class Filler:
    """Running text as words; ``origin`` says where it is from, ``sha256`` what it was."""

    words: tuple[str, ...]
    origin: str
    sha256: str

    @cached_property
    def ends_sentence(self) -> Ints:
        """Return the number of each word after which a sentence ends."""
        ends = [number for number, word in enumerate(self.words) if _SENTENCE.search(word)]
        return np.asarray(ends, np.int64)


@dataclass
class Material:
    """All that the tasks need, with the counts of its pieces."""

    meter: Meter
    words: Words
    filler: Filler | None = None
    libraries: dict[str, Library] = field(default_factory=dict)
    """By name of the question set: ``squad``, ``hotpotqa``."""
    _number_tokens: Ints = field(default_factory=lambda: np.zeros(1, np.int64))
    _library_tokens: dict[str, Ints] = field(default_factory=dict)

    @cached_property
    def filler_tokens(self) -> Ints:
        """Return the tokens of the filler's first n words, n from 0."""
        assert self.filler is not None, "the build looks for the filler before"
        return _sums(self.meter.each([f" {word}" for word in self.filler.words]))

    @cached_property
    def word_tokens(self) -> dict[str, int]:
        """Return the tokens of each word after a space."""
        counts = self.meter.each([f" {word}" for word in self.words.all])
        return dict(zip(self.words.all, counts.tolist(), strict=True))

    def number_tokens(self, entries: int) -> Ints:
        """Return the tokens of the numbers of a list's first n entries, n from 0 to at least ``entries``."""
        if len(self._number_tokens) <= entries:
            counts = self.meter.each([f" {number}." for number in range(1, entries + 1)])
            self._number_tokens = _sums(counts)
        return self._number_tokens

    def library_tokens(self, name: str) -> Ints:
        """Return the tokens of each document of a question set, with an average heading."""
        if name not in self._library_tokens:
            documents = self.libraries[name].documents
            self._library_tokens[name] = self.meter.each([f"Document 500:\n{one}\n\n" for one in documents])
        return self._library_tokens[name]


def _sums(counts: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def load_words() -> Words:
    """Return the word lists of wonderwords; raises :class:`InputError` if the package is missing."""
    try:
        folder = files("wonderwords") / "assets"
        lists = [(folder / name).read_text(encoding="utf-8").splitlines() for name in _LISTS]
    except ModuleNotFoundError as error:
        raise InputError("the package wonderwords is missing; run `make setup-eval`") from error
    nouns, adjectives, verbs = (tuple(sorted({one.strip() for one in part if one.strip()})) for part in lists)
    together = tuple(sorted({*nouns, *adjectives, *verbs}))
    return Words(nouns, adjectives, together, f"wonderwords {version('wonderwords')}")


def filler_of(texts: Iterable[str], origin: str) -> Filler:
    """Return texts as one run of words; raises :class:`InputError` if there are none."""
    words = tuple(word for text in texts for word in text.split())
    if not words:
        raise InputError(f"{origin} holds no text; give --filler with a file of running text")
    return Filler(words, origin, hashlib.sha256(" ".join(words).encode()).hexdigest())


def filler_from_file(path: Path) -> Filler:
    """Read running text: a text file, a JSON or JSON lines with ``text``, or a documents Parquet."""
    if not path.exists():
        raise InputError(f"no file {path}; --filler wants running text: .txt, .json, .jsonl or .parquet")
    if path.suffix == ".txt":
        return filler_of([path.read_text(encoding="utf-8")], path.name)
    from smoldata.reading import read_documents

    if path.suffix == ".json":
        import json

        content = json.loads(path.read_text(encoding="utf-8"))
        rows = content if isinstance(content, list) else [content]
        texts = [str(row["text"]) for row in rows if isinstance(row, dict) and "text" in row]
        return filler_of(texts, path.name)
    return filler_of((document.text for document in read_documents([path], duplicate_ids="keep")), path.name)


def filler_from_build(build: Path, profile: str) -> Filler | None:
    """Return running text of a build's English documents, up to 4 million characters; None if it has none."""
    from smoldata.reading import read_documents

    texts: list[str] = []
    taken, names = 0, []
    for source in FILLER_SOURCES:
        files_there = sorted((build / profile / "documents" / source).glob("[0-9]*.parquet"))
        if taken >= _FILLER_CHARACTERS or not files_there:
            continue
        names.append(source)
        for document in read_documents(files_there):
            texts.append(document.text)
            taken += len(document.text)
            if taken >= _FILLER_CHARACTERS:
                break
    return filler_of(texts, f"documents of the build: {', '.join(names)}") if texts else None
