"""Evaluation sets in a folder -> items: what a document must not hold.

A file is a benchmark, called by its name: ``gsm8k.jsonl.gz`` is ``gsm8k``. JSON Lines (plain, ``.gz``,
``.zst``) or Parquet; each row an item, read strictly. Known columns make the question and the answers; a gold
index into ``choices`` picks the right one (lighteval's task documents: ``query``, ``choices``,
``gold_index``). Rows that repeat another item are read once. Everything is in memory: benchmarks are small.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from smoldata.errors import InputError
from smoldata.reading import Report, read_rows

SUFFIXES: Final = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
QUESTIONS: Final = (
    "passage", "context", "query", "question", "problem", "prompt", "goal", "ctx", "sentence", "text",
)  # fmt: skip
"""Columns whose texts, in this order, make the question."""
ANSWERS: Final = (
    "chain_of_thought", "solution", "canonical_solution", "continuation", "answer", "answers", "gold",
    "target",
)  # fmt: skip
"""Columns that hold answers as text."""
_GOLD_INDEX: Final = ("gold", "gold_index", "label", "answer", "answerKey")
_CHOICES: Final = ("choices", "options", "context_options")
_NAMES: Final = ("id", "task_id", "item_id", "ind", "idx")


@dataclass(frozen=True, slots=True)
class Item:
    """One item of an evaluation set."""

    benchmark: str
    id: str
    """The row's own identifier, or its number."""
    question: str
    answers: tuple[str, ...] = ()
    """Right answers: each a text, as short as ``18`` or as long as a solution."""
    is_code: bool = False
    """A programming task: its parts are matched whole."""


def read_benchmarks(paths: Iterable[Path]) -> list[Item]:
    """Read the items of evaluation sets: files, or folders of them.

    Raises:
        InputError: there is no file, or one has no column that is known.
        SourceError: a file is damaged.
    """
    files = [file for path in paths for file in benchmark_files(Path(path))]
    named: dict[str, Path] = {}
    for file in files:
        other = named.setdefault(benchmark_name(file), file)
        if other != file:
            raise InputError(f"{file} and {other} are both called {benchmark_name(file)!r}; rename one")
    return [item for file in files for item in _items(file)]


def benchmark_files(path: Path) -> list[Path]:
    """Return the evaluation files of a folder, sorted, or the file itself. Raises InputError if none."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.glob("*") if file.is_file() and file.name.endswith(SUFFIXES))
    if not found:
        raise InputError(f"no evaluation set at {path}; want files such as gsm8k.jsonl.gz or arc.parquet")
    return found


def benchmark_name(path: Path) -> str:
    """Return what a benchmark is called: its file's name without endings."""
    return path.name.removesuffix(next(s for s in sorted(SUFFIXES, key=len)[::-1] if path.name.endswith(s)))


def _items(path: Path) -> list[Item]:
    report = Report()
    items: dict[tuple[str, tuple[str, ...]], Item] = {}
    name, columns = benchmark_name(path), set[str]()
    for number, row in read_rows(str(path), (), report):
        columns |= row.keys()
        item = item_of(name, number, row)
        if item is not None:
            items.setdefault((item.question, item.answers), item)
    if not items:
        wanted = ", ".join((*QUESTIONS, *ANSWERS))
        raise InputError(f"{path}: no question in its columns {', '.join(sorted(columns))}; known: {wanted}")
    return list(items.values())


def item_of(benchmark: str, number: int, row: dict[str, Any]) -> Item | None:
    """Return the item that a row holds; ``None`` if it has no text."""
    choices = next((row[name] for name in _CHOICES if isinstance(row.get(name), list)), None)
    question = _joined(row.get(name) for name in QUESTIONS)
    golds = [choices[index] for index in _gold_indexes(row, choices)] if choices else []
    answers = [text for name in ANSWERS for text in _texts(row.get(name))]
    if "context_options" in row:  # the right one of two beginnings, then the common end
        question, golds = _joined(golds[:1]), []
    known = tuple(dict.fromkeys(text for text in (*_texts(golds), *answers) if not _is_letter(text)))
    if not question and not known:
        return None
    own = next((str(row[name]) for name in _NAMES if isinstance(row.get(name), str | int)), str(number))
    return Item(benchmark, own, question, known, "canonical_solution" in row or "entry_point" in row)


def _gold_indexes(row: dict[str, Any], choices: Sequence[object]) -> list[int]:
    value = next((row[name] for name in _GOLD_INDEX if row.get(name) is not None), None)
    listed = value if isinstance(value, list) else [value]
    # A bool is an int to Python, but no index.
    numbers = [one for one in listed if isinstance(one, int) and not isinstance(one, bool)]
    return [number for number in numbers if 0 <= number < len(choices)]


def _texts(value: object) -> list[str]:
    if isinstance(value, list):
        return [text for entry in value for text in _texts(entry)]
    return [value] if isinstance(value, str) and value.strip() else []


def _joined(values: Iterable[object]) -> str:
    return "\n".join(text for value in values for text in _texts(value))


def _is_letter(text: str) -> bool:
    """Tell whether an answer only names a choice: it would match everywhere."""
    return len(text.strip(" .()")) == 1 and text.strip(" .()").isalpha()
