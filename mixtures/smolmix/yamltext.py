"""YAML text into nested dictionaries whose scalars stay text, with the line of every key.

A recipe says ``0.30``, ``no`` and ``1_000``; YAML 1.1 would turn these into a float, False and 1000. Here a
scalar is its text. Aliases, tags and duplicate keys are refused: a recipe is read as it stands on the page.
Cost: two passes of PyYAML's safe composer, linear in the text (limit 1 MB): 5 ms for 60 sources.
"""

from dataclasses import dataclass
from typing import Any

import yaml

from smoldata.errors import RecipeError

_MAX_CHARACTERS = 1_000_000
_MAX_DEPTH = 20
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, ten times faster, where PyYAML was built with it; both are safe."""

KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LocatedYaml:
    """A YAML document with text scalars."""

    data: dict[str, Any]
    """Nested dictionaries and lists; every scalar is a ``str``."""
    lines: dict[KeyPath, int]
    """Line (from 1) of each key, by its path."""
    label: str
    """What messages call the document: the path as the user gave it."""

    def where(self, path: KeyPath) -> str:
        """Return ``label line n`` for a key path, or of its nearest ancestor that has a line."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.label} line {self.lines[path]}" if path else self.label


def load_yaml_text(text: str, label: str) -> LocatedYaml:
    """Parse one YAML mapping; scalars stay text.

    Raises:
        RecipeError: not YAML, not a mapping, or an alias, a tag or a duplicate key in it; with the line.
    """
    if len(text) > _MAX_CHARACTERS:
        raise RecipeError(f"{label} has {len(text):,} characters; a recipe has at most {_MAX_CHARACTERS:,}")
    try:
        _refuse_aliases_and_tags(text, label)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        what = " ".join(str(error).split()).replace('in "<unicode string>", ', "in ")
        raise RecipeError(f"{label} is not valid YAML: {what}; correct it there") from error
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{label} holds no mapping; a recipe starts with lines such as `name: my-mixture`")
    lines: dict[KeyPath, int] = {}
    return LocatedYaml(_mapping(node, (), lines, label), lines, label)


def _refuse_aliases_and_tags(text: str, label: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise RecipeError(
                f"{label} line {line}: YAML aliases (*{event.anchor}) are not read; write the value out"
            )
        if tag := getattr(event, "tag", None):
            raise RecipeError(f"{label} line {line}: YAML tags ({tag}) are not read; remove the tag")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise RecipeError(f"{label} line {line}: nested deeper than {_MAX_DEPTH} levels")


def _mapping(node: yaml.MappingNode, path: KeyPath, lines: dict[KeyPath, int], label: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise RecipeError(f"{label} line {line}: a key must be plain text")
        key = str(key_node.value)
        if key in values:
            first = lines[(*path, key)]
            raise RecipeError(f"{label} line {line}: {key!r} stands twice (first in line {first}); keep one")
        lines[(*path, key)] = line
        values[key] = _value(value_node, (*path, key), lines, label)
    return values


def _value(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], label: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, lines, label)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, str(i)), lines, label) for i, item in enumerate(node.value)]
    return str(node.value)
