"""Scaling of tokenization: the same job on one core with one worker and on more with more, by the clock.

    python benchmarks/bench_tokenize_workers.py              600 MB of distinct text of this machine
    python benchmarks/bench_tokenize_workers.py --mb 1500    start-up weighs less
    python benchmarks/bench_tokenize_workers.py --workers 1,2,4,8,16
    python benchmarks/bench_tokenize_workers.py --text FOLDER    text files of another folder too

A job is one ``smoltok build``, from the start of its interpreter to its end, with caches cold, held to as
many cores as it has workers, no two of them halves of one core; all counts take turns. Start-up (about a
second: imports and one load of the engine, which the workers share) is no work that can be divided. So the
ratio is given twice: of whole jobs, and of what a larger job takes longer than a small one, in which start-up
cancels out. And it is given for the bare engine, in as many processes that share nothing, their texts in
memory: what cores that share caches and memory leave to be had.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench_tokenize import FILES, ONE_THREAD, make_documents, texts_below, texts_of

ROUNDS = 5
SMALL_SHARE = 4
"""One file of so many is the small job."""
FILE_MB = 16
"""Text of a file: small enough that no worker waits long for another's last one."""


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
    os.sched_setaffinity(0, apart(every)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


def apart(processors: set[int]) -> list[int]:
    """Return the processors in an order in which second threads of cores come last."""

    def turn(number: int) -> tuple[int, int]:
        siblings = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        with suppress(OSError):
            # "0-1" or "0,8": the processors of one core.
            first = int(siblings.read_text().replace("-", ",").split(",")[0])
            return (int(number != first), number)
        return (0, number)

    return sorted(processors, key=turn)


def bare_engines(documents: Path, count: int) -> float:
    """Return seconds that processes of the bare engine take for the texts, each its share, on a core each."""
    command = [sys.executable, __file__, "--bare", str(documents)]
    places = apart(os.sched_getaffinity(0))[:count]
    children = [
        subprocess.Popen(
            [*command, f"{number}/{count}/{place}"],
            env=os.environ | ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, place in enumerate(places)
    ]
    for child in children:
        child.stdout.readline()  # type: ignore[union-attr]  # it is ready
    start = time.perf_counter()
    for child in children:
        child.stdin.write("go\n")  # type: ignore[union-attr]
        child.stdin.flush()  # type: ignore[union-attr]
    for child in children:
        child.wait()
    return time.perf_counter() - start


def bare_engine(documents: Path, share: str) -> None:
    """Encode one share of the texts when told to: ``number/of how many/processor``."""
    from smoltok import LLAMA_3_2
    from smoltok.engines import load

    number, count, place = (int(part) for part in share.split("/"))
    os.sched_setaffinity(0, [place])
    engine = load(LLAMA_3_2)
    batches = [batch for at, batch in enumerate(texts_of(documents, 1e18)) if at % count == number]
    print("ready", flush=True)
    sys.stdin.readline()
    for batch in batches:
        engine.encode_flat(batch)
    os._exit(0)  # Giving memory back is no part of it.


def corpora(folder: Path, megabytes: int, more: list[Path]) -> tuple[Path, Path]:
    """Write the large job's documents and the small one's, every fourth file of them."""
    texts = texts_below([*more, *roots()], megabytes)
    count = max(2 * FILES, megabytes // FILE_MB)
    files = {f"{i:05d}.parquet": texts[i::count] for i in range(count)}
    make_documents(folder / "large", "text", files)
    make_documents(folder / "small", "text", dict(list(files.items())[::SMALL_SHARE]))
    return folder / "large", folder / "small"


@dataclass(frozen=True, slots=True)
class Ratios:
    """Ratios of figures that were taken in turns."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, above: list[float], below: list[float]) -> "Ratios":
        """Return the ratio of each round."""
        return cls(tuple(a / b for a, b in zip(above, below, strict=True)))

    def __str__(self) -> str:
        """Return median, least and most."""
        return f"{median(self.values):.2f} ({min(self.values):.2f}-{max(self.values):.2f})"


def seconds(runs: list[dict[str, float]]) -> list[float]:
    """Return what each run took by the clock."""
    return [run["wall_s"] for run in runs]


def differences(
    jobs: dict[tuple[Path, int], list[dict[str, float]]], large: Path, small: Path, count: int
) -> list[float]:
    """Return what the large job took longer than the small one, round for round."""
    pairs = zip(seconds(jobs[large, count]), seconds(jobs[small, count]), strict=True)
    return [more - less for more, less in pairs]


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
    parser.add_argument("--workers", default="1,2", help="counts of workers; the first is compared with")
    parser.add_argument("--bare", nargs=2, metavar=("DOCUMENTS", "SHARE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bare_engine(Path(options.bare[0]), options.bare[1])
    counts = [int(count) for count in options.workers.split(",")]
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        large, small = corpora(Path(folder), options.mb, options.text)
        jobs: dict[tuple[Path, int], list[dict[str, float]]] = {}
        bare: dict[int, list[float]] = {}
        for _ in range(options.rounds):
            for documents, count in itertools.product((large, small), counts):
                jobs.setdefault((documents, count), []).append(job(documents, count))
            for count in counts:
                bare.setdefault(count, []).append(bare_engines(large, count))
    print(f"workers against {counts[0]}: medians of {options.rounds} rounds, least and most of them")
    for count in counts[1:]:
        whole = Ratios.of(seconds(jobs[large, counts[0]]), seconds(jobs[large, count]))
        rest = Ratios.of(differences(jobs, large, small, counts[0]), differences(jobs, large, small, count))
        engine = Ratios.of(bare[counts[0]], bare[count])
        print(f"{count:3} workers  whole jobs {whole}   less start-up {rest}   bare engine {engine}")


if __name__ == "__main__":
    main()
