"""The hand-off: a plan folder in, a folder with everything a cluster job needs and nothing else out.

The plan is copied byte for byte; every shard is read once, compared with the hash recorded when it was
tokenized, and listed with its sha256 and the step before which it must be there; nanotron's configuration,
the sbatch script and a README are made from the plan; ``bundle.json`` names every file with its sha256.
The folder appears whole or not at all. Same inputs, same bytes.
Cost: sha256 of the shards, about 0.5 GB/s a core, once: an unchanged shard is not hashed again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from smoldata.console import progress
from smoldata.errors import InputError, IntegrityError
from smoldata.files import fsync, storage_errors, write_atomic
from smolmix.bundle_text import readme, sbatch
from smolmix.catalog_rows import read_plan
from smolmix.nanotron import Launch, emit

FORMAT_VERSION = 1
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Digest:
    """Size and hashes of a file, from one read."""

    bytes: int
    xxh3_128: str
    sha256: str


def digest_file(path: Path) -> Digest:
    """Read a file once and return its size, xxh3-128 and sha256."""
    fast, secure, size = xxhash.xxh3_128(), hashlib.sha256(), 0
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            fast.update(chunk)
            secure.update(chunk)
            size += len(chunk)
    return Digest(size, fast.hexdigest(), secure.hexdigest())


def write_bundle(
    plan_folder: Path,
    bundle_folder: Path,
    *,
    recipe: bytes,
    earlier: Sequence[Path] | None = None,
    launch: Launch | None = None,
    workers: int | None = None,
) -> Path:
    """Write the bundle of a plan and return its folder.

    ``recipe`` is the recipe file as it was read; ``earlier`` are the plan folders of the stages before, in
    order (None: found beside the plan by their locks). Raises :class:`IntegrityError` if a shard is not
    what was tokenized, :class:`InputError` if an earlier plan is missing or the launch cannot be shared
    out.
    """
    plan_folder, bundle_folder = Path(plan_folder), Path(bundle_folder)
    plan = read_plan(plan_folder / "plan.json")
    folders = find_earlier(plan_folder, plan) if earlier is None else list(earlier)
    launch = launch or Launch()
    emitted = emit(plan, _as_read(folders, plan), launch)
    with whole_folder(bundle_folder) as folder:
        # First: a later run trusts hashes of shards that are older than this copy (see Known).
        _copy(plan_folder, folder / "plan")
        table = _shard_list(plan_folder, bundle_folder, workers)
        _write_parquet(table, folder / "shards.parquet")
        write_atomic(folder / "nanotron.yaml", emitted.text)
        write_atomic(folder / "recipe.yaml", recipe)
        write_atomic(folder / "train.sbatch", sbatch(plan, emitted, launch))
        write_atomic(folder / "README.md", readme(plan, emitted, table))
        _write_index(folder, plan)
    return bundle_folder


def find_earlier(plan_folder: Path, plan: dict[str, Any]) -> list[Path]:
    """Return the plan folders of the stages before, in order, found beside the plan by their locks."""
    siblings = [path.parent for path in sorted(Path(plan_folder).resolve().parent.glob("*/plan.json"))]
    plans = {
        one["lock"]["hash"]: (folder, one) for folder in siblings for one in [read_plan(folder / "plan.json")]
    }
    found: list[Path] = []
    while follows := plan["follows"]:
        lock = follows["lock"].partition("@")[0]
        if lock not in plans:
            raise InputError(
                f"{plan['name']} follows {follows['name']} with lock {follows['lock']}, which is not among "
                f"the plans in {Path(plan_folder).parent}; run `make mixture` again, or name its folder"
            )
        folder, plan = plans[lock]
        found.insert(0, folder)
    return found


def _as_read(folders: Sequence[Path], plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the plans of the stages before; one that a replan cut has the steps that were read."""
    from smolmix.plan import load_plan
    from smolmix.replan import cut

    plans = [read_plan(folder / "plan.json") for folder in folders]
    for number, after in enumerate([*plans[1:], plan][: len(plans)]):
        steps = after["follows"]["lock"].partition("@")[2] if after["follows"] else ""
        if steps:
            plans[number] = cut(load_plan(folders[number]), int(steps)).as_json()
    return plans


def _shard_list(plan_folder: Path, bundle_folder: Path, workers: int | None) -> Any:
    """Return the bundle's shard table: hashes taken now, and the step before which each shard is needed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept = ["source", "ordinal", "path", "bytes", "tokens", "xxh3_128"]
    shards = pq.read_table(plan_folder / "shards.parquet", columns=kept)
    if shards.column("path").null_count == shards.num_rows:
        # Planned on published sizes: there may be a million rows, and nothing to hash.
        moved, hashes = shards.column("path"), pa.repeat("", shards.num_rows)
    else:
        paths = shards.column("path").to_pylist()
        digests = _digests(plan_folder, paths, known_digests(bundle_folder.parent), workers)
        _compare(shards, paths, digests)
        moved = pa.array(
            [path and _relative(plan_folder / path, bundle_folder) for path in paths], pa.string()
        )
        hashes = pa.array([digest.sha256 if digest else "" for digest in digests], pa.string())
    columns = {name: shards.column(name) for name in kept}
    columns |= {"path": moved, "sha256": hashes, "first_step": _first_steps(plan_folder, shards)}
    order = ("source", "ordinal", "path", "bytes", "tokens", "xxh3_128", "sha256", "first_step")
    return pa.table({name: columns[name] for name in order})


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


@dataclass(frozen=True, slots=True)
class Known:
    """What an earlier bundle found; it holds while the shard's size is the same and its time is older."""

    digest: Digest
    before_ns: int


def known_digests(bundles: Path) -> dict[Path, Known]:
    """Return what the bundles in a folder say of their shards, by place: terabytes are not hashed twice.

    Like `make`, this trusts file times; `verify` reads every byte again and trusts nothing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    known: dict[Path, Known] = {}
    for index in sorted(Path(bundles).glob("*/bundle.json")):
        try:
            rows = pq.read_table(index.with_name("shards.parquet")).to_pylist()
            before = (index.parent / "plan" / "plan.json").stat().st_mtime_ns
        except (OSError, pa.ArrowException):
            continue  # a damaged bundle vouches for nothing
        for row in rows:
            if row["path"] is not None:
                place = Path(os.path.normpath(index.parent / row["path"]))
                known[place] = Known(Digest(row["bytes"], row["xxh3_128"], row["sha256"]), before)
    return known


def _digests(
    plan_folder: Path, paths: Sequence[str | None], known: Mapping[Path, Known], workers: int | None
) -> list[Digest | None]:
    """Hash the shards in threads (hashing releases the interpreter lock); virtual shards have no file."""
    places = [None if path is None else Path(os.path.normpath(plan_folder / path)) for path in paths]
    total = sum(place is not None for place in places)
    digests: list[Digest | None] = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool, progress("hashing shards", total) as advance:
        for path, one in zip(paths, pool.map(lambda place: _digest_shard(place, known), places), strict=True):
            digests.append(one)
            advance(int(one is not None), path or "")
    return digests


def _digest_shard(place: Path | None, known: Mapping[Path, Known]) -> Digest | None:
    if place is None:
        return None
    try:
        state, before = place.stat(), known.get(place)
        if before and before.digest.bytes == state.st_size and state.st_mtime_ns < before.before_ns:
            return before.digest
        return digest_file(place)
    except FileNotFoundError as error:
        raise IntegrityError(f"{place} is in the plan but not on disk; run `make mixture` again") from error


def _compare(shards: Any, paths: Sequence[str | None], digests: Sequence[Digest | None]) -> None:
    """Refuse a shard that is not what was tokenized, before anything is written."""
    sizes, hashes = shards.column("bytes").to_pylist(), shards.column("xxh3_128").to_pylist()
    for path, size, wanted, seen in zip(paths, sizes, hashes, digests, strict=True):
        if seen and (seen.bytes, seen.xxh3_128) != (size, wanted):
            raise IntegrityError(
                f"{path} changed after tokenizing: {size:,} bytes with xxh3 {wanted} were recorded, "
                f"{seen.bytes:,} bytes with {seen.xxh3_128} are there; delete it and run `make mixture` again"
            )


def _first_steps(plan_folder: Path, shards: Any) -> Any:
    """Return for each shard the step of this stage (from 0) at which it is opened first; null: never.

    The rows are sorted by source and ordinal (docs/formats.md), so a source's answers follow each other.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from smolmix.plan import load_plan

    plan = load_plan(plan_folder)
    names = pc.unique(shards.column("source")).to_pylist()
    indices = np.concatenate([np.zeros(0, np.int64), *(plan.first_indices(name) for name in names)])
    assert indices.size == shards.num_rows, "the plan has as many shards as its list"
    return pa.array(indices // plan.batch_windows, mask=indices < 0)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``folder``; on success it takes the place of ``folder``.

    A kill between the two renames leaves no ``folder`` at all, never half a one; the next run makes it again.
    """
    temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    old = folder.with_name(f"{folder.name}.old-{os.getpid()}")
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in [
            *folder.parent.glob(f"{folder.name}.tmp-*"),
            *folder.parent.glob(f"{folder.name}.old-*"),
        ]:
            shutil.rmtree(leftover)
        temporary.mkdir()
        try:
            yield temporary
            if folder.exists():
                folder.rename(old)
            temporary.rename(folder)
            fsync(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def _copy(plan_folder: Path, target: Path) -> None:
    plan = read_plan(plan_folder / "plan.json")
    more = ("replacements.parquet", "retracted.parquet") if "retraction" in plan else ()
    for name in ("plan.json", "shards.parquet", *more):
        write_atomic(target / name, (plan_folder / name).read_bytes())


def _write_parquet(table: Any, path: Path) -> None:
    import pyarrow.parquet as pq

    encoding = {"ordinal": "DELTA_BINARY_PACKED"}
    pq.write_table(table, path, compression="zstd", use_dictionary=["source"], column_encoding=encoding)
    fsync(path)


def _write_index(folder: Path, plan: dict[str, Any]) -> None:
    """Write ``bundle.json``: what the bundle is, its files, and a digest over these statements."""
    files = [
        {
            "path": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": digest_file(path).sha256,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    index = {
        "format_version": FORMAT_VERSION,
        "stage": plan["name"],
        "preset": plan["preset"],
        "profile": plan["profile"],
        "lock": plan["lock"]["hash"],
        "files": files,
    }
    write_atomic(folder / "bundle.json", index_text(index))


def index_text(index: dict[str, Any]) -> str:
    """Return the one text that ``bundle.json`` has for these statements; it ends with their own sha256."""
    statements = {key: value for key, value in index.items() if key != "sha256"}
    canonical = json.dumps(statements, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    signed = statements | {"sha256": hashlib.sha256(canonical.encode()).hexdigest()}
    return json.dumps(signed, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
