"""A recipe of rows and a source -> ``train.parquet``, ``validation.parquet``, and ``rows.json`` with counts.

The recipe's rule says which rows are taken and in which order; each is read strictly, cleaned, and kept or
dropped under a reason: taken = kept + dropped, a subset at a time. A share of the rows, by a hash of their
text, is held out. Tokens are counted as the model will read them: by the template and the tokenizer, exactly.
``rows.json`` is written last; the same inputs are not built again. Cost: mostly the counting, hundreds of
rows a second.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.console import progress
from smoldata.files import (
    atomic_path,
    digest_values,
    remove_leftovers,
    single_writer,
    write_json,
    xxh3_128,
)
from smolmix.literals import fraction_text
from smoltrain.post.cleaning import Evaluations, clean_row, row_key
from smoltrain.post.counting import Counter
from smoltrain.post.recipe import RowsRecipe, mixed_order, shares
from smoltrain.post.schemas import (
    CONVERSATION_SCHEMA,
    PAIR_SCHEMA,
    Conversation,
    Pair,
    RowError,
    read_row,
)
from smoltrain.post.sources import RowSource

FORMAT_VERSION = 1
FACTS = "rows.json"
_CHUNK = 500


@dataclass(slots=True)
class SubsetCount:
    """What became of one subset."""

    name: str
    mode: str
    weight: str
    """Share of rows, ``p/q``."""
    rows: int
    """Rows of the source; 0: the subset is absent."""
    taken: int
    kept: int = 0
    train: int = 0
    validation: int = 0
    tokens: int = 0
    """Tokens of the kept rows (of the chosen side, for pairs)."""
    trained_tokens: int = 0
    """Of these, tokens with a loss: all in mid-training, the assistant's otherwise."""
    emojis_removed: int = 0
    """Kept rows that lost an emoji."""
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowsData:
    """What :func:`build_rows` made, or found made."""

    folder: Path
    facts: dict[str, Any]
    """The content of ``rows.json`` (docs/formats.md)."""

    @property
    def train(self) -> Path:
        """Return the rows to train on."""
        return self.folder / "train.parquet"

    @property
    def validation(self) -> Path:
        """Return the rows held out."""
        return self.folder / "validation.parquet"


def build_rows(
    recipe: RowsRecipe,
    source: RowSource,
    folder: Path,
    *,
    tokenizer: Path,
    validation: Fraction = Fraction(0),
    evaluations: Sequence[Path] = (),
) -> RowsData:
    """Build the rows of a recipe into ``folder``, unless they are there.

    ``tokenizer`` is a folder with ``tokenizer.json``; ``evaluations`` are evaluation sets: rows that hold
    something of them are dropped. Raises SourceError when the source cannot be read.
    """
    sets = Evaluations(evaluations) if evaluations else None
    key = digest_values(
        FORMAT_VERSION,
        recipe.digest(),
        source.digest(),
        fraction_text(validation),
        sets.digest if sets else "",
        xxh3_128(tokenizer / "tokenizer.json"),
        _code(),
    )
    with single_writer(folder):
        found = read_rows(folder)
        if found is not None and found.facts["input_hash"] == key:
            return found
        (folder / FACTS).unlink(missing_ok=True)
        remove_leftovers(folder)
        return _Build(recipe, source, folder, Counter(tokenizer, recipe), sets, validation).run(key)


def _code() -> list[str]:
    """Return digests of the modules that decide a row's bytes."""
    names = ("recipe", "schemas", "cleaning", "counting", "data", "template")
    return [xxh3_128(Path(__file__).with_name(f"{name}.py")) for name in names]


def read_rows(folder: Path) -> RowsData | None:
    """Return rows that were built, or None when there are none."""
    import json

    path = folder / FACTS
    return RowsData(folder, json.loads(path.read_bytes())) if path.is_file() else None


@dataclass(slots=True)
class _Build:
    recipe: RowsRecipe
    source: RowSource
    folder: Path
    counter: Counter
    evaluations: Evaluations | None
    share: Fraction
    seen: set[int] = field(default_factory=set)
    counts: list[SubsetCount] = field(default_factory=list)

    def run(self, key: str) -> RowsData:
        names = [subset.name for subset in self.recipe.subsets]
        there = {name: self.source.rows(name) for name in names}
        self.counts = [
            SubsetCount(
                one.subset.name,
                one.subset.mode,
                fraction_text(one.subset.weight),
                one.rows or 0,
                one.taken or 0,
            )
            for one in shares(self.recipe, there)
        ]
        schema = PAIR_SCHEMA if self.recipe.kind == "pairs" else CONVERSATION_SCHEMA
        with ExitStack() as stack:
            paths = {
                name: stack.enter_context(atomic_path(self.folder / f"{name}.parquet"))
                for name in ("train", "validation")
            }
            writers = {
                name: stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))
                for name, path in paths.items()
            }
            for rows in self._chunks():
                for name, chosen in self._split(rows).items():
                    if chosen:
                        writers[name].write_table(pa.Table.from_pylist(chosen, schema=schema))
            for writer in writers.values():
                writer.close()
        facts = self._facts(key)
        write_json(self.folder / FACTS, facts)
        return RowsData(self.folder, facts)

    def _chunks(self) -> Iterator[list[tuple[int, Conversation | Pair]]]:
        """Yield clean rows with the number of their subset, in the order of training."""
        weights = [subset.weight for subset in self.recipe.subsets]
        order = mixed_order([count.rows for count in self.counts], weights, self.recipe.seed)
        with progress(f"{self.recipe.name} rows", len(order)) as advance:
            for begin in range(0, len(order), _CHUNK):
                part = order[begin : begin + _CHUNK]
                read = {
                    int(number): iter(
                        self.source.read(self.counts[number].name, part[part[:, 0] == number, 1].tolist())
                    )
                    for number in sorted(set(part[:, 0].tolist()))
                }
                rows = [self._row(int(n), int(row), next(read[int(n)])) for n, row in part.tolist()]
                yield self._clear([one for one in rows if one is not None])
                advance(len(part), "")

    def _row(self, number: int, row: int, value: dict[str, Any]) -> tuple[int, Conversation | Pair] | None:
        count, subset = self.counts[number], self.recipe.subsets[number]
        try:
            read = read_row(value, row, subset.name, subset.mode, self.recipe.kind)
            clean = clean_row(_dated(read, self.recipe.date))
        except RowError as error:
            _add(count.dropped, str(error))
            return None
        key = row_key(clean)
        if key in self.seen:
            _add(count.dropped, "duplicate")
            return None
        self.seen.add(key)
        count.emojis_removed += row_key(read) != key
        return number, clean

    def _clear(self, rows: list[tuple[int, Conversation | Pair]]) -> list[tuple[int, Conversation | Pair]]:
        """Drop rows that hold something of an evaluation set."""
        if self.evaluations is None:
            return rows
        bad = self.evaluations.contaminated([row for _, row in rows])
        for position in bad:
            _add(self.counts[rows[position][0]].dropped, "contaminated")
        return [row for position, row in enumerate(rows) if position not in bad]

    def _split(self, rows: list[tuple[int, Conversation | Pair]]) -> dict[str, list[dict[str, Any]]]:
        parts: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
        lengths = self.counter.count([row for _, row in rows])
        for (number, row), sides in zip(rows, lengths, strict=True):
            count = self.counts[number]
            held_out = row_key(row) * self.share.denominator < self.share.numerator << 64
            parts["validation" if held_out else "train"].append(row.as_row() | _lengths(sides))
            tokens, trained = sides[0]
            count.kept += 1
            count.train += not held_out
            count.validation += held_out
            count.tokens += tokens
            count.trained_tokens += trained
        return parts

    def _facts(self, key: str) -> dict[str, Any]:
        subsets = [asdict(count) for count in self.counts]
        assert all(one["taken"] == one["kept"] + sum(one["dropped"].values()) for one in subsets)
        summed = ("rows", "taken", "kept", "train", "validation", "tokens", "trained_tokens")
        return {
            "format_version": FORMAT_VERSION,
            "input_hash": key,
            "recipe": self.recipe.name,
            "recipe_sha256": self.recipe.digest(),
            "source": self.source.label,
            "seed": self.recipe.seed,
            "validation_share": fraction_text(self.share),
            "subsets": subsets,
            "modes": {
                mode: {name: sum(one[name] for one in subsets if one["mode"] == mode) for name in summed}
                for mode in dict.fromkeys(one["mode"] for one in subsets)
            },
            "files": {
                f"{name}.parquet": xxh3_128(self.folder / f"{name}.parquet")
                for name in ("train", "validation")
            },
        }


def _lengths(sides: list[tuple[int, int]]) -> dict[str, int]:
    names = ("tokens",) if len(sides) == 1 else ("chosen_tokens", "rejected_tokens")
    return {name: tokens for name, (tokens, _) in zip(names, sides, strict=True)}


def _add(dropped: dict[str, int], reason: str) -> None:
    dropped[reason] = dropped.get(reason, 0) + 1


def _dated(row: Conversation | Pair, date: str | None) -> Conversation | Pair:
    if date is None:
        return row
    if isinstance(row, Pair):
        return Pair(_date(row.chosen, date), _date(row.rejected, date))
    return _date(row, date)


def _date(conversation: Conversation, date: str) -> Conversation:
    return replace(conversation, arguments={"date_string": date} | conversation.arguments)
