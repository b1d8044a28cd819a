"""A bundle on disk into the plan, the shard table and look-ups by sample index.

Reads ``bundle.json``, ``plan/`` and ``shards.parquet`` (docs/formats.md) once; a look-up afterwards is
arithmetic. Cost: a million shards open in well under a second and take about 100 bytes each.
"""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from smoldata.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from smolmix.plan import Plan

Ints = npt.NDArray[np.int64]

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Places:
    """Where samples lie: equal-length columns; ``source`` counts in the plan's list of sources."""

    index: Ints
    source: Ints
    pass_: Ints
    shard: Ints
    window: Ints

    def rows(self, rows: slice) -> "Places":
        """Return some rows, as views."""
        return Places(
            self.index[rows], self.source[rows], self.pass_[rows], self.shard[rows], self.window[rows]
        )


@dataclass(frozen=True, slots=True)
class ShardTable:
    """One row a shard, sorted by (source, ordinal); ``first_row[s]`` is the row of source s's ordinal 0."""

    paths: Any
    bytes: Ints
    tokens: Ints
    first_row: Ints

    def row(self, source: int, shard: int) -> int:
        """Return the row of a source's shard."""
        return int(self.first_row[source]) + shard


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a training job needs to know about its data."""

    folder: Path
    root: Path | None
    plan: "Plan"
    sources: tuple[str, ...]
    eos_id: int
    vocab_size: int
    token_width: int
    shards: ShardTable

    @property
    def steps(self) -> int:
        """Return the steps of the stage."""
        return self.plan.steps

    @property
    def batch_windows(self) -> int:
        """Return the windows of a global batch."""
        return self.plan.batch_windows

    @property
    def sequence_length(self) -> int:
        """Return the tokens of a window that are inputs; on disk it has one more."""
        return self.plan.sequence_length

    def places(self, index: Ints) -> Places:
        """Look up sample indices of the stage: where each window lies."""
        found = self.plan.at_many(index)
        number = np.array([self.sources.index(name) for name in found.names], np.int64)
        return Places(index, number[found.source], found.pass_, found.shard, found.window)

    def path_of(self, row: int) -> Path:
        """Return where the shard of a row lies on this machine."""
        return shard_path(self.folder, str(self.shards.paths[row].as_py()), self.root)


def last_steps(bundle: Bundle) -> Ints:
    """Return the last step of the stage that reads each shard, a row of the table each; -1: none does.

    Never too early: of a shard whose last windows are replaced it may be a step that reads another one now.
    """
    order, last = bundle.plan.order, np.full(len(bundle.shards.bytes), -1, np.int64)
    for number, name in enumerate(bundle.sources):
        sequence = order.sequences.get(name)
        if sequence is None or sequence.sizes is None or not sequence.count:
            continue
        rows = last[bundle.shards.first_row[number] :][: sequence.sizes.size]
        first_pass = sequence.start // sequence.capacity
        for pass_ in range(first_pass, (sequence.start + sequence.count - 1) // sequence.capacity + 1):
            table = sequence.table(pass_)
            sizes = sequence.sizes[table.shards]
            begin = table.begins + (pass_ * sequence.capacity - sequence.start)
            read = (sizes > 0) & (begin < sequence.count) & (begin + sizes > 0)
            ends = np.minimum(begin + sizes, sequence.count)[read] - 1
            rows[table.shards[read]] = order.indices_of_drawn(name, ends)
        for index, _pass, shard, _window in order.put_in(name):
            rows[shard] = max(rows[shard], index)
    return last // bundle.batch_windows  # -1 stays -1


def shard_path(folder: Path, path: str, root: Path | None) -> Path:
    """Return where a shard lies: below the bundle, or below ``root`` without the leading ``..``.

    The rule is ``smolmix.verify``'s; it stands here again because that module takes half a second to import.
    """
    if root is None:
        return folder / path
    return root.joinpath(*(part for part in PurePosixPath(path).parts if part != ".."))


def open_bundle(folder: str | Path, root: str | Path | None = None) -> Bundle:
    """Open the bundle in ``folder``; ``root`` is where the shards lie if not where the bundle says.

    Raises :class:`InputError` if there is no bundle, :class:`IntegrityError` if its parts disagree.
    """
    from smolmix.plan import load_plan

    folder = Path(folder)
    facts = _read_facts(folder)
    plan = load_plan(folder / "plan")
    if facts["lock"] != plan.lock.hash:
        raise IntegrityError(
            f"{folder}: bundle.json was made for plan {facts['lock']}, but plan/plan.json is "
            f"{plan.lock.hash}; write the bundle again with `make handoff`"
        )
    tokenizer = plan.tokenizer
    numbers = (tokenizer.eos_id, tokenizer.vocab_size, tokenizer.token_width)
    eos_id, vocab_size, token_width = (-1 if number is None else number for number in numbers)
    if None in numbers:
        raise InputError(f"{folder} was planned without data ({plan.profile}): nothing to read")
    sources = tuple(source.name for source in plan.sources)
    return Bundle(
        folder=folder,
        root=None if root is None else Path(root),
        plan=plan,
        sources=sources,
        eos_id=eos_id,
        vocab_size=vocab_size,
        token_width=token_width,
        shards=_read_shards(folder / "shards.parquet", sources),
    )


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / "bundle.json"
    if not path.is_file():
        raise InputError(
            f"{folder} is not a bundle: it has no bundle.json; make one with `make handoff STAGE=2`"
        )
    facts = dict(json.loads(path.read_text(encoding="utf-8")))
    if facts.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{path}: format_version {facts.get('format_version')}, this program reads {FORMAT_VERSION}; "
            "write the bundle again with `make handoff`, or use the version of the program that wrote it"
        )
    return facts


def _read_shards(path: Path, sources: tuple[str, ...]) -> ShardTable:
    import pyarrow.parquet as pq

    if not path.is_file():
        raise IntegrityError(f"{path} is missing from the bundle; write it again with `make handoff`")
    columns = ["source", "ordinal", "path", "bytes", "tokens"]
    table = pq.read_table(path, columns=columns, read_dictionary=["source"]).unify_dictionaries()
    table = table.combine_chunks()
    counts = _count_by_source(table, path, sources)
    first_row = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)[:-1]])
    ordinal = table.column("ordinal").to_numpy()
    expected = np.arange(len(ordinal)) - np.repeat(first_row, counts)
    if not np.array_equal(ordinal, expected):
        row = int(np.flatnonzero(ordinal != expected)[0])
        raise IntegrityError(
            f"{path}: row {row} is shard {ordinal[row]} of {table.column('source')[row]}, due is shard "
            f"{expected[row]}; write the bundle again with `make handoff`"
        )
    return ShardTable(
        paths=table.column("path"),
        bytes=table.column("bytes").to_numpy(),
        tokens=table.column("tokens").to_numpy(),
        first_row=first_row,
    )


def _count_by_source(table: Any, path: Path, sources: tuple[str, ...]) -> Ints:
    """Return the number of shards of each source; the rows must stand in the order of ``sources``."""
    column = table.column("source").combine_chunks()
    codes, names = np.asarray(column.indices, np.int64), column.dictionary.to_pylist()
    known = {name: number for number, name in enumerate(sources)}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise IntegrityError(
            f"{path} has shards of {unknown[0]}, which the plan does not know; make the bundle anew"
        )
    numbers = np.array([known[name] for name in names], np.int64)[codes]
    if (np.diff(numbers) < 0).any():
        raise IntegrityError(f"{path} is not sorted by source; write the bundle again with `make handoff`")
    return np.bincount(numbers, minlength=len(sources)).astype(np.int64)
