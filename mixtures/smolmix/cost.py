"""Plans of a curriculum into what they cost: days, GPU-hours, storage, transfer, tokenizing, scoring.

Tokens are divided by stated speeds, in ``int`` and ``Fraction``; a number is rounded only when it is printed,
and every assumption carries where it comes from. A source is stored, moved, tokenized and scored once, as far
as the curriculum reads it: ``min(tokens drawn, its size)``, or the tokens drawn where the size is unknown.
Cost: microseconds a source.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, Final

from smoldata.errors import InputError
from smolmix.literals import fraction_text
from smolmix.plan import Plan
from smolmix.plan_diff import TOKENS_PER_GPU_SECOND

BLOG_TOKENS: Final = 11_200_000_000_000
BLOG_DAYS: Final = 24
BLOG_GPUS: Final = 384
RELEASED_STEPS: Final = (3_450_000, 748_000, 522_000)
RELEASED_BATCH_TOKENS: Final = 576 * 4096
SCORED_TOKENS: Final = 15_000_000_000_000
SCORING_GPU_HOURS: Final = 6_000
_HOUR: Final = 3600
_DAY_HOURS: Final = 24


@dataclass(frozen=True, slots=True)
class Speeds:
    """What is assumed about machines and text. A None takes the published or measured figure."""

    gpus: int = BLOG_GPUS
    tokens_per_gpu_second: Fraction | None = None
    text_bytes_per_token: Fraction | None = None
    tokenize_mb_per_core_second: Fraction | None = None
    score_tokens_per_gpu_second: Fraction | None = None


_DEFAULTS: Final = {
    "tokens_per_gpu_second": (
        Fraction(TOKENS_PER_GPU_SECOND),
        "SmolLM3 blog: 11.2T tokens in 24 days on 384 H100, divided out; windows over 4,096 are slower",
    ),
    "text_bytes_per_token": (
        Fraction(4),
        "Llama-3.2 vocabulary on English prose: 4.0 MB/s was 1.0 million tokens/s; other text differs",
    ),
    "tokenize_mb_per_core_second": (
        Fraction(100),
        "smoltok, documents to shards, 150 MB of code and docs on one quiet core: benchmarks/results.md",
    ),
    "score_tokens_per_gpu_second": (
        Fraction(SCORED_TOKENS, SCORING_GPU_HOURS * _HOUR),
        "FineWeb-Edu: its classifier scored 15T tokens in 6,000 H100-hours",
    ),
}


@dataclass(frozen=True, slots=True)
class Assumption:
    """A number that was not computed, and where it comes from."""

    name: str
    value: Fraction
    origin: str


@dataclass(frozen=True, slots=True)
class StageCost:
    """One stage, or a published total."""

    name: str
    tokens: int
    gpu_hours: Fraction
    days: Fraction


@dataclass(frozen=True, slots=True)
class Cost:
    """The whole bill; sizes in bytes."""

    stages: tuple[StageCost, ...]
    total: StageCost
    published: tuple[StageCost, ...]
    """The published run at the same speed on 384 GPUs, by each of its two published token counts."""
    gpus: int
    tokens_needed: int
    """Distinct tokens: each source as far as it is read, once."""
    shard_bytes: int
    """Of these tokens on disk: to store, and to move to the cluster once."""
    whole_sources_bytes: int
    """Token shards of all sources of known size, whole."""
    text_bytes: Fraction
    """Text of the tokens needed: to download, uncompressed."""
    tokenizing_core_hours: Fraction
    scoring_gpu_hours: Fraction
    unknown_sizes: tuple[str, ...]
    """Sources without a published size: counted as drawn, without repetition."""
    assumptions: tuple[Assumption, ...]

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON holds it; fractions are text."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return fraction_text(value)
    if isinstance(value, StageCost | Assumption):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def cost_of(plans: Sequence[Plan], speeds: Speeds | None = None) -> Cost:
    """Return what the stages of ``plans`` cost together.

    Raises:
        InputError: a number of GPUs or a speed that is not above zero.
    """
    given = speeds or Speeds()
    assumed = {name: _assume(name, getattr(given, name)) for name in _DEFAULTS}
    if given.gpus < 1:
        raise InputError(f"{given.gpus} GPUs cannot train; give one or more")
    speed = assumed["tokens_per_gpu_second"].value
    stages = tuple(_stage(_label(plan), plan.tokens, given.gpus, speed) for plan in plans)
    needed, sizes = _needed(plans)
    tokens, width = sum(needed.values()), plans[-1].tokenizer.token_width or 4
    text = tokens * assumed["text_bytes_per_token"].value
    core_second = assumed["tokenize_mb_per_core_second"].value * 10**6
    return Cost(
        stages=stages,
        total=_stage("all", sum(one.tokens for one in stages), given.gpus, speed),
        published=_published(speed),
        gpus=given.gpus,
        tokens_needed=tokens,
        shard_bytes=tokens * width,
        whole_sources_bytes=width * sum(size for size in sizes.values() if size is not None),
        text_bytes=text,
        tokenizing_core_hours=text / (core_second * _HOUR),
        scoring_gpu_hours=tokens / (assumed["score_tokens_per_gpu_second"].value * _HOUR),
        unknown_sizes=tuple(sorted(name for name, size in sizes.items() if size is None and needed[name])),
        assumptions=(*assumed.values(), _width(plans[-1], width)),
    )


def _assume(name: str, given: Fraction | None) -> Assumption:
    if given is None:
        return Assumption(name, *_DEFAULTS[name])
    if given <= 0:
        raise InputError(f"{name} is {fraction_text(given)}; it must be above zero")
    return Assumption(name, given, "given")


def _width(plan: Plan, width: int) -> Assumption:
    return Assumption("token_bytes", Fraction(width), f"width of an id of tokenizer {plan.tokenizer.name}")


def _label(plan: Plan) -> str:
    return f"{plan.name} ({plan.preset})" if plan.preset else plan.name


def _stage(name: str, tokens: int, gpus: int, speed: Fraction) -> StageCost:
    hours = tokens / (speed * _HOUR)
    return StageCost(name, tokens, hours, hours / (gpus * _DAY_HOURS))


def _published(speed: Fraction) -> tuple[StageCost, ...]:
    released = sum(RELEASED_STEPS) * RELEASED_BATCH_TOKENS
    return (
        _stage(f"blog: 11.2T tokens; it says {BLOG_DAYS} days", BLOG_TOKENS, BLOG_GPUS, speed),
        _stage("released files: 4,720,000 steps of 576 x 4,096", released, BLOG_GPUS, speed),
    )


def _needed(plans: Sequence[Plan]) -> tuple[dict[str, int], Mapping[str, int | None]]:
    """Return for each source the tokens on disk that are read at least once, and its size."""
    sizes: dict[str, int | None] = {}
    drawn: dict[str, int] = {}
    for plan in plans:
        sizes |= plan.shard_tokens()
        for source in plan.sources:
            # A window is one token longer on disk than what it counts for.
            read = source.windows * (plan.sequence_length + 1)
            drawn[source.name] = drawn.get(source.name, 0) + read
    needed = {}
    for name, tokens in drawn.items():
        size = sizes.get(name)
        needed[name] = tokens if size is None else min(tokens, size)
    return needed, {name: sizes.get(name) for name in drawn}


def rounded(value: Fraction | int, digits: int = 1) -> str:
    """Return a number for people: rounded half to even at the last digit shown, with thousands marked.

    >>> rounded(Fraction(2386, 100)), rounded(Fraction(44543706, 1000), 0)
    ('23.9', '44,544')
    """
    whole, part = divmod(round(abs(value) * 10**digits), 10**digits)
    sign = "-" if value < 0 else ""
    return f"{sign}{whole:,}.{part:0{digits}d}" if digits else f"{sign}{whole:,}"
