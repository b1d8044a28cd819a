"""A run's log: one JSON line a step, appended as the run goes; resuming at step k keeps the lines before it.

Keys: ``step``, ``loss`` (nats a label, before the step's update), ``learning_rate``, ``grad_norm`` (before
clipping), ``embedding_norm`` (after the step), ``labels``, ``tokens`` (so far), ``data/<source>/tokens`` (so
far), ``data/<source>/passes`` (stages before included), every so many steps ``heldout/<source>/loss``, and
the only three that a rerun changes: ``seconds``, ``tokens_per_second`` and, on a GPU, ``mfu``.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoldata.files import storage_errors, write_atomic

if TYPE_CHECKING:
    from smoltrain.bundle import Bundle

Row = dict[str, Any]


def read_log(path: Path) -> list[Row]:
    """Return the rows of a log; a last line cut off by a kill is left out."""
    if not path.is_file():
        return []
    *lines, _cut = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines]


def truncate_log(path: Path, step: int) -> None:
    """Keep the rows of the steps before ``step``; no log stays none."""
    if path.is_file():
        write_rows(path, [row for row in read_log(path) if row["step"] < step])


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a log anew."""
    write_atomic(path, "".join(_line(row) for row in rows))


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append one step."""
    with storage_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(_line(row))


def consumed(bundle: "Bundle", tokens_by_source: Mapping[str, int]) -> Row:
    """Return each source's tokens so far, and its passes (stages before too) where its size is known."""
    drawn = {name: tokens for name, tokens in tokens_by_source.items() if tokens}
    passes = {}
    for source in bundle.plan.sources:
        if source.name in drawn and source.capacity_windows:
            windows = drawn[source.name] // bundle.sequence_length
            read = float(source.passes_before or 0) + windows / source.capacity_windows
            passes[f"data/{source.name}/passes"] = round(read, 6)
    return {f"data/{name}/tokens": tokens for name, tokens in drawn.items()} | passes


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


class Tail:
    """The new rows of a log that grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def read(self) -> tuple[list[Row], bool]:
        """Return the rows written since the last call, and whether the log was cut meanwhile."""
        size = self._path.stat().st_size if self._path.is_file() else 0
        again = size < self._read
        if again:
            self._read = 0
        if not size:
            return [], again
        with self._path.open("rb") as file:
            file.seek(self._read)
            whole, newline, _cut = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines()], again
