"""YAML text -> plain values, with the line of every key: so that a message can say where.

Aliases, tags and duplicate keys are refused: a recipe is read as it stands on the page. Cost: one pass of
PyYAML's safe composer, linear in the text.
"""

from dataclasses import dataclass
from typing import Any

import yaml

from smoldata.errors import RecipeError

KeyPath = tuple[str | int, ...]
_MAX_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Located:
    """A YAML mapping and where its keys stand."""

    data: dict[str, Any]
    lines: dict[KeyPath, int]
    """Line (from 1) of each key and list entry, by its path."""
    label: str
    """What messages call the document: the path as the user gave it."""

    def where(self, path: KeyPath) -> str:
        """Return ``label line n`` for a path, or of its nearest ancestor that has a line."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.label} line {self.lines[path]}" if path else self.label


def read_located(text: str, label: str) -> Located:
    """Parse one YAML mapping.

    Raises:
        RecipeError: not YAML, not a mapping, or an alias, a tag or a duplicate key in it; with the line.
    """
    if len(text) > _MAX_CHARACTERS:
        raise RecipeError(f"{label} has {len(text):,} characters; a recipe has at most {_MAX_CHARACTERS:,}")
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise RecipeError(f"{label} line {line}: aliases and tags are not read; write the value out")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise RecipeError(f"{label} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{label} holds no mapping; a recipe starts with lines such as `name: my-pages`")
    lines: dict[KeyPath, int] = {}
    return Located(_mapping(node, (), lines, label), lines, label)


def _mapping(node: yaml.MappingNode, path: KeyPath, lines: dict[KeyPath, int], label: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in values:
            raise RecipeError(f"{label} line {line}: {key!r} stands twice; keep one")
        lines[(*path, key)] = line
        values[key] = _value(value_node, (*path, key), lines, label)
    return values


def _value(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], label: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, lines, label)
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[(*path, number)] = item.start_mark.line + 1
        return [_value(item, (*path, number), lines, label) for number, item in enumerate(node.value)]
    return yaml.SafeLoader("").construct_object(node)
