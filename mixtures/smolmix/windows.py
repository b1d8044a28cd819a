"""A plan and its shards as a sequence of windows: sample index in, the window's tokens out, nothing copied.

``windows[i]`` is what the stage reads at sample index ``i``: ``sequence_length + 1`` ids. Where it lies is
the plan's arithmetic, the read is a memory map. The object is picklable and safe to share between threads,
so it serves any trainer's workers. Cost: a look-up and a copy a window; at most 128 maps open.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smoldata.errors import InputError, IntegrityError
from smolmix.order import Samples
from smolmix.permutation import I64
from smolmix.plan import Plan, load_plan
from smolmix.shard_table import read_columns

Tokens = NDArray[Any]
"""uint16 or uint32, as the tokenizer's token width says."""
MAX_OPEN: Final = 128
_BLOCK_BYTES: Final = 16 * 2**20
_FACTS: Final = ("token_width", "vocab_size", "eos_id")
_DTYPES: Final[dict[int, np.dtype[Any]]] = {2: np.dtype("<u2"), 4: np.dtype("<u4")}


def below_root(path: str) -> str:
    """Return a path of a shard list without its leading ``..``."""
    return PurePosixPath(*(part for part in PurePosixPath(path).parts if part != "..")).as_posix()


def shard_path(folder: Path, path: str, root: Path | None) -> Path:
    """Return where a shard lies: below ``folder``, or below ``root`` without the leading ``..``."""
    return folder / path if root is None else root / below_root(path)


class Windows:
    """The windows of a stage in the order of its plan: ``len``, ``[index]``, ``blocks``."""

    def __init__(self, folder: Path | str, root: Path | str | None = None) -> None:
        """Open a bundle or a plan folder; ``root`` holds ``tokens/`` if the shards were moved.

        Raises:
            InputError: no such folder, or it was planned without data.
            IntegrityError: its parts disagree.
        """
        self.folder, self.root = Path(folder), None if root is None else Path(root)
        is_bundle = (self.folder / "bundle.json").is_file()
        self.plan: Plan = load_plan(self.folder / "plan" if is_bundle else self.folder)
        self.length = self.plan.sequence_length + 1
        shards = (self.folder if is_bundle else self.folder_of_plan()) / "shards.parquet"
        table = read_columns(shards, ["path", "bytes"])
        self._paths, self._bytes = table.column("path"), table.column("bytes").to_pylist()
        width, vocab, eos = (getattr(self.plan.tokenizer, name) for name in _FACTS)
        if None in (width, vocab, eos) or self._paths.null_count == len(self._bytes):
            raise InputError(f"{folder} was planned without data ({self.plan.profile}): nothing to read")
        self.dtype, self.eos_id, self.vocab_size = _DTYPES[width], int(eos), int(vocab)
        ends = np.cumsum([0, *(source.shards for source in self.plan.sources)])
        if len(self._bytes) != ends[-1]:
            raise IntegrityError(
                f"{shards} lists {len(self._bytes):,} shards, the plan has {ends[-1]:,}; make it again"
            )
        # The rows stand in the order of the plan's sources (docs/formats.md).
        names = (source.name for source in self.plan.sources)
        self._first_row = dict(zip(names, ends.tolist(), strict=False))
        self._open: OrderedDict[int, Tokens] = OrderedDict()
        self._lock = threading.Lock()

    def folder_of_plan(self) -> Path:
        """Return the folder that holds ``plan.json``."""
        assert self.plan.folder is not None, "the plan was loaded"
        return self.plan.folder

    def __len__(self) -> int:
        """Return the number of windows in the stage."""
        return self.plan.windows

    def __getitem__(self, index: int) -> Tokens:
        """Return one window, [sequence_length + 1]."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index:,} is outside the stage; it has 0 to {len(self) - 1:,}")
        with self._lock:
            sample = self.plan.at(int(index))
            shard = self._map(self._first_row[sample.source] + sample.shard)
        begin = sample.window * self.length
        return self._checked(np.array(shard[begin : begin + self.length]))

    def __getitems__(self, indices: Sequence[int]) -> list[Tokens]:
        """Return many windows with one look-up; the name is torch's for a batch of a map-style dataset."""
        return list(self.read(np.asarray(indices, np.int64))[1])

    def read(self, indices: I64) -> tuple[Samples, Tokens]:
        """Return where these windows lie and their tokens, [n, sequence_length + 1]."""
        tokens = np.empty((indices.size, self.length), self.dtype)
        with self._lock:
            samples = self.plan.at_many(indices)
            first = np.array([self._first_row[name] for name in samples.names], np.int64)
            rows = (first[samples.source] + samples.shard).tolist()
            begins = (samples.window * self.length).tolist()
            for at, (row, begin) in enumerate(zip(rows, begins, strict=True)):
                tokens[at] = self._map(row)[begin : begin + self.length]
        return samples, self._checked(tokens)

    def blocks(self, first: int, end: int) -> Iterator[tuple[int, Samples, Tokens]]:
        """Yield (index of the first, places, tokens [n, sequence_length + 1]) over a range, in 16 MB."""
        many = max(1, _BLOCK_BYTES // (self.length * self.dtype.itemsize))
        for begin in range(first, end, many):
            yield begin, *self.read(np.arange(begin, min(begin + many, end), dtype=np.int64))

    def _checked(self, tokens: Tokens) -> Tokens:
        if tokens.size and int(tokens.max()) >= self.vocab_size:
            raise IntegrityError(
                f"{self.folder}: token id {int(tokens.max()):,} in a shard, but {self.plan.tokenizer.name} "
                f"has ids below {self.vocab_size:,}; `smolmix verify` finds the shard"
            )
        return tokens

    def _map(self, row: int) -> Tokens:
        if row in self._open:
            self._open.move_to_end(row)
            return self._open[row]
        relative, wanted = self._paths[row].as_py(), self._bytes[row]
        if relative is None:
            raise InputError(f"{self.folder} was planned without data: shard {row} has no file")
        base = self.folder if (self.folder / "bundle.json").is_file() else self.folder_of_plan()
        path = shard_path(base, relative, self.root)
        size = path.stat().st_size if path.is_file() else None
        if size != wanted:
            seen = "nothing is there" if size is None else f"{size:,} bytes are there"
            raise IntegrityError(
                f"shard {path}: {seen}, the plan counts on {wanted:,} bytes; copy it again, "
                "or say with --root where the shards are"
            )
        while len(self._open) >= MAX_OPEN:
            self._open.popitem(last=False)
        self._open[row] = np.memmap(path, self.dtype, "r")
        return self._open[row]

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process as the folder's name: maps and locks don't."""
        return type(self), (self.folder, self.root)


def open_windows(folder: Path | str, root: Path | str | None = None) -> Windows:
    """Open the windows of a bundle or plan folder in the order of the plan."""
    return Windows(folder, root)
