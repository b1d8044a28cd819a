"""What a build from the hub needs, before it starts: disk, time, access rights.

Sizes are the registry's published ones; where only tokens are published, 4 bytes a token; where nothing is,
the size is unknown and said so. Speeds were measured on the sample (see data/README.md) and scale with the
workers.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smoldata.console import say, table
from smoldata.errors import SourceError
from smoldata.pipeline_types import Limit
from smoldata.registry import Kind, Source

_BYTES_PER_TOKEN = 4
_UNKNOWN_DOCUMENT_BYTES = 10_000
# zstd Parquet against plain text, and bytes of text a second on one core: both measured on the sample.
_DISK_SHARE = 0.31
_PROSE_BYTES_A_SECOND = 450_000
_OTHER_BYTES_A_SECOND = 8_000_000
_SLOW_KINDS: frozenset[Kind] = frozenset({"prose"})


@dataclass(frozen=True, slots=True)
class SourceEstimate:
    """What one source needs; null where nothing is published."""

    source: str
    dataset: str | None
    text_bytes: int | None
    disk_bytes: int | None
    core_seconds: int | None
    basis: str
    """Where the size comes from."""
    problem: str
    """What stands in the way; empty: nothing known."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a build needs."""

    sources: tuple[SourceEstimate, ...]
    text_bytes: int
    disk_bytes: int
    core_seconds: int
    free_bytes: int
    unknown: tuple[str, ...]
    """Sources whose size is not published; they are not in the sums."""
    problems: tuple[str, ...]


def estimate_build(sources: Sequence[Source], build: Path, profile: str, limit: Limit) -> Estimate:
    """Estimate a build of ``sources``; only the hub needs one.

    Raises :class:`SourceError` for a profile without documents.
    """
    if profile not in {"hub", "sample"}:
        raise SourceError(f"profile {profile!r} has no documents; profiles with documents: sample, hub")
    token = has_token()
    entries = tuple(_estimate(source, limit, token=token) for source in sources)
    known = [entry for entry in entries if entry.text_bytes is not None]
    disk = sum(entry.disk_bytes or 0 for entry in known)
    free = _free_bytes(build)
    problems = [f"{entry.source}: {entry.problem}" for entry in entries if entry.problem]
    if disk > free:
        problems.insert(
            0, f"the disk of {build} has {free / 1e9:,.1f} GB free, about {disk / 1e9:,.1f} GB are needed"
        )
    return Estimate(
        sources=entries,
        text_bytes=sum(entry.text_bytes or 0 for entry in known),
        disk_bytes=disk,
        core_seconds=sum(entry.core_seconds or 0 for entry in known),
        free_bytes=free,
        unknown=tuple(entry.source for entry in entries if entry.text_bytes is None),
        problems=tuple(problems),
    )


def has_token() -> bool:
    """Tell whether a hub token is set (whether it opens a gated dataset only the hub knows)."""
    from huggingface_hub import get_token

    return get_token() is not None


def _estimate(source: Source, limit: Limit, *, token: bool) -> SourceEstimate:
    size, basis = _text_bytes(source)
    documents = limit.documents and limit.documents * _bytes_a_document(source, size)
    caps = [cap for cap in (limit.bytes, limit.tokens and limit.tokens * _BYTES_PER_TOKEN, documents) if cap]
    if caps and (size is None or min(caps) < size):
        size, basis = min(caps), "the limit"
    speed = _PROSE_BYTES_A_SECOND if source.kind in _SLOW_KINDS else _OTHER_BYTES_A_SECOND
    return SourceEstimate(
        source=source.name,
        dataset=source.hub.dataset if source.hub else None,
        text_bytes=size,
        disk_bytes=None if size is None else int(size * _DISK_SHARE),
        core_seconds=None if size is None else -(-size // speed),
        basis=basis,
        problem=_problem(source, token=token),
    )


def _text_bytes(source: Source) -> tuple[int | None, str]:
    size = source.size
    if size is not None and size.bytes is not None:
        return size.bytes, "published bytes"
    if size is not None and size.tokens is not None:
        return size.tokens * _BYTES_PER_TOKEN, "published tokens, 4 bytes each"
    return None, "size not published"


def _bytes_a_document(source: Source, text_bytes: int | None) -> int:
    documents = source.size.documents if source.size is not None else None
    return -(-text_bytes // documents) if text_bytes and documents else _UNKNOWN_DOCUMENT_BYTES


def _problem(source: Source, *, token: bool) -> str:
    if source.location is not None:
        return ""
    if source.hub is None:
        return "origin not published: point it at data of your own (--registry)"
    if source.hub.gated and not token:
        return f"{source.hub.dataset} is gated, no token is set: ask for access there, then `hf auth login`"
    contents = "contents come from Software Heritage: " if source.hub.contents == "software_heritage" else ""
    if contents and "SMOLDATA_CONTENTS_URL" not in os.environ:
        return contents + "a bulk download needs an agreement with them"
    return "gated: a token is set, whether it has access shows when reading" if source.hub.gated else ""


def _free_bytes(folder: Path) -> int:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def show_estimate(estimate: Estimate) -> None:
    """Print an estimate for people."""
    rows = [
        (
            entry.source,
            entry.dataset,
            "unknown" if entry.text_bytes is None else f"{entry.text_bytes / 1e9:,.2f}",
            "" if entry.disk_bytes is None else f"{entry.disk_bytes / 1e9:,.2f}",
            "" if entry.core_seconds is None else f"{entry.core_seconds / 3600:,.1f}",
            entry.basis,
        )
        for entry in estimate.sources
    ]
    columns = ("source", "dataset", "GB of text", "GB on disk", "core hours", "basis")
    table("estimate", columns, rows, right=("GB of text", "GB on disk", "core hours"))
    say(
        f"in all {estimate.text_bytes / 1e9:,.2f} GB of text, {estimate.disk_bytes / 1e9:,.2f} GB on disk ("
        f"{estimate.free_bytes / 1e9:,.1f} GB free), {estimate.core_seconds / 3600:,.1f} core hours"
        + (f"; size unknown and not counted: {', '.join(estimate.unknown)}" if estimate.unknown else "")
    )
    for problem in estimate.problems:
        say(f"! {problem}")
