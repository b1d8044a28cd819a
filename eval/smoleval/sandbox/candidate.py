"""Runs in the first sandbox: the program under test, whose functions are called from the second one.

The program may do here whatever it likes: it only gets arguments, and only values go back. Standard library
only; the file is copied into the sandbox.
"""

import os
import sys
from pathlib import Path
from typing import Any

from wire import WireError, decode, encode, receive, send  # type: ignore[import-not-found]


def main() -> None:
    """Define the program's functions, then answer calls until the other side ends."""
    calls, answers = os.fdopen(3, "rb"), os.fdopen(4, "wb")
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        descriptor = os.open(os.devnull, os.O_RDWR)
        os.dup2(descriptor, stream.fileno())
    namespace: dict[str, Any] = {"__name__": "candidate"}
    failure = _attempt(lambda: exec(_program(), namespace))  # noqa: S102 - the sandbox is what this is for
    while (message := receive(calls)) is not None:
        send(answers, failure or _answer(namespace, message))
    os._exit(0)


def _program() -> Any:
    return compile(Path("program.py").read_bytes(), "program.py", "exec")


def _attempt(act: Any) -> dict[str, Any] | None:
    """Return how it failed, or None."""
    try:
        act()
    except BaseException as error:  # noqa: BLE001 - whatever the program raises is its answer
        return _raised(error)
    return None


def _raised(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    known = next((base.__name__ for base in kind.__mro__ if base.__module__ == "builtins"), "Exception")
    try:
        text = str(error)[:500]
    except BaseException:  # noqa: BLE001 - so may be the text of an error
        text = ""
    return {"raised": known, "text": text}


def _answer(namespace: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    try:
        arguments, named = decode(message["arguments"]), decode(message["named"])
        before = message["arguments"]
        value = _function(namespace, message["name"])(*arguments, **named)
        answer: dict[str, Any] = {"value": encode(value)}
        changed = _changed(arguments, before)
        return answer | ({"arguments": changed} if changed is not None else {})
    except BaseException as error:  # noqa: BLE001 - whatever the program raises is its answer
        return _raised(error)


def _changed(arguments: list[Any], before: Any) -> Any:
    """Return the arguments' encoding if the function changed one in place."""
    try:
        after = encode(arguments)
    except WireError:
        return None
    return after if after != before else None


def _function(namespace: dict[str, Any], name: str) -> Any:
    if name in namespace:
        return namespace[name]
    if "Solution" in namespace:
        return getattr(namespace["Solution"](), name)
    raise NameError(f"the program defines no {name}")


main()
