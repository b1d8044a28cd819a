"""A program and its tests -> a verdict that the program cannot forge.

Tests that call functions run in a second sandbox: the program gets arguments through a pipe and gives back
values, nothing else; expected values, the comparison and the verdict are out of its reach. Programs that
read standard input are compared here, by their output. A passing program may still be wrong where the tests
don't look; a failing one can't pass by leaving early, printing, or returning objects that equal everything.
"""

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path

from smoleval.sandbox.limits import Limits, Outcome
from smoleval.sandbox.runner import check_machine, run

_HERE = Path(__file__).parent
_BOTH = {"wire.py": (_HERE / "wire.py").read_bytes()}


@dataclass(frozen=True, slots=True)
class Case:
    """A program and how it is tested: by ``tests`` that call its functions, or by ``exchanges``."""

    program: str
    tests: str = ""
    """Python code that raises where the program is wrong."""
    functions: tuple[str, ...] = ()
    """Names of the program's functions, or of methods of its class ``Solution``, that the tests call."""
    prelude: str = ""
    """Code that the tests build upon; it is ours or the benchmark's, never the model's."""
    exchanges: tuple[tuple[str, str], ...] = ()
    """(standard input, expected output)."""
    limits: Limits = field(default_factory=Limits)
    """For the program, of each exchange; and for its tests."""
    packages: bool = False
    """Show the program and its tests the installed packages (numpy)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a program passed all of its tests, and why not."""

    passed: bool
    reason: str
    """``passed``, ``failed``, ``ended`` (before its tests did), or what of :class:`Outcome` stopped it."""
    detail: str = ""
    wall_seconds: float = 0.0


def judge(case: Case) -> Verdict:
    """Run a program against its tests. Raises :class:`SandboxError` where the machine cannot isolate."""
    return _exchanges(case) if case.exchanges else _calls(case)


def judge_many(cases: Iterable[Case], workers: int | None = None) -> list[Verdict]:
    """Run cases side by side (by default one for each core that this process may use); in their order."""
    check_machine()
    count = workers or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(judge, case) for case in cases]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _calls(case: Case) -> Verdict:
    to_program, to_tests = os.pipe(), os.pipe()
    plan = {"tests": case.tests, "prelude": case.prelude, "functions": list(case.functions)}
    with ThreadPoolExecutor(1) as pool:
        # A descriptor is closed by the run that it was given to: then the other side reads its end.
        program = pool.submit(
            run,
            (_HERE / "candidate.py").read_text(encoding="utf-8"),
            files=_BOTH | {"program.py": case.program.encode("utf-8", "replace")},
            limits=case.limits,
            packages=case.packages,
            link=(to_program[0], to_tests[1]),
        )
        tests = run(
            (_HERE / "referee.py").read_text(encoding="utf-8"),
            files=_BOTH | {"plan.json": json.dumps(plan).encode()},
            limits=case.limits,
            packages=case.packages,
            link=(to_tests[0], to_program[1]),
        )
        return _verdict(program.result(), tests)


def _verdict(program: Outcome, tests: Outcome) -> Verdict:
    seconds = max(program.wall_seconds, tests.wall_seconds)
    if not tests.succeeded:
        stopped = program.reason if program.reason != "exit" else tests.reason
        return _failed(stopped, "the tests did not end", seconds)
    said = json.loads(tests.stdout)
    reason = said["reason"]
    if not said["passed"] and program.reason not in {"exit", "signal"}:
        reason = program.reason  # it was stopped, and its tests saw it end
    return Verdict(bool(said["passed"]), reason, str(said["detail"]), seconds)


def _exchanges(case: Case) -> Verdict:
    seconds = 0.0
    for number, (given, expected) in enumerate(case.exchanges, 1):
        outcome = run(case.program, stdin=given.encode(), limits=case.limits, packages=case.packages)
        seconds += outcome.wall_seconds
        if not outcome.succeeded:
            reason = "failed" if outcome.reason == "exit" else outcome.reason
            last = outcome.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            return _failed(reason, f"exchange {number}: {last}"[:500], seconds)
        if not same_output(outcome.stdout.decode(errors="replace"), expected):
            return _failed("failed", f"exchange {number}: another output", seconds)
    return Verdict(passed=True, reason="passed", wall_seconds=seconds)


def _failed(reason: str, detail: str, seconds: float) -> Verdict:
    return Verdict(passed=False, reason=reason, detail=detail, wall_seconds=seconds)


def same_output(given: str, expected: str) -> bool:
    """Compare as LiveCodeBench does: by lines without outer blanks, or word by word as exact numbers."""
    mine, wanted = _lines(given), _lines(expected)
    return len(mine) == len(wanted) and all(map(_same_line, mine, wanted))


def _lines(text: str) -> Sequence[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_line(mine: str, wanted: str) -> bool:
    if mine == wanted:
        return True
    try:
        return [Decimal(word) for word in mine.split()] == [Decimal(word) for word in wanted.split()]
    except InvalidOperation:
        return False
