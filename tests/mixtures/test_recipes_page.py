"""The example of docs/recipes.md is a recipe, with the weights it says; docs/order.md is enough to port."""

import hashlib
import re
from fractions import Fraction
from pathlib import Path

from smolmix.permutation import derive, permute
from smolmix.recipe import read_recipe
from smolmix.sequence import source_key

DOCS = Path(__file__).parents[2] / "docs"


def test_the_example_has_the_weights_of_the_page() -> None:
    page = (DOCS / "recipes.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    weights = read_recipe(example[1], Path("field-notes.yaml")).preset().tree.weights()
    line = next(line for line in page.splitlines() if line.startswith("Weights: "))
    said = dict(part.split(" ") for part in line.removeprefix("Weights: ").rstrip(".").split(", "))
    assert {name: Fraction(text) for name, text in said.items()} == weights


def test_every_key_of_a_recipe_is_on_the_page() -> None:
    from smolmix.recipe import RecipeModel

    page = (DOCS / "recipes.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(RecipeModel.model_fields)


def mix(h: int) -> int:
    h ^= h >> 16
    h = h * 0x7FEB352D % 2**32
    h ^= h >> 15
    h = h * 0x846CA68B % 2**32
    return h ^ h >> 16


def test_the_order_as_the_page_tells_it() -> None:
    """Written from docs/order.md alone, without the package's helpers."""
    digest = hashlib.sha256(b"smolmix order 1\x006\x00dclm").digest()
    a, b = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")
    assert (a, b) == source_key(6, "dclm")
    below = tuple(mix(key ^ mix((5 + step) % 2**32)) for key, step in ((a, 0x9E3779B9), (b, 0x85EBCA6B)))
    assert below == derive((a, b), 5)
    for n in (10, 244_081, 10**12):
        x = y0 = n // 3
        for r in range(24):
            big_a, big_b = mix((below[0] + r * 0x9E3779B9) % 2**32), mix((below[1] + r * 0x85EBCA6B) % 2**32)
            k = (big_a * n) >> 32 if n < 2**32 else ((big_a % 2**30 << 32) + big_b) % n
            other = (k - x) % n
            y = max(x, other)
            h = (y % 2**32 ^ y >> 32 ^ big_b) * 0x7FEB352D % 2**32
            h ^= h >> 15
            if h * 0x846CA68B % 2**32 >= 2**31:
                x = other
        assert permute((below[0], below[1]), n, y0) == x
