"""nanotron's checkpoint on disk, read and written in pure safetensors: no nanotron, no GPU, no pickle.

::

    <checkpoint>/
    ├── model_config.json
    └── model/model/decoder/0/pp_block/attn/qkv_proj/model_weight_pp-rank-0-of-1_tp-rank-1-of-2.safetensors

A tensor a file, under ``data``. A tensor that is split over tensor-parallel ranks says in its metadata which
slices of the whole it holds, so that merging is copying slices, whatever the split; one that is not split has
no rank in its name. Tied weights are saved once. Read in nanotron's ``serialize/`` and
``parallel/parameters.py`` at the pinned commit. Cost: the model once in memory.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from smoldata.errors import InputError, IntegrityError

VERSION = "1.5"
"""Of nanotron's checkpoint format, at the pinned commit."""
_FILE = re.compile(r"model_(\w+?)(?:_pp-rank-(\d+)-of-(\d+)_tp-rank-(\d+)-of-(\d+))?\.safetensors")
_NUMBER = re.compile(r"(?:np\.int\d+\()?(\d+)\)?")
Slices = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """How tensor parallelism splits a tensor: along ``dim``, in parts that are split each."""

    dim: int
    parts: tuple[int, ...] = ()
    """Lengths of the parts along ``dim``; empty: one part. (Queries, keys, values are three.)"""


def read_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the whole tensors of a checkpoint by name (``model.decoder.0.pp_block...``), ranks merged.

    Raises :class:`InputError` if it is no checkpoint, :class:`IntegrityError` if a rank's file is missing.
    """
    root = checkpoint / "model"
    files: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(root.rglob("*.safetensors")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise IntegrityError(f"{path}: not a name of nanotron's checkpoint format")
        files[".".join((*path.parent.relative_to(root).parts, match[1]))].append(path)
    if not files:
        raise InputError(f"{checkpoint} is no nanotron checkpoint: no safetensors below {root}")
    return {name: _merged(name, paths) for name, paths in files.items()}


def _merged(name: str, paths: list[Path]) -> torch.Tensor:
    """Put the parts of all ranks together; they must cover the tensor exactly once."""
    match = _FILE.fullmatch(paths[0].name)
    assert match is not None, "checked when the files were listed"
    if match[5] is None:
        tensor, _ = _read(paths[0])
        return tensor
    ranks = int(match[5])
    if len(paths) != ranks:
        raise IntegrityError(
            f"{paths[0].parent}: {len(paths)} of {ranks} tensor-parallel ranks; copy the whole checkpoint"
        )
    whole, filled = None, 0
    for path in paths:
        part, metadata = _read(path)
        shape = tuple(int(one) for one in _NUMBER.findall(metadata["unsharded_shape"]))
        if whole is None:
            whole = torch.empty(shape, dtype=part.dtype)
        for local, everywhere in _pairs(metadata["local_global_slices_pairs"]):
            whole[everywhere] = part[local]
            filled += part[local].numel()
    if whole is None or filled != whole.numel():
        raise IntegrityError(
            f"{name}: the ranks' slices do not cover the tensor once; the checkpoint is damaged"
        )
    return whole


def _read(path: Path) -> tuple[torch.Tensor, dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor("data"), dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise IntegrityError(f"{path}: {error}; copy the checkpoint again") from error


def _pairs(text: str) -> Iterator[tuple[Slices, Slices]]:
    """Parse ``0,64,None|None,None,None#...;...``: local slices and where they lie in the whole."""
    for pair in text.split(";"):
        local, everywhere = pair.split("#")
        yield _slices(local), _slices(everywhere)


def _slices(text: str) -> Slices:
    numbers = ([None if one == "None" else int(one) for one in dim.split(",")] for dim in text.split("|"))
    return tuple(slice(*three) for three in numbers)


def write_weights(
    folder: Path, weights: Mapping[str, torch.Tensor], splits: Mapping[str, Split], ranks: int
) -> None:
    """Write tensors below ``folder`` as so many tensor-parallel ranks would; whole if not in ``splits``."""
    for name, tensor in weights.items():
        *parents, last = name.split(".")
        place = folder.joinpath("model", *parents)
        place.mkdir(parents=True, exist_ok=True)
        if name not in splits:
            save_file({"data": tensor.contiguous()}, place / f"model_{last}.safetensors", {})
            continue
        for rank in range(ranks):
            part, metadata = _part(name, tensor, splits[name], rank, ranks)
            file = f"model_{last}_pp-rank-0-of-1_tp-rank-{rank}-of-{ranks}.safetensors"
            save_file({"data": part.contiguous()}, place / file, metadata)


def _part(
    name: str, tensor: torch.Tensor, split: Split, rank: int, ranks: int
) -> tuple[torch.Tensor, dict[str, str]]:
    """Return what a rank holds of a tensor, and the metadata that say so."""
    parts, pairs, begin, here = [], [], 0, 0
    for length in split.parts or (tensor.shape[split.dim],):
        if length % ranks:
            raise InputError(f"{name}: {length} rows cannot be split over {ranks} tensor-parallel ranks")
        share = length // ranks
        parts.append(tensor.narrow(split.dim, begin + rank * share, share))
        local = _text(tensor.dim(), split.dim, here, here + share)
        first = begin + rank * share
        pairs.append(f"{local}#{_text(tensor.dim(), split.dim, first, first + share)}")
        begin, here = begin + length, here + share
    metadata = {
        "version": VERSION,
        "local_global_slices_pairs": ";".join(pairs),
        "unsharded_shape": str(tuple(tensor.shape)),
    }
    return torch.cat(parts, split.dim), metadata


def _text(dims: int, dim: int, begin: int, end: int) -> str:
    return "|".join(f"{begin},{end},None" if one == dim else "None,None,None" for one in range(dims))
