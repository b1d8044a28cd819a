"""YAML text -> plain values, with the line of every key: so that a message can say where.

Aliases, tags and duplicate keys are refused: a recipe is read as it stands on the page. On request scalars
stay text: a recipe of weights says ``0.30``, ``no`` and ``1_000``, which YAML 1.1 would turn into a float,
False and 1000. Cost: two passes of PyYAML's safe loader, linear in the text: 5 ms for 60 sources.
"""

from dataclasses import dataclass
from typing import Any

import yaml

from smoldata.errors import RecipeError

KeyPath = tuple[str | int, ...]
_MAX_CHARACTERS = 1_000_000
_MAX_DEPTH = 20
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, ten times faster, where PyYAML was built with it; both are safe."""


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


def read_located(text: str, label: str, *, as_text: bool = False) -> Located:
    """Parse one YAML mapping; with ``as_text`` every scalar is a ``str``.

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
        raise RecipeError(f"{label} holds no mapping; a recipe starts with lines such as `name: my-recipe`")
    reader = _Reader(label, {}, as_text)
    return Located(reader.mapping(node, ()), reader.lines, label)


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


@dataclass(frozen=True, slots=True)
class _Reader:
    """Nodes to values; lines are noted on the way."""

    label: str
    lines: dict[KeyPath, int]
    as_text: bool

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise RecipeError(f"{self.label} line {line}: a key must be plain text")
            key = str(key_node.value)
            if key in values:
                first = self.lines[(*path, key)]
                raise RecipeError(
                    f"{self.label} line {line}: {key!r} stands twice (first in line {first}); keep one"
                )
            self.lines[(*path, key)] = line
            values[key] = self.value(value_node, (*path, key))
        return values

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                self.lines[(*path, number)] = item.start_mark.line + 1
            return [self.value(item, (*path, number)) for number, item in enumerate(node.value)]
        if self.as_text:
            return str(node.value)
        return yaml.SafeLoader("").construct_object(node)
