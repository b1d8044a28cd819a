"""Programs a second through the sandbox: bare ones, and programs with tests, which need a verdict.

    python benchmarks/bench_sandbox.py [--programs 40 --workers 2]

Measured: the interpreter without a sandbox (the least that must be done), the same in the sandbox, and
verdicts, which need two sandboxes; one after another, and one worker a core. Rates are of this machine.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from smoleval.sandbox import Case, judge_many, run

PROGRAM = "def add(a, b):\n    return a + b\n"
TESTS = "for number in range(100):\n    assert add(number, 1) == number + 1\n"


def main() -> None:
    """Run the benchmark and print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=int, default=40)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    count, workers = given.programs, given.workers
    cases = [Case(PROGRAM, tests=TESTS, functions=("add",))] * count

    def bare() -> None:
        for _ in range(count):
            subprocess.run([sys.executable, "-I", "-S", "-c", PROGRAM], check=True)

    def boxed() -> None:
        assert all(run(PROGRAM).succeeded for _ in range(count))

    def side_by_side() -> None:
        with ThreadPoolExecutor(workers) as pool:
            assert all(outcome.succeeded for outcome in pool.map(run, [PROGRAM] * count))

    def judged() -> None:
        assert all(verdict.passed for verdict in judge_many(cases, workers))

    rates = {
        "interpreter_alone": rate(bare, count),
        "sandboxed": rate(boxed, count),
        f"sandboxed_{workers}_workers": rate(side_by_side, count),
        f"verdicts_{workers}_workers": rate(judged, count),
    }
    print(json.dumps({"unit": "programs a second", "programs": count} | rates))


def rate(act: Callable[[], None], count: int) -> float:
    """Return programs a second."""
    start = time.monotonic()
    act()
    return round(count / (time.monotonic() - start), 1)


if __name__ == "__main__":
    main()
