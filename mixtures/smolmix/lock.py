"""Everything that a plan's order depends on, into one hash: the lock.

Two levels: a sha256 for each part (recipe, registry, shards, tokenizer, seeds, code, the stage before) and
one over the parts, so that a changed lock can say which part changed.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from smolmix.literals import fraction_text
from smolmix.plan import Lock
from smolmix.recipe import Preset, Recipe
from smolmix.supply import Supply

_CODE: Final = (
    "apportion.py",
    "caps.py",
    "curriculum.py",
    "literals.py",
    "order.py",
    "permutation.py",
    "planner.py",
    "sequence.py",
    "supply.py",
    "tree.py",
    "groups.py",
)
"""The modules that decide counts and order; an edit elsewhere leaves locks as they are."""


def digest(value: Any) -> str:
    """Return the sha256 of a JSON-able value; the order of its keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def make_lock(
    recipe: Recipe,
    preset: Preset,
    profile: str,
    asked: str | None,
    supply: Supply,
    shards: str,
    follows: str | None,
) -> Lock:
    """Return the lock of a stage; ``shards`` digests its shards, ``follows`` locks the stage before."""
    tokenizer = supply.tokenizer
    parts = {
        "recipe": digest(_recipe_content(recipe, preset, profile, asked)),
        "registry": digest({n: supply.registry[n] for n in preset.tree.weights() if n in supply.registry}),
        "shards": shards,
        "tokenizer": digest([tokenizer.name, tokenizer.sha256, tokenizer.eos_id, tokenizer.token_width]),
        "seeds": digest([recipe.seed, fraction_text(recipe.validation)]),
        "code": code_version(),
        "follows": follows or "",
    }
    return Lock(digest(parts), parts)


def _recipe_content(recipe: Recipe, preset: Preset, profile: str, asked: str | None) -> dict[str, Any]:
    """Return what the recipe says, without comments, layout and the order of its lines."""
    caps = recipe.caps
    return {
        "name": recipe.name,
        "preset": preset.name,
        "profile": profile,
        "asked": asked,
        "unit": recipe.unit,
        "lengths": [recipe.sequence_length, recipe.batch_windows],
        "sample": recipe.sample.model_dump() if recipe.sample else None,
        "caps": [str(caps.stage), str(caps.curriculum), caps.on_cap],
        "weights": {"/".join(leaf.path): fraction_text(leaf.weight) for leaf in preset.tree.root.leaves()},
    }


@cache
def code_version() -> str:
    """Return the digest of the modules that decide a plan."""
    folder = Path(__file__).parent
    return digest({name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _CODE})
