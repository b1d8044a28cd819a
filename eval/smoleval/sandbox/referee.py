"""Runs in the second sandbox: the tests, with the functions under test replaced by calls into the first.

The verdict goes to standard output, which the program under test does not have. Standard library only; the
file is copied into the sandbox.
"""

import builtins
import json
import os
import sys
from pathlib import Path
from typing import Any

from wire import WireError, decode, encode, receive, send  # type: ignore[import-not-found]


class Function:
    """A function of the program under test."""

    def __init__(self, name: str, calls: Any, answers: Any) -> None:
        """Call it over a pipe: ``calls`` is written, ``answers`` read."""
        self.__name__ = name
        self._calls, self._answers = calls, answers

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call it there: the same value, the same exception, the same change of a mutable argument."""
        values = list(arguments)
        send(self._calls, {"name": self.__name__, "arguments": encode(values), "named": encode(named)})
        answer = receive(self._answers)
        if answer is None:
            raise Ended("the program ended")
        if "raised" in answer:
            raise _exception(answer)
        for mine, theirs in zip(arguments, decode(answer.get("arguments")) or (), strict=False):
            _update(mine, theirs)
        return decode(answer.get("value"))


class Ended(BaseException):
    """The program under test is gone. No Exception: tests must not catch it."""


def _exception(answer: dict[str, Any]) -> Exception:
    kind = getattr(builtins, str(answer["raised"]), None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = RuntimeError
    try:
        return kind(str(answer.get("text")))
    except TypeError:  # some take other arguments
        return RuntimeError(f"{answer['raised']}: {answer.get('text')}")


def _update(mine: Any, theirs: Any) -> None:
    if type(mine) is not type(theirs):
        return
    if isinstance(mine, list):
        mine[:] = theirs
    elif isinstance(mine, dict | set):
        mine.clear()
        mine.update(theirs)


def main() -> None:
    """Run the tests and print the verdict."""
    plan = json.loads(Path("plan.json").read_text(encoding="utf-8"))
    verdict_file = os.dup(1)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream.fileno())
    answers, calls = os.fdopen(3, "rb"), os.fdopen(4, "wb")
    verdict = _verdict(plan, {name: Function(name, calls, answers) for name in plan["functions"]})
    os.write(verdict_file, json.dumps(verdict).encode())
    os._exit(0)


def _verdict(plan: dict[str, Any], functions: dict[str, Any]) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "tests"}
    try:
        exec(compile(plan["prelude"], "prelude", "exec"), namespace)  # noqa: S102 - in a sandbox
        namespace.update(functions)
        exec(compile(plan["tests"], "tests", "exec"), namespace)  # noqa: S102 - in a sandbox
    except Ended as error:
        return {"passed": False, "reason": "ended", "detail": str(error)}
    except WireError as error:
        return {"passed": False, "reason": "failed", "detail": str(error)}
    except BaseException as error:  # noqa: BLE001 - any error of a test is a verdict
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return {"passed": False, "reason": "failed", "detail": text[:500]}
    return {"passed": True, "reason": "passed", "detail": ""}


main()
