"""Checkpoints and weights -> their weighted mean, tensor by tensor: soup (equal weights) and linear merges.

SmolLM3 was merged twice (blog): a soup of the APO checkpoints, then 0.9 of it with 0.1 of a mid-training
checkpoint, to win long context back. Weights are exact and sum to one; sums are made in float32 (float64 for
float32 inputs), rounded once. Each tensor is read, summed and let go; finished ones wait for a shard of the
output. So memory is one shard and three times the largest tensor: 3B in bfloat16 needs under 4 GiB
(:mod:`benchmarks.bench_merge`). mergekit, run as a program, is the other engine and the test's peer.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from smoldata.errors import InputError, SmolError
from smoldata.files import digest_values, remove_leftovers, write_json, xxh3_128
from smolmix.literals import fraction_text
from smoltrain.folders import atomic_folder, remove_unfinished

Engine = Literal["stream", "mergekit"]
RECORD = "merge.json"
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_SHARD_BYTES = 1 << 30
SIDE_FILES = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
_SHAPE_KEYS = (
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "no_rope_layers",
    "tie_word_embeddings",
)


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A checkpoint folder in Hugging Face form and its share of the merge."""

    folder: Path
    weight: Fraction


def soup(folders: Sequence[Path]) -> list[Ingredient]:
    """Return checkpoints with equal weights."""
    return [Ingredient(folder, Fraction(1, len(folders))) for folder in folders]


def merge(
    ingredients: Sequence[Ingredient],
    out: Path,
    *,
    engine: Engine = "stream",
    shard_bytes: int = _SHARD_BYTES,
) -> Path:
    """Write the merge into ``out``, whole or not at all, unless the same merge is there already.

    Configuration and tokenizer are the first ingredient's. Raises :class:`InputError` when weights don't sum
    to one, or checkpoints differ in shape or in their tensors.
    """
    _check_weights(ingredients)
    for one in ingredients[1:]:
        _check_same_model(ingredients[0].folder, one.folder)
    key = merge_key(ingredients, engine)
    with suppress(FileNotFoundError, ValueError):
        if json.loads((out / RECORD).read_bytes())["input_hash"] == key:
            return out
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(out.parent)
    remove_leftovers(out.parent)
    with atomic_folder(out) as folder:
        if engine == "mergekit":
            _run_mergekit(ingredients, folder)
        else:
            _stream(ingredients, folder, shard_bytes)
            _copy_sides(ingredients[0].folder, folder)
        write_json(folder / RECORD, _record(ingredients, engine, key))
    return out


def merge_key(ingredients: Sequence[Ingredient], engine: Engine) -> str:
    """Return a digest of all that decides the result's bytes."""
    parts = [[xxh3_128(path) for path in _weight_files(one.folder)] for one in ingredients]
    return digest_values(engine, parts, [fraction_text(one.weight) for one in ingredients])


def _record(ingredients: Sequence[Ingredient], engine: Engine, key: str) -> dict[str, Any]:
    names = [{"folder": one.folder.name, "weight": fraction_text(one.weight)} for one in ingredients]
    return {"format_version": 1, "input_hash": key, "engine": engine, "ingredients": names}


def _check_weights(ingredients: Sequence[Ingredient]) -> None:
    if not ingredients:
        raise InputError("nothing to merge: give at least one checkpoint")
    total = sum((one.weight for one in ingredients), Fraction(0))
    if total != 1:
        shown = ", ".join(f"{one.folder.name} {one.weight}" for one in ingredients)
        raise InputError(f"the weights of a merge sum to {total}, not to 1: {shown}")


def _check_same_model(first: Path, other: Path) -> None:
    ours, theirs = (json.loads((folder / "config.json").read_bytes()) for folder in (first, other))
    for key in _SHAPE_KEYS:
        if ours.get(key) != theirs.get(key):
            raise InputError(
                f"{other} is another model than {first}: {key} is {theirs.get(key)}, wanted {ours.get(key)}"
            )


def _weight_files(folder: Path) -> list[Path]:
    return sorted(set(_places(folder).values()))


def _places(folder: Path) -> dict[str, Path]:
    """Return tensor name → file of a checkpoint; raises :class:`InputError` if it has no safetensors."""
    from safetensors import safe_open

    if (folder / _INDEX).is_file():
        index = json.loads((folder / _INDEX).read_bytes())["weight_map"]
        return {name: folder / file for name, file in index.items()}
    if not (folder / _SINGLE).is_file():
        raise InputError(f"{folder} holds no {_SINGLE} and no {_INDEX}; give a checkpoint's folder")
    with safe_open(folder / _SINGLE, framework="pt") as file:
        return dict.fromkeys(file.keys(), folder / _SINGLE)


def _stream(ingredients: Sequence[Ingredient], folder: Path, shard_bytes: int) -> None:
    """Write shards of at most ``shard_bytes`` (or one tensor), and an index if there are several."""
    from safetensors.torch import save_file

    files: list[dict[str, str]] = []
    sizes = 0
    for number, tensors in enumerate(_shards(ingredients, shard_bytes)):
        name = f"part-{number:05d}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        files.append(dict.fromkeys(tensors, name))
        sizes += sum(tensor.nbytes for tensor in tensors.values())
        tensors.clear()
    if len(files) == 1:
        (folder / "part-00000.safetensors").rename(folder / _SINGLE)
        return
    names = {
        f"part-{n:05d}.safetensors": f"model-{n + 1:05d}-of-{len(files):05d}.safetensors"
        for n in range(len(files))
    }
    for old, new in names.items():
        (folder / old).rename(folder / new)
    weights = {tensor: names[file] for part in files for tensor, file in part.items()}
    write_json(folder / _INDEX, {"metadata": {"total_size": sizes}, "weight_map": weights})


def _shards(ingredients: Sequence[Ingredient], shard_bytes: int) -> Iterator[dict[str, Any]]:
    places = [_places(one.folder) for one in ingredients]
    for one, place in zip(ingredients[1:], places[1:], strict=True):
        if place.keys() != places[0].keys():
            odd = sorted(place.keys() ^ places[0].keys())
            raise InputError(
                f"{one.folder} and {ingredients[0].folder} differ in {len(odd)} tensors: {odd[0]}"
            )
    shard: dict[str, Any] = {}
    size = 0
    for name in sorted(places[0]):
        tensor = mean_tensor(name, [place[name] for place in places], [one.weight for one in ingredients])
        if shard and size + tensor.nbytes > shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor.nbytes
        del tensor
    yield shard


def mean_tensor(name: str, files: Sequence[Path], weights: Sequence[Fraction]) -> Any:
    """Return the weighted mean of a tensor in several files, in the type of the first.

    Raises :class:`InputError` when shapes differ.
    """
    import torch
    from safetensors import safe_open

    total: Any = None
    kind: Any = None
    for path, weight in zip(files, weights, strict=True):
        # Opened for one tensor: what a map has touched counts as this process's memory until it is closed.
        with safe_open(path, framework="pt") as file:
            tensor = file.get_tensor(name)
            if total is None:
                kind = tensor.dtype
                wide = torch.float64 if kind in {torch.float32, torch.float64} else torch.float32
                total = torch.zeros(tensor.shape, dtype=wide)
            if tensor.shape != total.shape:
                raise InputError(
                    f"{name} in {path} has shape {tuple(tensor.shape)}, wanted {tuple(total.shape)}"
                )
            for begin in range(0, max(len(tensor), 1) if tensor.ndim else 1, _ROWS):
                part = slice(begin, begin + _ROWS) if tensor.ndim else ...
                total[part] += tensor[part].to(total.dtype) * (weight.numerator / weight.denominator)
            del tensor
    return total.to(kind)


_ROWS = 1024
"""Rows of a tensor that are widened at once."""


def _copy_sides(source: Path, folder: Path) -> None:
    shutil.copyfile(source / "config.json", folder / "config.json")
    for name in SIDE_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _run_mergekit(ingredients: Sequence[Ingredient], folder: Path) -> None:
    import tempfile

    import yaml

    config = {
        "merge_method": "linear",
        "dtype": json.loads((ingredients[0].folder / "config.json").read_bytes()).get("dtype", "float32"),
        "models": [
            {"model": str(one.folder.resolve()), "parameters": {"weight": float(one.weight)}}
            for one in ingredients
        ],
    }
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "merge.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        program = [sys.executable, "-m", "mergekit.scripts.run_yaml", str(path), str(folder), "--quiet"]
        done = subprocess.run([*program, "--copy-tokenizer"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SmolError(f"mergekit ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
