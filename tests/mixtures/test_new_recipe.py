"""The starting recipe is valid as it stands; the published schema is the one that the models give."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from smoldata.errors import RecipeError
from smoldata.registry import load_registry
from smolmix.new_recipe import SCHEMA_FILE, new_recipe, recipe_schema
from smolmix.planner import plan_stage
from smolmix.recipe import RecipeModel, read_recipe, recipes_folder
from smolmix.sources import names_of, supply_from_registry


def test_the_example_plans_without_a_change() -> None:
    recipe = read_recipe(new_recipe("mine"), Path("mine.yaml"))
    plan = plan_stage(
        recipe, supply_from_registry(recipe, names_of([recipe]), load_registry()), profile="full"
    )[0]
    assert plan.steps == 10**10 // (576 * 4096)
    assert plan.source("fineweb-edu").weight == Fraction(48, 100)
    assert plan.source("finemath-4plus").weight == Fraction(5, 100)


def test_settings_reach_the_recipe() -> None:
    text = new_recipe(
        "mine",
        tokenizer="gpt.json",
        budget="7 steps",
        sequence_length=64,
        batch_windows=3,
        sources=["a", "b", "c"],
    )
    recipe = read_recipe(text, Path("mine.yaml"))
    assert (recipe.sequence_length, recipe.batch_windows, recipe.tokenizer.name) == (64, 3, "gpt.json")
    assert recipe.preset().tree.weights() == dict.fromkeys("abc", Fraction(1, 3))


@pytest.mark.parametrize("given", [{"budget": "much"}, {"sources": ["a", "a"]}])
def test_what_makes_no_recipe(given: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        new_recipe("mine", **given)  # type: ignore[arg-type]


def test_the_published_schema_is_current() -> None:
    published = json.loads((recipes_folder() / SCHEMA_FILE).read_text())
    assert published == recipe_schema(), "write it anew: see mixtures/README.md"


def test_the_schema_knows_every_key_of_the_shipped_recipes() -> None:
    keys = set(recipe_schema()["properties"])
    assert keys == set(RecipeModel.model_fields)
    for path in sorted(recipes_folder().glob("*.yaml")):
        assert set(yaml.safe_load(path.read_text())) <= keys
