"""Scaling of tokenization: the same job on one core with one worker and on two with two, by the clock.

    python benchmarks/bench_tokenize_workers.py              600 MB of distinct text of this machine
    python benchmarks/bench_tokenize_workers.py --mb 1500    start-up weighs less
    python benchmarks/bench_tokenize_workers.py --text FOLDER    text files of another folder too

A job is one ``smoltok build``, from the start of its interpreter to its end, with caches cold, held to as
many cores as it has workers; one and two take turns. Start-up (about a second: imports and one load of the
engine, which the workers share) is no work that can be divided. So the ratio is given twice: of whole jobs,
and of what a larger job takes longer than a small one, in which start-up cancels out.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench_tokenize import FILES, ONE_THREAD, make_documents, texts_below

ROUNDS = 3
SMALL_SHARE = 4
"""One file of so many is the small job."""


def roots() -> list[Path]:
    """Return where this machine has text: the environment, the standard library, the system's packages."""
    named = [Path(sysconfig.get_paths()[name]) for name in ("purelib", "stdlib")]
    return [*named, Path("/usr/include"), Path("/usr/share"), Path("/usr/lib")]


def job(documents: Path, workers: int) -> dict[str, float]:
    """Make all shards of a documents folder in a fresh interpreter, on as many cores as workers."""
    code = "from smoltok.cli import main; main()"
    with tempfile.TemporaryDirectory(dir=documents.parent) as tokens:
        options = ["--documents", str(documents), "--tokens", tokens, "--workers", str(workers), "--json"]
        command = [sys.executable, "-c", code, "build", *options]
        before, start = processor_seconds(), time.perf_counter()
        with cores(workers):
            done = subprocess.run(
                command, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True
            )
        wall, cpu = time.perf_counter() - start, processor_seconds() - before
    megabytes = sum(report["text_bytes"] for report in json.loads(done.stdout)) / 1e6
    print(
        f"{workers} workers, {megabytes:6.0f} MB: {wall:6.2f} s by the clock, {cpu:6.2f} s of processors",
        flush=True,
    )
    return {"wall_s": wall, "cpu_s": cpu}


def processor_seconds() -> float:
    """Return what all children took that have ended, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Hold what is started in the block to so many cores."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(every)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


def corpora(folder: Path, megabytes: int, more: list[Path]) -> tuple[Path, Path]:
    """Write the large job's documents and the small one's, every fourth file of them."""
    texts = texts_below([*more, *roots()], megabytes)
    files = {f"{i:05d}.parquet": texts[i :: 2 * FILES] for i in range(2 * FILES)}
    make_documents(folder / "large", "text", files)
    make_documents(folder / "small", "text", dict(list(files.items())[::SMALL_SHARE]))
    return folder / "large", folder / "small"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=600, help="text of the large job")
    parser.add_argument(
        "--text", type=Path, action="append", default=[], help="a folder to read text from first"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        large, small = corpora(Path(folder), options.mb, options.text)
        best: dict[tuple[Path, int], dict[str, float]] = {}
        for _ in range(options.rounds):
            for documents in (large, small):
                for workers in (1, 2):
                    result = job(documents, workers)
                    kept = best.setdefault((documents, workers), result)
                    best[documents, workers] = min(kept, result, key=lambda row: row["wall_s"])
    wall = {key: row["wall_s"] for key, row in best.items()}
    cpu = {key: row["cpu_s"] for key, row in best.items()}
    rounds = f"(best of {options.rounds})"
    print(f"two workers, whole jobs     {wall[large, 1] / wall[large, 2]:.2f} times one {rounds}")
    more = {workers: wall[large, workers] - wall[small, workers] for workers in (1, 2)}
    print(f"two workers, less start-up  {more[1] / more[2]:.2f} times one")
    print(f"processors' seconds         {cpu[large, 2] / cpu[large, 1]:.2f} times one worker's")


if __name__ == "__main__":
    main()
