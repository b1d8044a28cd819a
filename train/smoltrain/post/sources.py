"""Where the rows of subsets come from: the hub dataset, a folder of its Parquet files, or the offline sample.

All three are read by position, so that the published shuffle decides what is taken, whatever the place. The
sample is written once as Parquet in the hub's schemas and then read like any folder. Cost: Parquet is read a
file at a time and kept; the datasets library maps its files into memory.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.errors import SourceError
from smoldata.files import (
    atomic_path,
    digest_values,
    remove_leftovers,
    single_writer,
    write_json,
    xxh3_128,
)
from smoltrain.post.recipe import RowsRecipe

Row = dict[str, Any]
_MANIFEST = "manifest.json"


class RowSource(Protocol):
    """Rows of subsets, by position."""

    label: str
    """What a record says about the origin."""

    def rows(self, subset: str) -> int:
        """Return how many rows a subset has; 0 when it is absent."""

    def read(self, subset: str, numbers: Sequence[int]) -> list[Row]:
        """Return rows by position, in the order asked for."""

    def digest(self) -> str:
        """Return what identifies the rows: another value makes what was built of them stale."""


class FolderSource:
    """Parquet files ``<folder>/<configuration>/<subset>.parquet`` or ``<subset>-00000-of-00004.parquet``."""

    def __init__(self, folder: Path, recipe: RowsRecipe, label: str = "folder") -> None:
        """Look for the files. Raises :class:`SourceError` if none belongs to the recipe."""
        self.label = label
        self._tables: dict[str, pa.Table] = {}
        root = folder / recipe.config
        self._files = {subset.name: _parts(root, subset.name) for subset in recipe.subsets}
        if not any(self._files.values()):
            wanted = recipe.subsets[0].name
            raise SourceError(
                f"no rows of recipe {recipe.name} in {root}; wanted files such as {wanted}.parquet"
            )

    def rows(self, subset: str) -> int:
        """Return how many rows a subset has; 0 when it is absent. Raises SourceError if it can't be read."""
        try:
            return sum(pq.read_metadata(path).num_rows for path in self._files[subset])
        except (OSError, pa.ArrowInvalid) as error:
            raise SourceError(f"cannot read the rows of {subset}: {error}; fetch the file anew") from error

    def read(self, subset: str, numbers: Sequence[int]) -> list[Row]:
        """Return rows by position. Raises SourceError when a file cannot be read."""
        if subset not in self._tables:
            try:
                self._tables[subset] = pa.concat_tables(pq.read_table(path) for path in self._files[subset])
            except (OSError, pa.ArrowInvalid) as error:
                raise SourceError(f"cannot read the rows of {subset}: {error}") from error
        rows: list[Row] = self._tables[subset].take(pa.array(list(numbers), pa.int64())).to_pylist()
        return rows

    def digest(self) -> str:
        """Return a digest of all files' bytes."""
        return digest_values(
            {name: [xxh3_128(path) for path in paths] for name, paths in self._files.items()}
        )


def _parts(root: Path, subset: str) -> list[Path]:
    part = re.compile(re.escape(subset) + r"(-\d+-of-\d+)?\.parquet")
    return sorted(path for path in root.glob("*.parquet") if part.fullmatch(path.name))


class HubSource:
    """The hub dataset through the datasets library, as the published code reads it; or a local copy of it."""

    def __init__(self, recipe: RowsRecipe, *, path: str | None = None, cache: Path | None = None) -> None:
        """Open nothing yet. ``path`` replaces the recipe's dataset, ``cache`` the library's own folder."""
        self._recipe, self._path, self._cache = recipe, path or recipe.dataset, cache
        self.label = self._path if recipe.revision is None else f"{self._path}@{recipe.revision}"

    @cached_property
    def _open(self) -> dict[str, Any]:
        return {}

    def _subset(self, name: str) -> Any:
        import datasets

        if name not in self._open:
            try:
                self._open[name] = datasets.load_dataset(
                    self._path,
                    self._recipe.config,
                    split=name,
                    revision=self._recipe.revision,
                    cache_dir=str(self._cache) if self._cache else None,
                )
            except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
                raise SourceError(
                    f"cannot read subset {name} of {self.label}: {' '.join(str(error).split())[:300]}; "
                    "check the name, the network and `hf auth login`"
                ) from error
        return self._open[name]

    def rows(self, subset: str) -> int:
        """Return how many rows a subset has."""
        return len(self._subset(subset))

    def read(self, subset: str, numbers: Sequence[int]) -> list[Row]:
        """Return rows by position."""
        rows: list[Row] = self._subset(subset).select(list(numbers)).to_list()
        return rows

    def digest(self) -> str:
        """Return a digest of the library's fingerprints of all subsets."""
        names = [subset.name for subset in self._recipe.subsets]
        return digest_values({name: self._subset(name)._fingerprint for name in names})  # noqa: SLF001 - no public name


def sample_folder(build: Path) -> Path:
    """Make the sample's Parquet files, unless they are there; return their folder.

    Raises SourceError when a package cannot be had.
    """
    from smoltrain.post.sample import sample_pins, sample_rows
    from smoltrain.post.schemas import MESSAGES

    folder = build / "sample" / "post" / "raw"
    code = [
        xxh3_128(Path(__file__).with_name(name)) for name in ("sample.py", "sample_calls.py", "sources.py")
    ]
    key = digest_values([pin.sha256 for pin in sample_pins()], code)
    manifest = folder / _MANIFEST
    with single_writer(folder):
        if manifest.is_file() and f'"{key}"' in manifest.read_text(encoding="utf-8"):
            return folder
        remove_leftovers(folder)
        counts = {}
        for config, subsets in sample_rows(build / "sample" / "packages").items():
            for name, rows in sorted(subsets.items()):
                table = pa.Table.from_pylist(rows, schema=hub_schema(rows[0], MESSAGES))
                with atomic_path(folder / config / f"{name}.parquet") as temporary:
                    pq.write_table(table, temporary, compression="zstd")
                counts[f"{config}/{name}"] = len(rows)
        write_json(manifest, {"format_version": 1, "input_hash": key, "rows": counts})
    return folder


def hub_schema(row: Row, messages: pa.DataType) -> pa.Schema:
    """Return the Arrow schema of a row in one of the hub's schemas."""
    arguments = pa.struct(
        [
            ("custom_instructions", pa.string()),
            ("enable_thinking", pa.bool_()),
            ("python_tools", pa.list_(pa.string())),
            ("xml_tools", pa.list_(pa.string())),
        ]
    )
    kinds = {"prompt": pa.string(), "source": pa.string(), "chat_template_kwargs": arguments}
    return pa.schema([(name, kinds.get(name, messages)) for name in row])
