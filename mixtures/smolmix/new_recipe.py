"""A recipe to start from (``smolmix init``), and the JSON schema that editors check recipes with.

The text is a whole, valid recipe with a comment a line; the schema is generated from the models, so it cannot
drift from what :mod:`smolmix.recipe` accepts.
"""

import copy
import json
from collections.abc import Sequence
from typing import Any, Final

from smoldata.errors import RecipeError
from smolmix.literals import parse_budget
from smolmix.recipe import RecipeModel

SCHEMA_FILE: Final = "recipe.schema.json"
_LITERAL: Final = {"type": ["string", "number"], "description": "85%, 0.333, 12/100; `rest` for one member"}
_MEMBER: Final = {
    "anyOf": [_LITERAL, {"$ref": "#/$defs/Group"}, {"$ref": "#/$defs/Members"}],
    "description": "a source with its weight, or a group",
}
_DEFINITIONS: Final[dict[str, Any]] = {
    "Members": {
        "type": "object",
        "additionalProperties": _MEMBER,
        "minProperties": 1,
        "propertyNames": {"not": {"enum": ["share", "normalise", "members", "proportions"]}},
    },
    "Group": {
        "type": "object",
        "properties": {
            "share": {**_LITERAL, "description": "part of the level above; inside, the weights sum to 1"},
            "normalise": {"type": "boolean", "description": "take the members' weights as proportions"},
            "members": {"$ref": "#/$defs/Members"},
            "proportions": {"type": "string", "description": "preset whose same group gives the members"},
        },
        "additionalProperties": False,
        "anyOf": [{"required": ["members"]}, {"required": ["proportions"]}],
    },
}
_TEMPLATE: Final = """\
# A mixture of your own. Plan it: make mixture RECIPE={name}.yaml
format_version: 1
name: {name}
description: ""
# follows: other.yaml # the recipe that comes before: its offsets and passes carry over
tokenizer: {tokenizer}
sequence_length: {sequence_length}
batch_windows: {batch_windows} # windows a step; a step is {step_tokens:,} tokens
budget: {budget} # tokens (100B, 1.1T), steps or windows; rounded down to whole steps
validation: 1/200 # share of documents held out, by a hash of their text
seed: 6
# max_passes: {{stage: 4, curriculum: 8, on_cap: redistribute}}   # or on_cap: error
sample: {{sequence_length: 512, batch_windows: 8, max_passes: 4}} # lengths of a trial on sample text
weights: # 85%, 0.333 or 12/100; every level sums to exactly 1, `rest` takes what is left
{weights}"""


def new_recipe(
    name: str,
    *,
    tokenizer: str = "llama-3.2",
    budget: str = "10B",
    sequence_length: int = 4096,
    batch_windows: int = 576,
    sources: Sequence[str] = (),
) -> str:
    """Return the text of a recipe with these settings; its sources share the stage equally.

    Without sources it shows a nested example with names of the registry.

    Raises:
        RecipeError: the budget is none, or a name is given twice.
    """
    parse_budget(budget)
    if len(set(sources)) != len(sources):
        raise RecipeError(f"a source is given twice: {', '.join(sources)}")
    return _TEMPLATE.format(
        name=name,
        tokenizer=json.dumps(tokenizer) if tokenizer.strip() != tokenizer else tokenizer,
        budget=budget,
        sequence_length=sequence_length,
        batch_windows=batch_windows,
        step_tokens=sequence_length * batch_windows,
        weights=_weights(sources),
    )


def _weights(sources: Sequence[str]) -> str:
    if not sources:
        return (
            "  web:\n    share: 80%\n    members:\n      fineweb-edu: 60%\n      dclm: rest\n"
            "  code: {share: 15%, members: {stack-edu-Python: 1/2, stack-edu-Rust: 1/2}}\n"
            "  finemath-4plus: rest\n"
        )
    return "".join(f"  {source}: 1/{len(sources)}\n" for source in sources)


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe file, as editors read the YAML (numbers are numbers there)."""
    schema = copy.deepcopy(RecipeModel.model_json_schema())
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "smolmix recipe"
    schema["properties"]["format_version"] = {"const": 1}
    weights = {"anyOf": [{"$ref": "#/$defs/Group"}, {"$ref": "#/$defs/Members"}]}
    schema["$defs"] |= _DEFINITIONS
    for owner in (schema, schema["$defs"]["PresetModel"]):
        owner["properties"]["weights"] = weights
        owner["properties"]["budget"] = {
            "type": ["string", "integer"],
            "description": "100B, 1.1T, 748000 steps, 5000 windows",
        }
    schema["properties"]["validation"]["type"] = ["string", "number"]
    for name in ("CapModel", "SampleModel"):
        for field in schema["$defs"][name]["properties"].values():
            if field.get("type") == "string" and "enum" not in field:
                field["type"] = ["string", "number"]
            for option in field.get("anyOf", ()):
                if option.get("type") == "string":
                    option["type"] = ["string", "number"]
    return schema
