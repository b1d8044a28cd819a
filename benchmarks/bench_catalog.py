"""Speed of the main job and of the catalog at full size: a million shards, 100 million documents.

    python benchmarks/bench_catalog.py

1. `make mixture STAGE=2 PROFILE=full` with published sizes cut into virtual shards so small that there are a
   million: whole processes, best of three after one that leaves the bytecode, as an installation has it; wall
   time, CPU time and peak memory. On a busy machine compare the CPU time.
2. A catalog over 100 million documents: 1,000 shards of 100,000 documents with sidecars of the real schema
   (one file, linked: the disk holds it once). Each view that stands on aggregates, whole, best of two.
3. `docs_at` for one batch of 576 windows out of a million shards of 10,000 documents, with the variable that
   names its sidecars; only those lie there, since it reads no others. Best of five.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smolmix.catalog import VIEWS, write_catalog
from smolmix.plan_files import write_plan
from smolmix.planner import chain, plan_stage
from smolmix.recipe import load_recipe
from smolmix.sources import names_of, supply_from_manifests, tokenizer_facts
from smoltok.manifest import TOKEN_MANIFEST_SCHEMA

VIRTUAL_TOKENS = 5_300_000
"""Tokens of a virtual shard in part 1, in place of 10**9."""
DOCUMENT_TOKENS = 1_100
_CHILD = (
    "import sys; from smolmix import supply, quick; "
    "supply.VIRTUAL_SHARD_TOKENS = int(sys.argv.pop(1)); quick.main()"
)


def main_job(folder: Path) -> None:
    """Time whole processes of the main job."""
    best: tuple[float, float, float] | None = None
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    for number in range(4):
        build = folder / f"full-{number}"
        arguments = ["build", "--stage", "2", "--profile", "full", "--build", str(build), "--quiet"]
        start = time.monotonic()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", _CHILD, str(VIRTUAL_TOKENS), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        seen = (time.monotonic() - start, cpu, after.ru_maxrss / 1024)
        if number:  # the first one compiles
            best = seen if best is None or seen[0] < best[0] else best
        shards = pq.read_metadata(build / "full/plans/stage2-blog/shards.parquet").num_rows
    assert best is not None, "three runs"
    print(f"main job, {shards:,} shards: {best[0]:.2f} s, {best[1]:.2f} s of CPU, peak {best[2]:.0f} MB")


def write_manifests(tokens: Path, shards: int, documents: int) -> None:
    """Write the manifests of every source of stage 2 and of the stages before: equal shards."""
    last = load_recipe("2")
    names = names_of(stage.recipe for stage in chain(last))
    facts = tokenizer_facts(last.tokenizer, last.path.parent)
    share = last.validation
    for number, name in enumerate(names):
        rows = shards // len(names) + (number < shards % len(names))
        size = documents * DOCUMENT_TOKENS
        values: dict[str, Any] = {
            "format_version": 1, "source": name, "split": "train", "bytes": 4 * size, "tokens": size,
            "documents": documents, "text_bytes": 4 * size, "text_characters": 4 * size, "sha256": "",
            "index_xxh3_128": "", "metadata_xxh3_128": "", "docs_xxh3_128": "", "tokenizer": facts.name,
            "tokenizer_sha256": facts.sha256, "eos_id": facts.eos_id, "token_width": facts.token_width,
            "vocab_size": facts.vocab_size, "validation_share": f"{share.numerator}/{share.denominator}",
            "input_path": "00000.parquet", "input_xxh3_128": "", "document_order": "file",
            "code_version": "bench",
        }  # fmt: skip
        columns = {
            field.name: pa.repeat(pa.scalar(values[field.name], field.type), rows)
            for field in TOKEN_MANIFEST_SCHEMA
            if field.name in values
        }
        columns["path"] = pa.array([f"{one:05d}.ds" for one in range(rows)])
        columns["xxh3_128"] = pa.array([f"{number:04x}{one:028x}" for one in range(rows)])
        table = pa.table(
            [columns[field.name] for field in TOKEN_MANIFEST_SCHEMA], schema=TOKEN_MANIFEST_SCHEMA
        )
        (tokens / name).mkdir(parents=True)
        pq.write_table(table, tokens / name / "manifest.parquet", compression="zstd")


def write_plans(build: Path) -> None:
    """Plan stage 1 and stage 2 on the manifests, and list the bundle's shards as the hand-off does."""
    from smolmix.bundle import _first_steps

    last = load_recipe("2")
    names = names_of(stage.recipe for stage in chain(last))
    folder = build / "hub/plans/stage2-blog"
    supply = supply_from_manifests(last, names, build / "hub/tokens/llama-3.2", folder)
    for plan in plan_stage(last, supply, profile="hub"):
        write_plan(plan, build / f"hub/plans/{plan.name}-{plan.preset}")
    shards = pq.read_table(folder / "shards.parquet")
    kept = ("source", "ordinal", "path", "bytes", "tokens", "xxh3_128", "sha256")
    table = shards.select(kept).append_column("first_step", _first_steps(folder, shards))
    (build / "hub/bundles/stage2-blog").mkdir(parents=True)
    pq.write_table(table, build / "hub/bundles/stage2-blog/shards.parquet", compression="zstd")


def write_sidecar(path: Path, documents: int) -> Path:
    """Write a sidecar of that many documents, with the columns of docs/formats.md."""
    ends = np.arange(1, documents + 1, dtype=np.int64) * DOCUMENT_TOKENS
    table = {
        "begin": ends - DOCUMENT_TOKENS,
        "end": ends,
        "id": [f"00000/{one}" for one in range(documents)],
        "file": pa.repeat(pa.scalar("00000.parquet"), documents),
        "row": np.arange(documents),
        "offset": np.zeros(documents, np.int64),
    }
    pq.write_table(pa.table(table), path, compression="zstd")
    return path


def link_sidecars(source: Path, targets: Iterable[Path]) -> int:
    """Give every target the content of one file, on disk once; return how many."""
    listed = list(targets)
    for target in listed:
        os.link(source, target)
    return len(listed)


def open_catalog(build: Path) -> duckdb.DuckDBPyConnection:
    """Open it as a bare shell started in its folder does."""
    connection = duckdb.connect(str(build / "catalog.duckdb"), read_only=True)
    connection.execute("SET file_search_path = ?", [str(build)])
    return connection


def best_of(times: int, connection: duckdb.DuckDBPyConnection, *statements: str) -> tuple[float, int]:
    """Return the shortest time of running the statements, and the rows of the last one."""
    seconds, rows = [], 0
    for _ in range(times):
        start = time.monotonic()
        for statement in statements:
            rows = len(connection.execute(statement).fetchall())
        seconds.append(time.monotonic() - start)
    return min(seconds), rows


def views(folder: Path) -> None:
    """Time the views over 100 million documents."""
    build, each = folder / "views", 100_000
    tokens = build / "hub/tokens/llama-3.2"
    write_manifests(tokens, 1_000, each)
    first = write_sidecar(folder / "large.parquet", each)
    manifests = [
        (path.parent, pq.read_metadata(path).num_rows) for path in sorted(tokens.glob("*/manifest.parquet"))
    ]
    linked = link_sidecars(
        first, (source / f"{one:05d}.ds.docs.parquet" for source, rows in manifests for one in range(rows))
    )
    write_plans(build)
    start = time.monotonic()
    write_catalog(build)
    print(f"catalog over {linked * each:,} documents: written in {time.monotonic() - start:.2f} s")
    with open_catalog(build) as connection:
        slowest = ("", 0.0)
        for view in (one for one in VIEWS if one not in {"documents", "steps"}):
            seconds, rows = best_of(2, connection, f"SELECT * FROM {view}")  # noqa: S608 - our own names
            print(f"  {view:<16} {rows:>10,} rows {seconds:>8.3f} s")
            slowest = max(slowest, (view, seconds), key=lambda one: one[1])
    print(f"slowest view: {slowest[0]}, {slowest[1]:.3f} s (wanted: under 2 s)")


def lookups(folder: Path) -> None:
    """Time `docs_at` on a manifest of a million shards."""
    build = folder / "lookups"
    write_manifests(build / "hub/tokens/llama-3.2", 1_000_000, 10_000)
    write_plans(build)
    start = time.monotonic()
    write_catalog(build)
    print(f"catalog of 1,000,000 shards: written in {time.monotonic() - start:.2f} s")
    sidecar = write_sidecar(folder / "small.parquet", 10_000)
    with open_catalog(build) as connection:
        step = 300_000
        named = f"SELECT unnest(sidecars_at('stage2-blog', {step}, which_profile := 'hub'))"
        link_sidecars(sidecar, (build / path for (path,) in connection.execute(named).fetchall()))
    write_catalog(build)
    with open_catalog(build) as connection:
        order, rows = best_of(
            5, connection, f"FROM order_of_step('stage2-blog', {step}, which_profile := 'hub')"
        )
        print(f"order_of_step: {rows} windows in {1000 * order:.0f} ms")
        variable = f"SET VARIABLE sidecars = sidecars_at('stage2-blog', {step}, which_profile := 'hub')"
        seconds, rows = best_of(
            5, connection, variable, f"FROM docs_at('stage2-blog', {step}, which_profile := 'hub')"
        )
        print(f"docs_at of a million shards: {rows:,} rows in {1000 * seconds:.0f} ms (wanted: under 200 ms)")


def sample() -> None:
    """Time `docs_at` on the sample, where there is one."""
    build = Path("build")
    plans = sorted(build.glob("sample/plans/stage2-blog/plan.json"))
    if not plans:
        print("docs_at on the sample: skipped, run `make mixture STAGE=2` first")
        return
    with open_catalog(build) as connection:
        seconds, rows = best_of(5, connection, "FROM docs_at('stage2-blog', 7)")
    print(f"docs_at on the sample: {rows} documents in {1000 * seconds:.0f} ms (wanted: under 200 ms)")


def main() -> None:
    """Run all parts in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        main_job(folder)
        views(folder)
        lookups(folder)
    sample()


if __name__ == "__main__":
    main()
