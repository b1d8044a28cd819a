"""Speed and memory of planning and of the order, at full size.

    python benchmarks/bench_order.py            every part
    python benchmarks/bench_order.py rounds     how the number of rounds was chosen

Parts: ``plan`` plans stage 2 (after stage 1) on a million shards; ``order`` looks up the released stage 1
(1.99e9 windows) in blocks; ``index`` builds nanotron's kind of index for a stage that fits, to compare;
``bound`` checks the prefix bound at ten million positions of each full-size stage; ``rounds`` measures how
well the bijection mixes with fewer and more rounds.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from smoldata.registry import load_registry
from smolmix import permutation
from smolmix.plan import Plan, load_plan
from smolmix.plan_files import write_plan
from smolmix.planner import chain, plan_stage
from smolmix.prove import prove
from smolmix.recipe import Recipe, load_recipe
from smolmix.sources import names_of, supply_from_registry, tokenizer_facts
from smolmix.supply import SourceSupply, Supply

LOOK_UPS = 2_000_000


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long the block took."""
    start = time.perf_counter()
    yield
    print(f"{what:<58} {time.perf_counter() - start:8.3f} s")


def peak_mb() -> int:
    """Return the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def recipes_of(last: Recipe) -> list[str]:
    """Return the sources of a recipe and of all that it follows."""
    return names_of(stage.recipe for stage in chain(last))


def million_shards(recipe: Recipe, shards: int = 1_000_000) -> Supply:
    """Return real-looking shards: sizes around 40M tokens, paths and hashes as Arrow columns."""
    rng = np.random.default_rng(1)
    names = recipes_of(recipe)
    sources = {}
    for name in names:
        rows = shards // len(names)
        digits = pa.array(np.arange(rows)).cast(pa.string())
        files = {
            "path": pa.compute.binary_join_element_wise(f"../../tokens/llama-3.2/{name}/", digits, ".ds", ""),
            "documents": pa.array(rng.integers(10_000, 60_000, rows)),
            "bytes": pa.array(rng.integers(1, 2**40, rows)),
            "xxh3_128": pa.compute.binary_join_element_wise("0" * 24, digits, ""),
            "sha256": pa.repeat(pa.scalar(""), rows),
        }
        sources[name] = SourceSupply(name, rng.integers(30_000_000, 50_000_000, rows), files=files)
    return Supply(sources, tokenizer_facts(recipe.tokenizer, Path()))


def bench_plan() -> None:
    """Plan, write and load stages 1 and 2 on a million shards."""
    with timed("imports and recipes of stage 2"):
        recipe = load_recipe("2")
        chain(recipe)
    supply = million_shards(recipe)
    with timed("plan stages 1 and 2 on a million shards"):
        plans = plan_stage(recipe, supply, preset="released", profile="hub")
    with tempfile.TemporaryDirectory() as folder:
        with timed("write both plans"):
            for plan in plans:
                write_plan(plan, Path(folder) / plan.name)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.parquet"))
        with timed(f"load stage 2 and its order ({size / 1e6:.0f} MB of shards.parquet for both)"):
            loaded = load_plan(Path(folder) / "stage2")
            _ = loaded.order
        with timed("first sample index of every shard of dclm"):
            loaded.first_indices("dclm")
    print(f"peak memory of the process so far: {peak_mb()} MB")


def released_stage_1() -> Plan:
    """Return the largest stage, planned without data."""
    recipe = load_recipe("1")
    supply = supply_from_registry(recipe, recipes_of(recipe), load_registry())
    return plan_stage(recipe, supply, preset="released", profile="full")[0]


def bench_order() -> None:
    """Look up windows of the largest stage."""
    plan = released_stage_1()
    before = peak_mb()
    rng = np.random.default_rng(0)
    middle = plan.windows // 2
    questions = {
        "consecutive": np.arange(middle, middle + LOOK_UPS),
        "random": rng.integers(0, plan.windows, LOOK_UPS),
    }
    print(f"stage 1 released: {plan.windows:,} windows, {sum(s.shards for s in plan.sources):,} shards")
    for name, indices in questions.items():
        plan.at_many(indices[:1000])
        start = time.process_time()  # one thread; its own processor time, whatever else the machine does
        plan.at_many(indices)
        seconds = time.process_time() - start
        print(f"{name:<14} {LOOK_UPS / seconds / 1e6:6.2f} million look-ups a second of processor time")
    batch = np.arange(middle, middle + 576)
    with timed("one batch of 576"):
        plan.at_many(batch)
    with timed("1,000 single look-ups"):
        for index in questions["random"][:1000]:
            plan.at(int(index))
    answers = LOOK_UPS * (2 + 3 * 8) // 10**6
    print(f"the peak of memory rose by {peak_mb() - before} MB over all this; an answer is {answers} MB")


def bench_index() -> None:
    """Build a stored index of a stage, as loaders without a closed form do (int16 source, int64 place)."""
    plan = released_stage_1()
    rows = 20_000_000
    with timed(f"stored index of the first {rows:,} windows"):
        source = np.empty(rows, np.int16)
        place = np.empty(rows, np.int64)
        for begin in range(0, rows, LOOK_UPS):
            got = plan.at_many(np.arange(begin, begin + LOOK_UPS))
            source[begin : begin + LOOK_UPS] = got.source
            place[begin : begin + LOOK_UPS] = got.window
    held = source.nbytes + place.nbytes
    whole = 10 * 4_720_000 * 576 / 1e9
    tables = sum(16 * one.shards for one in plan.sources) / 1e6
    print(f"stored index: {held / 1e6:.0f} MB for {rows:,} windows, {whole:.0f} GB for all three stages")
    print(f"order:        {tables:.2f} MB of pass tables for any number of windows")


def bench_bound() -> None:
    """Check the prefix bound of the five released stages at ten million positions each."""
    recipe = load_recipe("64k")
    supply = supply_from_registry(recipe, recipes_of(recipe), load_registry())
    for plan in plan_stage(recipe, supply, preset="released", profile="full"):
        start = time.process_time()
        proof = prove(plan)
        print(
            f"{plan.name:<18} {proof.positions:>10,} positions: at most {float(proof.worst):.4f} windows off "
            f"({proof.worst_source}), proved {float(proof.bound):.4f}; {time.process_time() - start:.1f} s"
        )


def bench_rounds() -> None:
    """Print chi-square of neighbours (64 bins: 63 expected) and of place against position (225 expected)."""
    chosen = permutation.ROUNDS
    print("  size rounds  neighbours  place x position")
    for size, trials in ((1000, 300), (20_000, 40), (244_081, 6)):
        for rounds in (8, 12, 16, 20, 24, 32):
            permutation.ROUNDS = rounds  # type: ignore[misc]
            got = np.array([_quality(size, seed) for seed in range(trials)])
            print(f"{size:>6} {rounds:>6} {got[:, 0].mean():11.1f} {got[:, 1].mean():17.1f}")
    permutation.ROUNDS = chosen  # type: ignore[misc]


def _quality(size: int, seed: int) -> tuple[float, float]:
    lanes = (np.array([seed], np.uint32), np.array([99], np.uint32))
    everything = np.arange(size)
    image = permutation.permute_many(lanes, np.array([size]), np.zeros(size, np.intp), everything)
    neighbours = np.bincount(np.diff(image) % size * 64 // size, minlength=64)
    both = np.bincount(everything * 16 // size * 16 + image * 16 // size, minlength=256)
    return _chi_square(neighbours), _chi_square(both)


def _chi_square(counts: np.ndarray) -> float:
    return float(((counts - counts.mean()) ** 2 / counts.mean()).sum())


PARTS = {
    "plan": bench_plan,
    "order": bench_order,
    "index": bench_index,
    "bound": bench_bound,
    "rounds": bench_rounds,
}

if __name__ == "__main__":
    asked = sys.argv[1:] or list(PARTS)
    versions = f"Python {sys.version.split()[0]}, numpy {np.__version__}"
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {versions}")
    for part in asked:
        print(f"\n== {part}")
        PARTS[part]()
