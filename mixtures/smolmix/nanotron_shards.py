"""Shards as nanotron's loader can read them: a bundle in, one folder of links a source out.

nanotron reads a folder's ``*.ds`` once, in the order of their names, and stops with an error at the end. So
the links carry the shards' places in the plan's order as names, with as many passes as the stage and the
earlier stages of the same sequence length draw; a later stage's folder begins with the same links. Only
``.ds`` is linked: without a metadata file nanotron takes tokenizer and width from its configuration. Cost:
one link a shard and pass.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from smoldata.errors import InputError
from smoldata.files import storage_errors
from smolmix.nanotron import SHARDS_FOLDER
from smolmix.plan import Plan, SourcePlan, load_plan
from smolmix.windows import shard_path


def link_shards(bundle: Path, into: Path, root: Path | None = None) -> int:
    """Make ``into/s3-shards/<source>/`` for every source that the stage draws from; return how many links.

    Each folder is replaced whole. Raises :class:`InputError` if the plan has shards without files.
    """
    import pyarrow.parquet as pq

    bundle, into = Path(bundle), Path(into)
    plan = load_plan(bundle / "plan")
    rows = pq.read_table(bundle / "shards.parquet", columns=["source", "ordinal", "path"]).to_pylist()
    paths = {(row["source"], row["ordinal"]): row["path"] for row in rows}
    links = 0
    for source in plan.sources:
        if source.windows:
            names = list(_openings(plan, source))
            _link_folder(into / SHARDS_FOLDER / source.name, source.name, names, paths, bundle, root)
            links += len(names)
    return links


def _openings(plan: Plan, source: SourcePlan) -> Iterator[tuple[str, int]]:
    """Yield (link name, shard ordinal) for each opening, from the lineage's start to the stage's end."""
    sequence = plan.order.sequences[source.name]
    if sequence.sizes is None:
        raise InputError(
            f"{source.name} has no shards: the plan stands on published sizes; tokenize it first"
        )
    begin, end = source.base_windows, source.start + source.windows
    for pass_ in range(begin // sequence.capacity, -(-end // sequence.capacity)):
        table = sequence.table(pass_)
        for place, (shard, before) in enumerate(
            zip(table.shards.tolist(), table.begins.tolist(), strict=True)
        ):
            first = pass_ * sequence.capacity + before
            if first < end and first + int(sequence.sizes[shard]) > begin and sequence.sizes[shard]:
                yield f"{pass_:05d}-{place:07d}.ds", shard


def _link_folder(
    folder: Path,
    source: str,
    names: list[tuple[str, int]],
    paths: dict[tuple[str, int], str | None],
    bundle: Path,
    root: Path | None,
) -> None:
    temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    with storage_errors(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, ordinal in names:
            path = paths[source, ordinal]
            if path is None:
                raise InputError(f"{source}/{ordinal} has no file: the plan stands on published sizes")
            target = shard_path(bundle, path, root).resolve()
            (temporary / name).symlink_to(os.path.relpath(target, folder.resolve()))
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
