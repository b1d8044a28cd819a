"""Texts -> scores by a small head on the mean of an encoder's tokens: FineWeb2-HQ's classifiers.

As epfml/fineweb2-hq asks them: the first ``max_length`` tokens of a text, the mean of the encoder's last
hidden states over them, two linear layers with a rectifier between, the logistic function. Heads are files of
791 kB in PyTorch's format (``fra_Latn.pt`` and 20 others), pinned by sha256. Such a file is a zip archive
with a pickle that says which tensor lies where: it is disassembled and never run, and only four float tensors
of the head's names are taken. safetensors are read as well. Cost: the encoder's.
"""

import pickletools
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from smoldata.errors import InputError, IntegrityError
from smoldata.files import sha256
from smoldata.scoring.encoder import Encoder, checked_length, device_of, load_parts

NAMES: Final = ("classifier.0.weight", "classifier.0.bias", "classifier.3.weight", "classifier.3.bias")
"""Tensors of a head: [hidden, width], [hidden], [1, hidden], [1]; between them a rectifier and a dropout."""
_STRINGS: Final = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_GETS: Final = ("BINGET", "LONG_BINGET")
_PUTS: Final = ("BINPUT", "LONG_BINPUT")  # torch.save writes protocol 2


@cache
def load_pooled(
    model: str, revision: str | None, head: Path, digest: str, device: str = "auto", max_length: int = 512
) -> Encoder:
    """Return an encoder with a head on the mean of its tokens; loaded once a process.

    Raises:
        InputError: one of both cannot be loaded, or they don't fit together.
        IntegrityError: the head's sha256 is not ``digest``.
    """
    from transformers import AutoModel

    tensors = read_head(head, digest)
    where = device_of(device)
    tokenizer, encoder = load_parts(model, revision, where, AutoModel)
    width = int(encoder.config.hidden_size)
    hidden = tensors[NAMES[1]].shape[0]
    wanted = ((hidden, width), (hidden,), (1, hidden), (1,))
    found = tuple(tuple(tensors[name].shape) for name in NAMES)
    if found != wanted:
        raise InputError(f"{head}: tensors of shapes {found}; want {wanted}: {model} is {width} wide")
    length = checked_length(tokenizer, encoder.config, max_length)
    return Encoder(encoder, tokenizer, where, length, tuple(tensors[name].to(where) for name in NAMES))


def read_head(path: Path, digest: str) -> dict[str, Any]:
    """Return the tensors of a head, float32, by :data:`NAMES`.

    Raises:
        InputError: there is no such file, or it is no head.
        IntegrityError: its sha256 is not ``digest``.
    """
    if not path.is_file():
        raise InputError(f"no head at {path}; fetch it and give its path and sha256")
    seen = sha256(path)
    if seen != digest.lower():
        raise IntegrityError(f"{path} has sha256 {seen}, wanted {digest}; fetch it again, or pin this one")
    try:
        tensors = _safetensors(path) if path.suffix == ".safetensors" else _archive(path)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no head with float tensors {', '.join(NAMES)}: {error}") from error
    return {name: tensors[name].float() for name in NAMES}


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(error) from error
    return {name: found[name] for name in NAMES}


def _archive(path: Path) -> dict[str, Any]:
    """Return the tensors of a state dict that ``torch.save`` wrote."""
    import torch

    tensors = {}
    with zipfile.ZipFile(path) as archive:
        listing = next((name for name in archive.namelist() if name.endswith("/data.pkl")), "data.pkl")
        folder = listing.removesuffix("data.pkl")
        for name, place, shape in _places(archive.read(f"{folder}data.pkl")):
            data = bytearray(archive.read(f"{folder}data/{place}"))
            values = torch.frombuffer(data, dtype=torch.float32)
            tensors[name] = values.reshape(shape)
    missing = set(NAMES) - set(tensors)
    if missing:
        raise KeyError(", ".join(sorted(missing)))
    return tensors


def _places(pickled: bytes) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield name, member and shape of each whole float32 tensor of a head.

    Reads the pickle's instructions as a list of words and numbers. A tensor is its name, then ``storage``,
    the storage's kind, its member, ``cpu``, its length, the tensor's offset, shape and strides.
    """
    words = list(_words(pickled))
    for place, word in enumerate(words):
        if word not in NAMES:
            continue
        kinds, rest = words[place + 1 : place + 4], words[place + 4 :]
        if kinds != ["torch._utils _rebuild_tensor_v2", "storage", "torch FloatStorage"]:
            raise ValueError(f"{word} is stored as {kinds}, not as a plain float tensor")
        member, _, length, offset, *numbers = rest[:8]
        shape = _shape(numbers, ndim=2 if word.endswith("weight") else 1)
        if offset != 0 or shape is None or _product(shape) != length:
            raise ValueError(f"{word} is a part of something larger")
        yield str(word), str(member), shape


def _shape(numbers: list[Any], ndim: int) -> tuple[int, ...] | None:
    """Return the shape out of shape and strides; None if the tensor is not laid out row by row."""
    shape, strides = numbers[:ndim], numbers[ndim : 2 * ndim]
    if not all(isinstance(number, int) for number in (*shape, *strides)):
        return None
    wanted = [_product(tuple(shape[axis + 1 :])) for axis in range(ndim)]
    return tuple(shape) if strides == wanted else None


def _product(numbers: tuple[int, ...]) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result


def _words(pickled: bytes) -> Iterator[str | int]:
    """Yield the strings, numbers and names that a pickle's instructions put on its stack, in order."""
    memory: dict[int, Any] = {}
    last: Any = None
    for instruction, argument, _ in pickletools.genops(pickled):
        name = instruction.name
        if name in _PUTS:
            memory[int(argument or 0)] = last
            continue
        last = None
        if name in _STRINGS or name in ("GLOBAL", "BININT", "BININT1", "BININT2"):
            last = argument
        elif name in _GETS:
            last = memory[int(argument or 0)]
        if last is not None:
            yield last
