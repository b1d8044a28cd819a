"""Merging of checkpoints: seconds, and the most memory, of a merge of two; at 3B with --size 3b.

    python benchmarks/bench_merge.py [--size 3b]

Writes two checkpoints of random bfloat16 weights in SmolLM3's shapes to a temporary folder (3b: 12.3 GB, and
6.2 GB for the result), merges them 0.9 to 0.1 in a process of its own, and checks sampled tensors against the
formula in float64. The default size has the shapes of a 0.1B model.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from smoltrain.hyperparameters import SIZES, ModelSize

SIZES_HERE = {"0.1b": ModelSize(512, 2752, 8, 8, 2, learning_rate=1e-3), "3b": SIZES["3b"]}
VOCABULARY = 128_256
SHARD_BYTES = 2 << 30

MERGE = """
import resource, sys
from fractions import Fraction
from pathlib import Path
from smoltrain.post.merge import Ingredient, merge
first, second, out = map(Path, sys.argv[1:])
merge([Ingredient(first, Fraction(9, 10)), Ingredient(second, Fraction(1, 10))], out)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def shapes(size: ModelSize) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a model with tied embeddings, by transformers' names."""
    head = size.hidden_size // size.num_heads
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, size.hidden_size)}
    for layer in range(size.num_layers):
        name = f"model.layers.{layer}."
        for part, width in (("q", size.num_heads), ("k", size.num_kv_heads), ("v", size.num_kv_heads)):
            found[f"{name}self_attn.{part}_proj.weight"] = (width * head, size.hidden_size)
        found[f"{name}self_attn.o_proj.weight"] = (size.hidden_size, size.hidden_size)
        for part in ("gate", "up"):
            found[f"{name}mlp.{part}_proj.weight"] = (size.intermediate_size, size.hidden_size)
        found[f"{name}mlp.down_proj.weight"] = (size.hidden_size, size.intermediate_size)
        for part in ("input_layernorm", "post_attention_layernorm"):
            found[f"{name}{part}.weight"] = (size.hidden_size,)
    return found | {"model.norm.weight": (size.hidden_size,)}


def write(folder: Path, size: ModelSize, seed: int) -> int:
    """Write a checkpoint of random weights in shards; return its bytes."""
    from smoldata.files import write_json

    generator = torch.Generator().manual_seed(seed)
    folder.mkdir()
    placed: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    files = total = 0
    wanted = list(shapes(size).items())
    for number, (name, shape) in enumerate(wanted):
        shard[name] = torch.empty(shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=generator)
        total += shard[name].nbytes
        if number == len(wanted) - 1 or sum(one.nbytes for one in shard.values()) > SHARD_BYTES:
            file = f"model-{files:05d}.safetensors"
            save_file(shard, folder / file)
            placed |= dict.fromkeys(shard, file)
            files, shard = files + 1, {}
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": placed})
    write_json(folder / "config.json", {"model_type": "smollm3", "hidden_size": size.hidden_size})
    return total


def tensor(folder: Path, name: str) -> torch.Tensor:
    """Return one tensor of a checkpoint."""
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            if name in file.keys():  # noqa: SIM118 - not a mapping
                return file.get_tensor(name)
    raise KeyError(name)


def main() -> None:
    """Measure one size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=SIZES_HERE, default="0.1b")
    parser.add_argument("--scratch", type=Path, help="where the checkpoints go for the while")
    asked = parser.parse_args()
    size = SIZES_HERE[asked.size]
    with tempfile.TemporaryDirectory(dir=asked.scratch) as scratch:
        first, second, out = (Path(scratch) / name for name in ("first", "second", "out"))
        total = write(first, size, 1)
        write(second, size, 2)
        start = time.monotonic()
        program = [sys.executable, "-c", MERGE, str(first), str(second), str(out)]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        seconds = time.monotonic() - start
        for name in list(shapes(size))[:: max(1, len(shapes(size)) // 8)]:
            wanted = tensor(first, name).double() * 0.9 + tensor(second, name).double() * 0.1
            error = (tensor(out, name).double() - wanted).abs().max().item()
            assert error <= 2**-8 * wanted.abs().max().item() + 1e-6, f"{name} is off by {error}"
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    print(f"size {asked.size}: two checkpoints of {total / 1e9:.2f} GB, bfloat16")
    print(f"merge: {seconds:.0f} s ({children:.0f} s CPU), most memory {int(done.stdout) / 1e6:.2f} GB")
    print("sampled tensors equal the formula within one rounding")


if __name__ == "__main__":
    main()
