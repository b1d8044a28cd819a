"""Built documents of several sources -> the same without near-duplicates, within and across sources.

1. Each documents file is signed (band hashes and a digest of each text), many files at a time; what is signed
   is kept under a name made of the file's hash, the settings and the code, so a killed run goes on.
2. All signatures decide together. Of a cluster stays: a document of the source that is named first; of one
   source, the one with the least digest of its text, then the least identifier.
3. Files are written anew without the others, or linked where nothing is dropped; a source's manifest carries
   its earlier counts on, so that read = kept + dropped; ``removed.parquet`` lists every document dropped.

Memory: about 130 bytes a document for band hashes, and its identifier; 200 more while clusters are found.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from smoldata.dedup.clusters import components, keep_one
from smoldata.dedup.keys import DIGEST_BYTES, MinhashKey, band_columns
from smoldata.dedup.steps import MinhashSettings
from smoldata.documents import DOCUMENT_MANIFEST_SCHEMA, FORMAT_VERSION
from smoldata.errors import InputError, SourceError
from smoldata.files import atomic_path, code_digest, digest_values, remove_leftovers, single_writer, xxh3_128
from smoldata.merge import MANIFEST, publish_rows, read_manifest
from smoldata.workers import run_all

REASON = "minhash_across"
REMOVED = "removed.parquet"
_STAGING = ".work"


@dataclass(frozen=True, slots=True)
class Deduplicated:
    """What a source became."""

    source: str
    read: int
    """Documents that came in."""
    kept: int
    dropped: int


@dataclass(frozen=True, slots=True)
class _File:
    source: str
    folder: Path
    row: dict[str, Any]
    keys: Path

    @property
    def path(self) -> Path:
        return self.folder / str(self.row["path"])


def dedup_sources(
    folders: Sequence[Path], output: Path, *, settings: MinhashSettings | None = None, workers: int = 2
) -> list[Deduplicated]:
    """Write the documents of ``folders`` (``documents/<source>``) to ``output/<source>``, first one first.

    Raises:
        SourceError: a folder holds no built documents, or none would be left of a source.
        InputError: a source is named twice, or the output is one of the folders.
    """
    settings = settings or MinhashSettings()
    output = Path(output)
    with single_writer(output):
        remove_leftovers(output)
        code = _code_version()
        files = _files(folders, output, digest_values(code, settings.model_dump()))
        lock = digest_values(FORMAT_VERSION, code, settings.model_dump(), _proof(files))
        if not _is_done(files, output, lock):
            todo = [partial(_sign, file, settings) for file in files if not file.keys.is_file()]
            for _ in run_all(todo, workers):
                pass
            _decide_and_write(files, settings, output, lock, code)
            shutil.rmtree(output / _STAGING)
        return _report(files, output)


def _code_version() -> str:
    here = Path(__file__).parent
    return code_digest([here, here.parent / "heuristics"])


def _files(folders: Sequence[Path], output: Path, key: str) -> list[_File]:
    files: list[_File] = []
    for folder in map(Path, folders):
        rows = read_manifest(folder)
        if not rows:
            raise SourceError(f"no documents at {folder} ({MANIFEST} is missing); run `smoldata build`")
        name = str(rows[0]["source"])
        if any(file.source == name for file in files) or folder.resolve() == (output / name).resolve():
            raise InputError(f"{name} ({folder}) is named twice, or is the output itself; name each once")
        for row in rows:
            keys = output / _STAGING / f"{row['xxh3_128']}-{key}.parquet"
            files.append(_File(name, folder, row, keys))
    return files


def _proof(files: Sequence[_File]) -> list[tuple[str, str, str]]:
    return [(file.source, str(file.row["path"]), str(file.row["xxh3_128"])) for file in files]


def _is_done(files: Sequence[_File], output: Path, lock: str) -> bool:
    for source in dict.fromkeys(file.source for file in files):
        rows = read_manifest(output / source)
        if not rows or any(row["input_hash"] != lock for row in rows):
            return False
        paths = [(output / source / str(row["path"]), row["bytes"]) for row in rows]
        if any(not path.is_file() or path.stat().st_size != size for path, size in paths):
            return False
    return (output / REMOVED).is_file()


def _sign(file: _File, settings: MinhashSettings) -> None:
    """Write the identifier and the key of each document of a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if xxh3_128(file.path) != file.row["xxh3_128"]:
        raise SourceError(f"{file.path} is not the file that its manifest names; build {file.source} again")
    step = MinhashKey(settings, settings.language or "eng_Latn")
    schema = pa.schema([("id", pa.string()), ("key", pa.binary())])
    with atomic_path(file.keys) as temporary, pq.ParquetWriter(temporary, schema) as out:
        for batch in pq.ParquetFile(file.path).iter_batches(batch_size=1000, columns=["id", "text"]):
            keys = [step.key(text) for text in batch["text"].to_pylist()]
            out.write_batch(pa.record_batch([batch["id"], pa.array(keys, pa.binary())], schema=schema))


def _decide_and_write(
    files: Sequence[_File], settings: MinhashSettings, output: Path, lock: str, code: str
) -> None:
    import polars as pl

    order = {name: place for place, name in enumerate(dict.fromkeys(file.source for file in files))}
    frames = [
        pl.read_parquet(file.keys).with_columns(
            source=pl.lit(file.source), priority=pl.lit(order[file.source]), file=pl.lit(number)
        )
        for number, file in enumerate(files)
    ]
    documents = pl.concat(frames).with_row_index("number")
    kept = _kept(documents, settings)
    gone = np.flatnonzero(kept != np.arange(len(kept)))
    _list_removed(documents, kept, gone, output / REMOVED)
    is_gone = np.zeros(len(kept), np.bool_)
    is_gone[gone] = True
    marks = documents.select("file", gone=pl.Series(is_gone))
    for source in order:
        drops = [
            marks.filter(pl.col("file") == number)["gone"] if file.source == source else None
            for number, file in enumerate(files)
        ]
        own = [(file, drop) for file, drop in zip(files, drops, strict=True) if drop is not None]
        _write_source(own, output / source, lock, code)


def _kept(documents: Any, settings: MinhashSettings) -> Any:
    """Return for each document the one of its cluster that stays, int64[documents]."""
    import polars as pl

    digest = pl.col("key").bin.head(DIGEST_BYTES)
    ranked = documents.select("priority", "id", "number", digest=digest)
    ranked = ranked.sort("priority", "digest", "id", "number")
    preference = np.empty(documents.height, np.int64)
    preference[ranked["number"].to_numpy()] = np.arange(documents.height)
    signed = documents.filter(pl.col("key").bin.size() > DIGEST_BYTES)
    numbers = signed["number"].to_numpy().astype(np.int64)
    labels = components(signed.height, settings.bands, band_columns(signed["key"], settings.bands))
    kept = np.arange(documents.height)
    kept[numbers] = numbers[keep_one(labels, preference[numbers])]
    return kept


def _list_removed(documents: Any, kept: Any, gone: Any, path: Path) -> None:
    stays = documents[kept[gone]]
    listing = documents[gone].select(
        "id",
        "source",
        cluster=stays["key"].bin.head(DIGEST_BYTES).bin.encode("hex"),
        kept_id=stays["id"],
        kept_source=stays["source"],
    )
    with atomic_path(path) as temporary:
        listing.write_parquet(temporary)


def _write_source(files: Sequence[tuple[_File, Any]], folder: Path, lock: str, code: str) -> None:
    """Write a source's files without the dropped documents, its manifest last."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / MANIFEST).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for file, gone in files:
        row = file.row | {"dropped": dict(file.row["dropped"])}
        row |= publish_rows(file.path, folder / file.path.name, gone, row, REASON)
        final = folder / file.path.name
        row |= {
            "documents": row["kept"],
            "dropped": sorted(row["dropped"].items()),
            "bytes": final.stat().st_size,
            "xxh3_128": xxh3_128(final),
            "sha256": "",
            "input_hash": lock,
            "code_version": code,
        }
        rows.append(row)
    names = {row["path"] for row in rows}
    for path in folder.glob("*.parquet"):
        if path.name not in names:
            path.unlink()
    with atomic_path(folder / MANIFEST) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_MANIFEST_SCHEMA), temporary)


def _report(files: Sequence[_File], output: Path) -> list[Deduplicated]:
    out = []
    for source in dict.fromkeys(file.source for file in files):
        read = sum(int(file.row["documents"]) for file in files if file.source == source)
        kept = sum(int(row["documents"]) for row in read_manifest(output / source))
        out.append(Deduplicated(source, read, kept, read - kept))
    return out
