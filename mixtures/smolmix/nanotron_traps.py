"""What nanotron's stock loader does with a plan that a person must know before launching: notes with numbers.

Each note has a number and says what to do. Findings come from reading and running nanotron's branch smollm3:
its index, its folders that end, its record of consumed tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_INDEX_BYTES = 10  # a sample: int16 for the folder, int64 for the place in it
_INDEX_WORTH_A_WORD = 1 << 30


@dataclass(frozen=True, slots=True)
class Note:
    """Something the person who launches must know."""

    code: str
    message: str


def traps(plan: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]], train_steps: int) -> list[Note]:
    """Return the known traps of the stock loader that apply to this stage."""
    return [*_about_reading(plan), *_about_size(plan, train_steps), *_about_stages(earlier)]


def _about_reading(plan: Mapping[str, Any]) -> Iterator[Note]:
    yield Note(
        "loader-order",
        "nanotron's own loader blends the folders by these weights in its own order: counts agree with "
        "the plan to about one window a source, the order does not (`smoltrain.open_loader` keeps it)",
    )
    several = [one for one in plan["sources"] if one["capacity_windows"] and _copies(one) > 1]
    if several:
        most = max(several, key=_copies)
        yield Note(
            "repeats-linked",
            f"nanotron does not start a folder again at its end: `smolmix link-shards` links "
            f"{len(several)} sources more than once (up to {_copies(most)} times: {most['name']})",
        )


def _copies(source: Mapping[str, Any]) -> int:
    """Return how many passes of a folder must lie there for this stage and the ones before."""
    return -(-int(source["offset_windows"] + source["windows"]) // int(source["capacity_windows"]))


def _about_size(plan: Mapping[str, Any], train_steps: int) -> Iterator[Note]:
    index_bytes = _INDEX_BYTES * train_steps * plan["batch_windows"]
    if index_bytes > _INDEX_WORTH_A_WORD:
        yield Note(
            "index-memory",
            f"nanotron builds its index over all steps up to {train_steps:,} in every process: "
            f"{index_bytes / 1e9:.1f} GB each; give the nodes that much memory a GPU",
        )
    unknown = [one["name"] for one in plan["sources"] if one["status"] == "unknown_size" and one["windows"]]
    if unknown:
        yield Note(
            "unknown-size",
            f"{len(unknown)} sources have no published size, {unknown[0]} among them: whether their folders "
            "hold enough windows is not known; nanotron stops with an IndexError where one runs out",
        )


def _about_stages(earlier: Sequence[Mapping[str, Any]]) -> Iterator[Note]:
    if len(earlier) > 1:
        yield Note(
            "consumption-record",
            "from stage 2 on, nanotron's record of consumed tokens per folder is wrong (it counts the blend "
            "from the global step); a third stage may skip or repeat windows; the plan's own ledger is exact",
        )
