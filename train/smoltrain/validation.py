"""The validation split of a bundle's sources into a loss each, while a run goes on.

The split's shards stand beside the training shards and their manifests name them. The first windows of each
source are read once and scored with documents kept apart, as training reads them; the last one is filled up
with EOS that do not count. It is a gauge for the log: ``smoleval heldout`` scores documents one by one, with
errors and bits per byte. Cost: one forward pass over ``windows`` windows a source.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from smoltok.manifest import read_manifest
from smoltok.shards import open_shard
from smoltrain.bundle import Bundle, Places
from smoltrain.loader import Batch
from smoltrain.windows import Tokens, targets


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Validation windows of one source."""

    source: str
    batch: Batch


def held_out(bundle: Bundle, windows: int) -> list[HeldOut]:
    """Return up to ``windows`` validation windows of each source that has any."""
    found = []
    for number, source in enumerate(bundle.plan.sources):
        if source.status != "present" or not source.shards:
            continue
        folder = bundle.path_of(bundle.shards.row(number, 0)).parent
        rows = [row for row in read_manifest(folder) if row.split == "validation"]
        parts = [np.asarray(open_shard(folder / row.path).ids) for row in rows]
        if parts and any(len(part) > 1 for part in parts):
            found.append(HeldOut(source.name, _batch(np.concatenate(parts), bundle, windows)))
    return found


def _batch(tokens: Tokens, bundle: Bundle, windows: int) -> Batch:
    length = bundle.sequence_length + 1
    count = max(1, min(windows, -(-len(tokens) // length)))
    used = tokens[: count * length]
    filled = np.full(count * length, bundle.eos_id, tokens.dtype)
    filled[: len(used)] = used
    made = targets(filled.reshape(count, length), bundle.eos_id)
    last = np.arange(length - 1) + (count - 1) * length + 1 < len(used)
    mask = made.mask.copy()
    mask[-1] &= last
    none = np.zeros(count, np.int64)
    return Batch(0, made.ids, made.positions, made.labels, mask, Places(none, none, none, none, none))


Evaluate = Callable[[Batch], tuple[float, int]]
"""A batch into its summed loss in nats and its labels."""


def losses(evaluate: Evaluate, parts: list[HeldOut], micro_batch: int) -> dict[str, float]:
    """Return the mean loss of each source, in nats a label."""
    found = {}
    for part in parts:
        nats, labels = 0.0, 0
        for begin in range(0, len(part.batch.ids), micro_batch):
            each = evaluate(part.batch.rows(slice(begin, begin + micro_batch)))
            nats, labels = nats + each[0], labels + each[1]
        if labels:
            found[part.source] = nats / labels
    return found
