"""Recipes: strict, with line numbers and close names; every shipped one says where its numbers are from."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smoldata.errors import RecipeError
from smoldata.kinds import RENDERERS
from smoldata.recipe import load_pipeline, outline, read_pipeline, shipped_pipelines
from smoldata.registry import Registry
from smoldata.steps import STEPS, settings_of, step_spec

HEAD = "format_version: 1\nname: x\ndescription: d\nsource: s\n"
KINDS = {
    *("web", "fineweb_edu", "dclm", "fineweb2", "fineweb2_hq", "stack_v2", "stack_edu", "pull_requests"),
    *("notebooks", "github_issues", "stackexchange", "pes2o", "wikipedia", "finemath", "megamath"),
    *("open_math_reasoning", "chat"),
}


def read(text: str, **parameters: Any) -> Any:
    return read_pipeline(HEAD + text, Path("mine.yaml"), parameters, "fra_Latn")


def test_there_is_a_recipe_for_every_kind() -> None:
    assert set(shipped_pipelines()) >= KINDS


@pytest.mark.parametrize("name", shipped_pipelines())
def test_shipped_recipes_load_and_say_where_their_numbers_are_from(name: str) -> None:
    model = outline(name)
    load_pipeline(name, language="fra_Latn")
    assert model.name == name
    assert len(model.source) > 10 or name in {"text", "multilingual"}
    for step in model.steps:
        assert step.source, f"{name}: {step.step} names no source"
    if model.read.render or model.read.contents:
        assert model.read.source or model.parameters.get("render", ...) is None, (
            f"{name}: read names no source"
        )


@pytest.mark.parametrize("name", shipped_pipelines())
def test_every_parameter_is_used(name: str) -> None:
    model = outline(name)
    text = json.dumps(model.model_dump())
    for parameter in model.parameters:
        used = f'"${parameter}"' in text or any(step.when == parameter for step in model.steps)
        assert used, f"{name}: parameter {parameter} is used by no step"


def test_every_source_has_a_recipe_that_fits_its_parameters(shipped: Registry) -> None:
    for source in shipped.sources.values():
        name, parameters = source.recipe()
        assert source.pipeline is not None, f"{source.name} names no pipeline"
        load_pipeline(name, parameters, language=source.language)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: []\nstep: []\n", r"mine.yaml line 6: unknown key 'step'; did you mean steps\?"),
        ("steps:\n  - step: lenght\n", r"mine.yaml line 6: unknown step 'lenght'; did you mean length\?"),
        ("steps:\n  - stp: length\n", r"mine.yaml line 6: unknown key 'stp'; did you mean step\?"),
        (
            "steps:\n  - step: length\n    settings: {least_character: 3}\n",
            r"line 6: step length: unknown setting 'least_character'; did you mean least_characters\?",
        ),
        (
            "steps:\n  - step: length\n    settings: {least_characters: -3}\n",
            r"line 6: step length: least_characters: Input should be greater than or equal to 0",
        ),
        (
            "steps:\n  - step: score\n    settings: {name: x}\n",
            r"line 6: step score: at_least: Field required",
        ),
        (
            "steps:\n  - step: length\n    settings: {least_characters: $least}\n",
            r"line 7: no parameter 'least'",
        ),
        ("steps:\n  - step: length\n    when: never\n", r"line 7: no parameter 'never'"),
        (
            "read: {render: wikipedai}\nsteps: []\n",
            r"line 5: unknown renderer 'wikipedai'; did you mean wikipedia\?",
        ),
        ("read: {damage: maybe}\nsteps: []\n", r"line 5: damage is 'maybe'"),
        ("steps: []\nsteps: []\n", r"line 6: 'steps' stands twice"),
        ("x: &a 1\nsteps: *a\n", r"line 6: YAML aliases \(\*a\) are not read"),
        ("? [a]\n: 1\nsteps: []\n", r"line 5: a key must be plain text"),
        ("steps: " + "[" * 5000 + "]" * 5000 + "\n", r"line 5: nested deeper than 20 levels"),
        ("steps: &a []\n", r"line 5: aliases and tags|valid YAML|steps"),
        ("steps: [\n", r"not valid YAML"),
        ("steps:\n  - step: nothing_here:at_all\n", r"step 'nothing_here:at_all' cannot be imported"),
        ("steps:\n  - step: json:dumps\n", r"first parameter of its factory must be annotated"),
    ],
)
def test_mistakes_are_named_with_their_line(text: str, message: str) -> None:
    if text == "steps: &a []\n":
        read(text)  # an anchor that nothing refers to changes nothing
        return
    with pytest.raises(RecipeError, match=message):
        read(text)


def test_parameters_are_filled_in_and_steps_left_out() -> None:
    text = (
        "parameters: {least: 5, extra: null}\nsteps:\n"
        "  - step: length\n    settings: {least_characters: $least}\n"
        "  - step: script\n    when: extra\n"
    )
    assert [step.settings for step in read(text).steps] == [{"least_characters": 5}]
    recipe = read(text, least=7, extra=True)
    assert [(step.name, step.settings) for step in recipe.steps] == [
        ("length", {"least_characters": 7}),
        ("script", {}),
    ]
    with pytest.raises(RecipeError, match=r"no parameter 'leest'; did you mean least\?"):
        read(text, leest=3)


def test_the_language_is_a_parameter_of_every_recipe() -> None:
    recipe = read("steps:\n  - step: gopher_quality\n    settings: {language: $language}\n")
    assert recipe.steps[0].settings == {"language": "fra_Latn"}


def test_an_unknown_pipeline_lists_the_shipped_ones() -> None:
    with pytest.raises(
        RecipeError, match=r"no pipeline 'fineweb_edo'; did you mean fineweb_edu\? Shipped: chat,"
    ):
        load_pipeline("fineweb_edo")


def test_fineweb2_knows_its_languages_and_says_cmn() -> None:
    load_pipeline("fineweb2", {"heuristics": False}, language="cmn_Hani")
    from smoldata.rules import fineweb2_numbers

    assert fineweb2_numbers("cmn_Hani")["language_score"] == 0.692
    with pytest.raises(RecipeError, match="Chinese is cmn_Hani"):
        fineweb2_numbers("zho_Hans")


def test_every_step_resolves_and_lists_its_settings() -> None:
    for name in STEPS:
        assert step_spec(name).summary
        assert isinstance(settings_of(name), list)
    assert RENDERERS


def test_reading_recipes_is_light() -> None:
    code = (
        "import sys; from smoldata.recipe import outline, shipped_pipelines\n"
        "[outline(name) for name in shipped_pipelines()]\n"
        "print(*sorted({'datatrove', 'numpy', 'polars', 'torch', 'trafilatura'} & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == []
