"""A plan: exact weights, counts and offsets of a stage, and its order; ``plan.json``, ``shards.parquet``.

``load_plan(folder)`` reads the small JSON at once and the shards only when the order is asked for.
The file format is docs/formats.md, "Plan". Cost: milliseconds to load, plus about 0.2 s a million shards.
"""

import json
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from smoldata.errors import InputError, IntegrityError
from smolmix.findings import Finding
from smolmix.literals import fraction_text, parse_fraction
from smolmix.order import Order, Sample, Samples
from smolmix.permutation import I64
from smolmix.sequence import Sequence, source_key
from smolmix.supply import TokenizerFacts

if TYPE_CHECKING:
    from smolmix.replacements import Changes

FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """One source in a stage; fields as in docs/formats.md."""

    name: str
    domain: str
    group: str
    status: str
    published_weight: Fraction
    weight: Fraction
    windows: int
    tokens: int
    shards: int
    capacity_windows: int | None
    base_windows: int
    """Number, in the source's endless sequence of windows, of the first one at this sequence length."""
    offset_windows: int
    held_back_windows: int
    first_shard_offset: int
    passes_before: Fraction | None
    passes: Fraction | None

    @property
    def start(self) -> int:
        """Number, in the source's endless sequence of windows, of the first one that the stage reads."""
        return self.base_windows + self.offset_windows


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    """What was asked for, and what whole steps leave of it."""

    asked: str | None
    asked_tokens: int
    remainder_tokens: int
    why: str


@dataclass(frozen=True, slots=True)
class Follows:
    """The stage before."""

    name: str
    lock: str


@dataclass(frozen=True, slots=True)
class Lock:
    """One hash over everything that the order depends on, and the hash of each part."""

    hash: str
    parts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Retraction:
    """Documents were taken out of the plan after it was made: see :mod:`smolmix.retract`."""

    lock: str
    """Lock of the plan before."""
    at_step: int
    """Steps done by then; they stay as they were."""
    windows: int
    """Windows replaced, of all retractions together."""
    digest: str
    """sha256 over the rows of ``replacements.parquet`` and ``retracted.parquet``."""


@dataclass(frozen=True)
class Plan:
    """One stage, planned. Immutable; the order is built when first asked for."""

    name: str
    preset: str | None
    profile: str
    unit: str
    sequence_length: int
    batch_windows: int
    steps: int
    start_step: int
    budget: BudgetPlan
    follows: Follows | None
    seed: int
    validation_share: Fraction
    tokenizer: TokenizerFacts
    prefix_bound: Fraction
    """Proved: ``|drawn - windows/total * k|`` is at most this at every prefix ``k``, for every source."""
    weight_bound: Fraction
    """The same against the exact weight: ``|drawn - weight * k|``."""
    sources: tuple[SourcePlan, ...]
    findings: tuple[Finding, ...]
    lock: Lock
    folder: Path | None = field(default=None, compare=False)
    """Where the plan was loaded from; None for a plan just made."""
    table: Any = field(default=None, compare=False, repr=False)
    """The shards as an Arrow table, for a plan just made."""
    retraction: Retraction | None = None
    changes_made: Any = field(default=None, compare=False, repr=False)
    """The :class:`~smolmix.replacements.Changes` of a retraction just made."""

    @property
    def windows(self) -> int:
        """Windows in the stage."""
        return self.steps * self.batch_windows

    @property
    def tokens(self) -> int:
        """Tokens in the stage (a window counts ``sequence_length``)."""
        return self.windows * self.sequence_length

    def source(self, name: str) -> SourcePlan:
        """Return one source.

        Raises:
            InputError: it is not in the plan.
        """
        for source in self.sources:
            if source.name == name:
                return source
        names = ", ".join(source.name for source in self.sources)
        raise InputError(f"source {name!r} is not in plan {self.name!r}; it has {names}")

    @cached_property
    def order(self) -> Order:
        """The order of the stage's windows."""
        sizes = self.shard_windows()
        sequences = [_sequence(source, self.seed, sizes.get(source.name)) for source in self.sources]
        if (changes := self.changes) is None:
            return Order(sequences)
        from smolmix.replacements import ReplacedOrder

        return ReplacedOrder(sequences, changes.replacements)

    @cached_property
    def changes(self) -> "Changes | None":
        """What a retraction changed; None without one. Raises IntegrityError."""
        if self.retraction is None or self.changes_made is not None:
            made: Changes | None = self.changes_made
            return made
        from smolmix.replacements import read_changes

        assert self.folder is not None, "a plan is made or loaded"
        return read_changes(self.folder, self.retraction.digest)

    def shard_windows(self) -> dict[str, I64 | None]:
        """Return the windows of each shard by source, in ordinal order; None for a source of unknown size."""
        from smolmix.shard_table import windows_by_source

        return windows_by_source(self.shard_columns("source", "windows"))

    def shard_tokens(self) -> dict[str, int | None]:
        """Return the training tokens of each source at hand; None: unknown size."""
        from smolmix.shard_table import tokens_by_source

        return tokens_by_source(self.shard_columns("source", "tokens"))

    def shard_identities(self) -> dict[str, tuple[list[str], list[int | None], list[int | None]]]:
        """Return content hashes (may be empty), tokens and bytes of each source's shards, by ordinal."""
        from smolmix.shard_table import identities_by_source

        return identities_by_source(self.shard_columns("source", "xxh3_128", "tokens", "bytes"))

    def shards(self) -> Any:
        """Return the rows of ``shards.parquet`` as an Arrow table."""
        from smolmix.shard_table import SHARDS_SCHEMA

        return self.shard_columns(*SHARDS_SCHEMA.names).cast(SHARDS_SCHEMA)

    def shard_columns(self, *names: str) -> Any:
        """Return columns of ``shards.parquet`` as an Arrow table."""
        from smolmix.shard_table import read_columns

        if self.table is not None:
            return self.table.select(list(names))
        assert self.folder is not None, "a plan is made or loaded"
        return read_columns(self.folder / "shards.parquet", names)

    def at(self, index: int) -> Sample:
        """Return (source, pass, shard, window) of a sample index."""
        return self.order.at(index)

    def at_many(self, indices: Any) -> Samples:
        """Return (source, pass, shard, window) of many sample indices, as columns."""
        return self.order.at_many(indices)

    def index_of(self, source: str, pass_: int, shard: int, window: int) -> int:
        """Return the sample index at which a window is read; the inverse of :meth:`at`."""
        return self.order.index_of(source, pass_, shard, window)

    def first_indices(self, source: str) -> I64:
        """Return for each shard of a source the first sample index at which it is opened; -1: never."""
        return self.order.first_indices(source)

    def as_json(self) -> dict[str, Any]:
        """Return what ``plan.json`` holds."""
        names = (
            "name",
            "preset",
            "profile",
            "unit",
            "sequence_length",
            "batch_windows",
            "steps",
            "windows",
            "tokens",
        )
        return {
            "format_version": FORMAT_VERSION,
            **{name: getattr(self, name) for name in names},
            "start_step": self.start_step,
            "budget": asdict(self.budget),
            "follows": asdict(self.follows) if self.follows else None,
            "seed": self.seed,
            "validation_share": fraction_text(self.validation_share),
            "tokenizer": asdict(self.tokenizer),
            "prefix_bound": fraction_text(self.prefix_bound),
            "weight_bound": fraction_text(self.weight_bound),
            "sources": [_source_json(source) for source in self.sources],
            "findings": [finding.as_json() for finding in self.findings],
            "lock": asdict(self.lock),
            **({"retraction": asdict(self.retraction)} if self.retraction else {}),
        }


_FRACTIONS = ("published_weight", "weight", "passes_before", "passes")


def _source_json(source: SourcePlan) -> dict[str, Any]:
    values = asdict(source)
    for name in _FRACTIONS:
        values[name] = None if values[name] is None else fraction_text(values[name])
    return values


def _sequence(source: SourcePlan, seed: int, sizes: I64 | None) -> Sequence:
    if sizes is None and source.status != "unknown_size":
        sizes = np.zeros(0, np.int64)
    if sizes is not None and (
        sizes.size != source.shards or int(sizes.sum()) != (source.capacity_windows or 0)
    ):
        raise IntegrityError(
            f"shards.parquet has {sizes.size:,} shards with {int(sizes.sum()):,} windows for "
            f"{source.name!r}, plan.json says {source.shards:,} with {source.capacity_windows}; plan again"
        )
    return Sequence(source.name, source_key(seed, source.name), sizes, source.start, source.windows)


def load_plan(path: Path | str) -> Plan:
    """Read a plan from its folder or its ``plan.json``.

    Raises:
        InputError: there is no plan.
        IntegrityError: the file is no plan, or of a later format.
    """
    given = Path(path)
    file = given if given.suffix == ".json" else given / "plan.json"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"there is no plan at {given}; `make mixture STAGE=2` makes one") from error
    except ValueError as error:
        raise IntegrityError(f"{file} is not JSON ({error}); plan again") from error
    version = data.get("format_version") if isinstance(data, dict) else None
    if version != FORMAT_VERSION:
        raise IntegrityError(
            f"{file} has format_version {version!r}, this version reads {FORMAT_VERSION}; plan again"
        )
    try:
        return _from_json(data, file.parent)
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{file} is not a whole plan ({error!r}); plan again") from error


def _from_json(data: dict[str, Any], folder: Path) -> Plan:
    values = {key: value for key, value in data.items() if key not in {"format_version", "windows", "tokens"}}
    for name in ("validation_share", "prefix_bound", "weight_bound"):
        values[name] = parse_fraction(values[name])
    values["budget"] = BudgetPlan(**data["budget"])
    values["follows"] = Follows(**data["follows"]) if data["follows"] else None
    values["tokenizer"] = TokenizerFacts(**data["tokenizer"])
    values["lock"] = Lock(**data["lock"])
    values["retraction"] = Retraction(**data["retraction"]) if "retraction" in data else None
    values["findings"] = tuple(Finding(**finding) for finding in data["findings"])
    values["sources"] = tuple(_source_from_json(source) for source in data["sources"])
    _check_integers("the plan", values, _PLAN_INTEGERS)
    return Plan(**values, folder=folder)


_PLAN_INTEGERS: Final = ("sequence_length", "batch_windows", "steps", "start_step", "seed")
_SOURCE_INTEGERS: Final = (
    "windows",
    "tokens",
    "shards",
    "base_windows",
    "offset_windows",
    "held_back_windows",
    "first_shard_offset",
)


def _check_integers(what: str, values: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if type(values[name]) is not int or values[name] < 0:
            raise ValueError(f"{what} has {name} {values[name]!r}, a whole number of at least 0 is wanted")


def _source_from_json(data: dict[str, Any]) -> SourcePlan:
    _check_integers(str(data["name"]), data, _SOURCE_INTEGERS)
    if data["capacity_windows"] is not None:
        _check_integers(str(data["name"]), data, ("capacity_windows",))
    exact = {name: None if data[name] is None else parse_fraction(data[name]) for name in _FRACTIONS}
    return SourcePlan(**{**data, **exact})
