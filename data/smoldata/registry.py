"""The source registry: YAML that lists every source -> validated records that the rest of the house asks.

``registry.yaml`` beside this module lists what SmolLM3 was trained on. A user's own file (the same keys) is
laid over it: a new name adds a source, a known name replaces the keys that it gives. Reading takes about
0.1 s.
"""

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from smoldata.errors import InputError, SourceError
from smoldata.identifiers import DuplicateIds

DEFAULT_REGISTRY = Path(__file__).with_name("registry.yaml")

Domain = Literal["web", "code", "math"]
Group = Literal["web/english", "web/multilingual", "code", "math", "math/reasoning"]
Kind = Literal[
    "prose", "multilingual", "reference", "qa", "code", "notebook", "discussion", "math", "reasoning", "chat"
]
Format = Literal["parquet", "jsonl", "jsonl.gz", "jsonl.zst", "json.gz", "json.zst"]
Extractor = Literal[
    "text",
    "plain",
    "formulas",
    "pages",
    "sections",
    "readme",
    "gettext",
    "wikipedia",
    "notebook",
    "docstrings",
    "issues",
    "pull_requests",
]


# Which recipe a source has that names none: the user's own data, by its kind.
_PIPELINES: dict[Kind, tuple[str, dict[str, Any]]] = {
    "prose": ("prose", {}),
    "multilingual": ("multilingual", {}),
    "reference": ("text", {}),
    "qa": ("text", {"least_characters": 50}),
    "code": ("code", {}),
    "notebook": ("code", {"least_characters": 50}),
    "discussion": ("text", {"least_characters": 30}),
    "math": ("text", {"least_characters": 100}),
    "reasoning": ("text", {"least_characters": 20}),
    "chat": ("text", {"least_characters": 20}),
}


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(_Record):
    """Which columns of a raw row become which fields of a document."""

    text: tuple[str, ...]
    """Columns that hold text; several are joined by an empty line."""
    id: str | None = None
    url: str | None = None
    path: str | None = None
    language: str | None = None
    license: str | None = None
    scores: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Return every column that is read, each once, in a fixed order."""
        single = (self.id, self.url, self.path, self.language, self.license)
        return tuple(
            dict.fromkeys((*self.text, *(name for name in single if name), *self.scores, *self.metadata))
        )


class Hub(_Record):
    """A dataset on the hub."""

    dataset: str
    config: str | None = None
    files: tuple[str, ...]
    """Patterns of files inside the dataset."""
    revision: str | None = None
    """Commit; null: none is published, the newest is read and recorded."""
    gated: bool = False
    """Access must be asked for on the dataset's page."""
    format: Format = "parquet"
    contents: Literal["text", "software_heritage"] = "text"
    """``software_heritage``: rows hold identifiers, contents are fetched blob by blob."""
    checked: str = "memory"
    """How the file pattern and the columns are known."""


class Location(_Record):
    """Files of a user's own: a folder (local or any fsspec address) and patterns inside it."""

    url: str
    """Relative to the registry file that names it."""
    files: tuple[str, ...] = ("*",)
    base: str = Field(default="", exclude=True, repr=False)
    """The folder of that file; filled in when it is read, in no dump and no hash."""

    def address(self) -> str:
        """Return where the files are: an fsspec address, or a path that is absolute or from here."""
        return self.url if "://" in self.url else str(Path(self.base) / Path(self.url).expanduser())


class Size(_Record):
    """Published size; a figure that is not published is null."""

    tokens: int | None = None
    documents: int | None = None
    bytes: int | None = None
    tokenizer: str | None = None
    confidence: str | None = None
    origin: str | None = None


class Take(_Record):
    """Files of a package that hold text of the same kind as a source."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    package: str
    files: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    extractor: Extractor = Field(default="text", alias="as")


class Package(_Record):
    """A package that the sample reads as data."""

    licence: str | None = None
    note: str | None = None


class Source(_Record):
    """One source of a recipe."""

    name: str
    kind: Kind
    domain: Domain
    group: Group
    language: str | None = None
    """FineWeb2 code such as ``fra_Latn``, or a programming language."""
    stages: tuple[str, ...] = ()
    licence: str | None = None
    origin: Literal["published", "unpublished", "own"] = "published"
    size: Size | None = None
    hub: Hub | None = None
    location: Location | None = None
    """Own data; read in every profile, before ``hub`` and ``sample``."""
    columns: Columns
    duplicate_ids: DuplicateIds = "error"
    """What a second text under an identifier is (:mod:`smoldata.identifiers`)."""
    pipeline: str | None = None
    """A recipe of ``data/pipelines`` or a path; null: the one of the kind."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Values for the recipe's parameters."""
    sample: tuple[Take, ...] = ()
    why_absent: str | None = None
    note: str | None = None

    def recipe(self) -> tuple[str, dict[str, Any]]:
        """Return the pipeline's name or path and the parameters that the source gives it."""
        if self.pipeline is not None:
            return self.pipeline, self.parameters
        name, parameters = _PIPELINES[self.kind]
        return name, parameters | self.parameters

    @model_validator(mode="after")
    def _group_fits(self) -> "Source":
        if self.group.split("/")[0] != self.domain:
            message = f"group {self.group} is not in domain {self.domain}"
            raise ValueError(message)
        return self


class Registry(_Record):
    """All sources, by name, in published order."""

    format_version: Literal[1]
    packages: dict[str, Package] = Field(default_factory=dict)
    sources: dict[str, Source]

    def source(self, name: str) -> Source:
        """Return the source called ``name``; raise :class:`SourceError` with close names if there is none."""
        if name in self.sources:
            return self.sources[name]
        raise SourceError(
            f"unknown source {name!r}{_did_you_mean(name, self.sources)}; "
            f"`smoldata sources` lists all {len(self.sources)}, --registry adds your own"
        )

    def select(
        self, names: Iterable[str] | None = None, *, stage: str | None = None, group: str | None = None
    ) -> list[Source]:
        """Return the named sources (default: all), those of a published stage, those of a group."""
        chosen = [self.source(name) for name in names] if names else list(self.sources.values())
        stages = {entry for source in self.sources.values() for entry in source.stages}
        if stage is not None and stage not in stages:
            raise SourceError(f"unknown stage {stage!r}; valid: {', '.join(sorted(stages))}")
        return [
            source
            for source in chosen
            if (stage is None or stage in source.stages)
            and (group is None or source.group == group or source.group.startswith(f"{group}/"))
        ]


def load_registry(path: Path | None = None) -> Registry:
    """Read the registry; lay the user's file ``path`` over it.

    Raises :class:`InputError` naming file and key for anything that does not fit, with close names.
    """
    shipped = _shipped()
    if path is None:
        return shipped
    own = _validated(_laid_over(shipped, _read_yaml(Path(path)), Path(path).parent), Path(path))
    return shipped.model_copy(
        update={
            "sources": shipped.sources | own.sources,
            "packages": shipped.packages | own.packages,
        }
    )


@cache
def _shipped() -> Registry:
    return _validated(_read_yaml(DEFAULT_REGISTRY), DEFAULT_REGISTRY)


def _read_yaml(path: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        value = yaml.load(path.read_bytes(), Loader=loader)  # noqa: S506 - both are safe loaders
    except FileNotFoundError as error:
        raise InputError(f"no registry at {path}; give an existing YAML file to --registry") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("sources"), dict):
        raise InputError(f"{path} holds no `sources:` mapping; see data/README.md for an example")
    return value


def _laid_over(shipped: Registry, own: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the user's file with the keys that it leaves to the shipped sources filled in."""
    sources = {}
    for name, fields in own["sources"].items():
        if not isinstance(fields, dict):
            raise InputError(f"source {name!r} must be a mapping of keys, not {type(fields).__name__}")
        known = shipped.sources.get(name)
        base: dict[str, Any] = {"origin": "own", "kind": "reference"}
        if known is not None:
            base = known.model_dump(mode="json", by_alias=True, exclude_unset=True)
        sources[name] = base | fields
        if isinstance(fields.get("location"), dict):
            sources[name]["location"] = fields["location"] | {"base": str(folder)}
    return {"format_version": 1} | own | {"sources": sources}


def _validated(value: dict[str, Any], path: Path) -> Registry:
    named = {
        name: {"name": str(name)} | (fields if isinstance(fields, dict) else {"": fields})
        for name, fields in value["sources"].items()
    }
    try:
        return Registry.model_validate(value | {"sources": named})
    except ValidationError as error:
        raise InputError(_explain(error, path)) from error


def _explain(error: ValidationError, path: Path) -> str:
    # A misspelt key is also a missing one: naming the misspelling says both.
    first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _known_keys(first["loc"])
        hint = _did_you_mean(str(first["loc"][-1]), known)
        return f"{path}: unknown key {place}{hint}; keys here: {', '.join(sorted(known))}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{path}: {place}: {first['msg']}{more}"


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    parts: Mapping[str, type[BaseModel]] = {
        "hub": Hub,
        "columns": Columns,
        "size": Size,
        "sample": Take,
        "location": Location,
    }
    if place[0] == "packages" and len(place) > 2:  # noqa: PLR2004 - packages.<name>.<key>
        return list(Package.model_fields)
    if place[0] != "sources" or len(place) < 3:  # noqa: PLR2004 - sources.<name>.<key>
        return list(Registry.model_fields)
    model = parts.get(str(place[2]), Source) if len(place) > 3 else Source  # noqa: PLR2004
    return [
        "as" if name == "extractor" else name for name in model.model_fields if name not in {"name", "base"}
    ]


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""
