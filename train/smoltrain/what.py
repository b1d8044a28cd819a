"""A step into the documents that it saw: source, document id, where in it, and how the text begins.

Window -> token range of its shard -> ``.ds.index`` -> document ids from ``.docs.parquet``, text from the ids
themselves. Cost: opening the shards of one step.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from smoldata.errors import InputError, IntegrityError
from smoltok.shards import Shard, open_shard
from smoltrain.bundle import Bundle
from smoltrain.loader import Loader
from smoltrain.pieces import Pieces

PREVIEW_TOKENS = 48


@dataclass(frozen=True, slots=True)
class Seen:
    """A document, or the part of one, in a window of a step."""

    index: int
    """Sample index in the stage."""
    source: str
    pass_: int
    shard: str
    window: int
    document: str
    first_token: int
    """Tokens of the document before the window."""
    tokens: int
    """Tokens of the document in the window, its EOS counted."""
    text: str
    """How the part in the window begins, or all of it."""


def seen_in_step(
    bundle: Bundle, step: int, pieces: Pieces, preview: int | None = PREVIEW_TOKENS
) -> Iterator[Seen]:
    """Yield what step ``step`` (from 0 in the stage) saw, window by window, in the order of the batch.

    ``preview``: tokens of text of each document; None: all that lies in the window.
    """
    if not 0 <= step < bundle.steps:
        raise InputError(f"step {step} is outside the stage: it has steps 0 to {bundle.steps - 1}")
    places = Loader(bundle).places(step)
    for at in range(len(places.index)):
        source, ordinal = int(places.source[at]), int(places.shard[at])
        shard = _planned_shard(bundle, bundle.shards.row(source, ordinal))
        for document, begin, end, start in _parts(shard, int(places.window[at]), bundle.sequence_length):
            yield Seen(
                index=int(places.index[at]),
                source=bundle.sources[source],
                pass_=int(places.pass_[at]),
                shard=shard.path.name,
                window=int(places.window[at]),
                document=document,
                first_token=begin - start,
                tokens=end - begin,
                text=pieces.text(shard.ids[begin : end if preview is None else min(end, begin + preview)]),
            )


def _planned_shard(bundle: Bundle, row: int) -> Shard:
    """Open a shard; raise :class:`IntegrityError` if it is not as long as the plan counts on."""
    shard, planned = open_shard(bundle.path_of(row)), int(bundle.shards.tokens[row])
    if len(shard.ids) != planned:
        raise IntegrityError(
            f"shard {shard.path}: {len(shard.ids):,} tokens, the plan counts on {planned:,}; "
            "it was tokenized anew since: make the plan anew"
        )
    return shard


def _parts(shard: Shard, window: int, sequence_length: int) -> Iterator[tuple[str, int, int, int]]:
    """Yield (document id, first token, end, start of the document) of each document in a window's inputs."""
    names = shard.document_ids()
    begin = window * (sequence_length + 1)
    stop = begin + sequence_length
    while begin < stop:
        entry = shard.entry_at(begin)
        start = int(shard.ends[entry - 1]) if entry else 0
        end = min(int(shard.ends[entry]), stop)
        yield names[entry], begin, end, start
        begin = end
