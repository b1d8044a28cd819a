"""Scaling of tokenization over processes: the same job with one worker and with two, by the clock.

    python benchmarks/bench_tokenize_workers.py              600 MB of distinct text of this machine
    python benchmarks/bench_tokenize_workers.py --mb 1500    start-up weighs less
    python benchmarks/bench_tokenize_workers.py --text FOLDER    text files of another folder too

A job is a process of its own, from the start of its interpreter to its end, with caches cold; one and two
workers take turns, and each worker has one thread. Start-up (1 to 1.5 s: imports and one load of the engine,
which the workers share) is no work that can be divided. So the ratio is given twice: of whole jobs, and of
what a larger job takes longer than a small one, in which start-up cancels out.
"""

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from fractions import Fraction
from pathlib import Path

from bench_tokenize import FILES, ONE_THREAD, figures, make_documents, sources_of, texts_below

ROUNDS = 2
SMALL_SHARE = 4
"""One file of so many is the small job."""


def roots() -> list[Path]:
    """Return where this machine has text: the environment, the standard library, the system's packages."""
    named = [Path(sysconfig.get_paths()[name]) for name in ("purelib", "stdlib")]
    return [*named, Path("/usr/include"), Path("/usr/share"), Path("/usr/lib")]


def job(documents: Path, workers: int) -> dict[str, float]:
    """Make all shards of a documents folder; runs in a process of its own."""
    from smoltok.build import build_all

    with tempfile.TemporaryDirectory(dir=documents.parent) as folder:
        cpu, start = time.process_time(), time.perf_counter()
        reports = build_all(
            sources_of(documents),
            documents=documents,
            tokens=Path(folder),
            validation_share=Fraction(1, 100),
            workers=workers,
        )
        return figures(cpu, start, sum(report.text_bytes for report in reports))


def timed(documents: Path, workers: int) -> dict[str, float]:
    """Run a job in a fresh interpreter; its seconds by the clock are of all of it."""
    command = [sys.executable, __file__, "--job", str(workers), "--documents", str(documents)]
    start = time.perf_counter()
    done = subprocess.run(command, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout) | {"wall_s": time.perf_counter() - start}
    print(
        f"{workers} workers, {result['mb']:6.0f} MB: {result['wall_s']:6.2f} s by the clock, "
        f"{result['cpu_s']:6.2f} s of processors",
        flush=True,
    )
    return result


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
    parser.add_argument("--job", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--documents", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(job(options.documents, options.job)))
        return
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        large, small = corpora(Path(folder), options.mb, options.text)
        best: dict[tuple[Path, int], dict[str, float]] = {}
        for _ in range(ROUNDS):
            for documents in (large, small):
                for workers in (1, 2):
                    result = timed(documents, workers)
                    kept = best.setdefault((documents, workers), result)
                    best[documents, workers] = min(kept, result, key=lambda row: row["wall_s"])
    wall = {key: row["wall_s"] for key, row in best.items()}
    cpu = {key: row["cpu_s"] for key, row in best.items()}
    print(f"two workers, whole job      {wall[large, 1] / wall[large, 2]:.2f} times one (best of {ROUNDS})")
    more = {workers: wall[large, workers] - wall[small, workers] for workers in (1, 2)}
    print(f"two workers, less start-up  {more[1] / more[2]:.2f} times one")
    print(f"processors' seconds         {cpu[large, 2] / cpu[large, 1]:.2f} times one worker's")


if __name__ == "__main__":
    main()
