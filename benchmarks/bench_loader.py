"""Speed of the loader: windows a second of CPU, time of a batch, start-up, memory.

    python benchmarks/bench_loader.py

Writes 200 MB of tokens (uint32, an EOS every 600 on average) to a temporary folder, one file a source under
64 names, so that a pass is as long as in a real run; plans stage 1 on them at 4,096 tokens, and reads whole
steps from the page cache as one of 1, 64 and 192 ranks; then opens a bundle of a million shards. Figures are
of one process with one thread.
"""

import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from smolmix.plan import Plan
from smolmix.plan_files import write_plan
from smolmix.planner import plan_stage
from smolmix.recipe import load_recipe
from smolmix.sources import names_of, tokenizer_facts
from smolmix.supply import SourceSupply, Supply
from smoltrain.loader import open_loader

SHARD_TOKENS = 1_220_000
STEPS = 300
NAMES = 64


def supply(shards: int, folder: Path | None) -> Supply:
    """Return shards for every source of stage 1; real files if there is a folder to write them to."""
    recipe = load_recipe("1")
    names = names_of([recipe])
    each = shards // len(names)
    sources = {name: _source(name, each, folder) for name in names}
    return Supply(sources, tokenizer_facts(recipe.tokenizer, recipe.path.parent), recipe.validation)


def _source(name: str, shards: int, folder: Path | None) -> SourceSupply:
    paths = [f"{name}-{number:05d}.ds" for number in range(shards)]
    if folder is not None:
        rng = np.random.default_rng(len(name))
        ids = rng.integers(0, 128_000, SHARD_TOKENS, dtype=np.uint32)
        ids[rng.random(SHARD_TOKENS) < 1 / 600] = 128_001
        ids.tofile(folder / paths[0])
        for path in paths[1:]:
            (folder / path).hardlink_to(folder / paths[0])
    empty = pa.repeat(pa.scalar(""), shards)
    files = {
        "path": pa.array(paths),
        "documents": pa.nulls(shards, pa.int64()),
        "bytes": pa.repeat(pa.scalar(SHARD_TOKENS * 4), shards),
        "xxh3_128": empty,
        "sha256": empty,
    }
    return SourceSupply(name, np.full(shards, SHARD_TOKENS, np.int64), files=files)


def write_bundle(plan: Plan, folder: Path) -> Path:
    """Write what the loader reads of a bundle, without hashing the shards."""
    write_plan(plan, folder / "plan")
    (folder / "shards.parquet").write_bytes((folder / "plan" / "shards.parquet").read_bytes())
    (folder / "bundle.json").write_text(json.dumps({"format_version": 1, "lock": plan.lock.hash}))
    return folder


def planned(shards: int, folder: Path, *, real: bool) -> Path:
    """Plan stage 1 on that many shards and write its bundle."""
    folder.mkdir(parents=True)
    recipe = load_recipe("1")
    budget = f"{STEPS} steps"
    plan = plan_stage(recipe, supply(shards, folder if real else None), profile="hub", budget=budget)[-1]
    return write_bundle(plan, folder)


def read(bundle: Path, world_size: int) -> None:
    """Read the stage twice and print the second round's figures."""
    loader = open_loader(bundle, world_size=world_size)
    for final in (False, True):
        times, busy = [], []
        for step in range(STEPS):
            start, begun = time.perf_counter(), time.process_time()
            ids = loader.batch(step).ids
            times.append(time.perf_counter() - start)
            busy.append(time.process_time() - begun)
        if final:
            middle, late = np.percentile(times, [50, 99]) * 1e3
            alone = np.percentile(busy, 99) * 1e3
            share, speed = (
                f"{world_size:>4} ranks, {len(ids):>3} windows a batch",
                STEPS * len(ids) / sum(busy),
            )
            print(f"{share}: {speed:>8,.0f} windows a CPU second;", end="")
            print(
                f" a batch takes {middle:.2f} ms (median), {late:.2f} ms (99 %), {alone:.2f} ms of CPU (99 %)"
            )


def memory(bundle: Path) -> str:
    """Read the stage four times over as one of 192 ranks; return how the process's own memory grew."""
    loader, seen = open_loader(bundle, world_size=192), []
    for _ in range(4):
        for step in range(STEPS):
            loader.batch(step)
        seen.append(own_memory_kb())
    return f"{4 * STEPS} batches of 3 windows, own memory after each {STEPS}: {seen} KB"


def own_memory_kb() -> int:
    """Return resident memory without mapped files (Linux)."""
    fields = Path("/proc/self/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * resource.getpagesize() // 1024


def main() -> None:
    """Run every part."""
    with tempfile.TemporaryDirectory() as folder:
        small = planned(41 * NAMES, Path(folder) / "small", real=True)
        for world_size in (1, 64, 192):
            read(small, world_size)
        print(f"memory over {memory(small)}")
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"peak memory {peak_mb} MB, with the mapped shards")
        large = planned(1_000_000, Path(folder) / "large", real=False)
        start = time.perf_counter()
        loader = open_loader(large)
        loader.places(STEPS - 1)
        print(f"open a million shards and look up a step: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
