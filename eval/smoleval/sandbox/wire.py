"""Python values <-> JSON text, as data only: what a program under test and its tests say to one another.

Decoding builds nothing but plain values, so an object that claims to equal everything cannot pass. Standard
library only; the file is copied into both sandboxes.
"""

import json
import sys
from collections import deque
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import IO, Any

_HEADER_BYTES = 8
_LONGEST_ITERATOR = 100_000
LONGEST_MESSAGE = 64 << 20
_PLAIN: tuple[type, ...] = (int, float, str)

sys.set_int_max_str_digits(0)


class WireError(Exception):
    """A value or a message that cannot go over the wire."""


def encode(value: Any) -> Any:
    """Return a JSON-able form. Subclasses become their plain type; iterators are read to their end."""
    if value is None or isinstance(value, bool):
        return value
    plain = next((kind for kind in _PLAIN if isinstance(value, kind)), None)
    if plain is not None:
        return plain(value)
    for tag, (kind, parts) in _KINDS.items():
        if isinstance(value, kind):
            return [tag, parts(value)]
    name = type(value).__name__
    if type(value).__module__ == _NUMBERS.get(name):  # imported by the program, or there would be none
        return [name, str(value)]
    if callable(getattr(value, "tolist", None)):  # numpy
        return encode(value.tolist())
    if isinstance(value, Iterator):
        return ["iterator", _few(value)]
    raise WireError(f"a value of type {type(value).__name__} is no plain data")


def _all(values: Any) -> list[Any]:
    return [encode(value) for value in values]


def _few(values: Iterator[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if len(found) == _LONGEST_ITERATOR:
            raise WireError(f"an iterator has more than {_LONGEST_ITERATOR:,} values")
        found.append(encode(value))
    return found


def _pairs(values: Any) -> list[Any]:
    return [[encode(key), encode(value)] for key, value in values.items()]


_KINDS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "list": (list, _all),
    "tuple": (tuple, _all),
    "dict": (dict, _pairs),
    "set": (set, _all),
    "frozenset": (frozenset, _all),
    "deque": (deque, _all),
    "range": (range, lambda value: [value.start, value.stop, value.step]),
    "bytes": (bytes, bytes.hex),
    "complex": (complex, lambda value: [value.real, value.imag]),
}
_NUMBERS = {"Decimal": "decimal", "Fraction": "fractions"}
_MAKERS: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "iterator": iter,
}
_SIMPLE: dict[str, Callable[[Any], Any]] = {
    "range": lambda parts: range(*map(int, parts)),
    "bytes": bytes.fromhex,
    "complex": lambda parts: complex(*map(float, parts)),
}


def decode(form: Any) -> Any:
    """Return the value of a form. Raises :class:`WireError` for anything that :func:`encode` cannot give."""
    if form is None or isinstance(form, bool | int | float | str):
        return form
    if not (isinstance(form, list) and len(form) == 2 and isinstance(form[0], str)):  # noqa: PLR2004 - a tag and its parts
        raise WireError("a message is no encoded value")
    tag, parts = form
    try:
        if tag in _MAKERS:
            return _MAKERS[tag]([decode(part) for part in parts])
        if tag == "dict":
            return {decode(key): decode(value) for key, value in parts}
        if tag in _NUMBERS:
            return getattr(import_module(_NUMBERS[tag]), tag)(str(parts))
        return _SIMPLE[tag](parts)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise WireError(f"a message is no encoded value: {type(error).__name__}") from error


def send(file: IO[bytes], message: dict[str, Any]) -> None:
    """Write one message."""
    data = json.dumps(message).encode()
    file.write(f"{len(data):0{_HEADER_BYTES}x}".encode() + data)
    file.flush()


def receive(file: IO[bytes]) -> dict[str, Any] | None:
    """Read one message; None at the end. Raises :class:`WireError` for what is none."""
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        return None
    try:
        size = int(header, 16)
        if not 0 <= size <= LONGEST_MESSAGE:
            raise WireError(f"a message of {size:,} bytes, at most {LONGEST_MESSAGE:,} are read")
        data = file.read(size)
        if len(data) < size:
            return None
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a message is no JSON: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise WireError("a message is no JSON object")
    return message
