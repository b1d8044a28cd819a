"""The datatrove blocks behind ``exact_dedup`` and ``minhash_dedup``, and what their keys decide.

Each block leaves a key in a document as it passes; when all tasks of the source are done, the keys decide
which documents are dropped (:class:`smoldata.merge.Gather`). Of a cluster the document with the least hash of
its text stays, then the least identifier: the same one whatever the files, their order and the tasks.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np
import xxhash
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from smoldata.dedup.clusters import components, keep_one
from smoldata.dedup.signatures import MinhashShape, shared_signer
from smoldata.dedup.steps import ExactSettings, MinhashSettings
from smoldata.steps import KEY_PREFIX

DIGEST_BYTES = 16
_SPACES = re.compile(r"\s+")


def normalised(text: str, how: str) -> str:
    """Return what of a text is compared."""
    if how == "none":
        return text
    if how == "spaces":
        return _SPACES.sub(" ", unicodedata.normalize("NFC", text)).strip()
    from datatrove.utils.text import simplify_text

    return str(simplify_text(text))


class LeaveKey(PipelineStep):  # type: ignore[misc] # datatrove ships no types
    """Leaves a key in each document's metadata; drops nothing."""

    type = "🫂 - DEDUP"

    def __init__(self, name: str) -> None:
        """Leave keys under ``name``."""
        super().__init__()
        self.name = name

    def key(self, text: str) -> bytes:
        """Return a text's key."""
        raise NotImplementedError

    def run(self, data: Any, _rank: int = 0, _world_size: int = 1) -> Iterator[Document]:
        """Yield every document."""
        for document in data:
            document.metadata[KEY_PREFIX + self.name] = self.key(document.text)
            yield document


class ExactKey(LeaveKey):
    """The digest of a normalised text, and of the text."""

    def __init__(self, settings: ExactSettings) -> None:
        """Compare as ``settings`` say."""
        super().__init__("exact_dedup")
        self._how = settings.normalise

    def key(self, text: str) -> bytes:
        """Return 32 bytes: xxh3-128 of the normalised text, and of the text."""
        same = xxhash.xxh3_128_digest(normalised(text, self._how).encode())
        return same + xxhash.xxh3_128_digest(text.encode())


class MinhashKey(LeaveKey):
    """The digest of a text and its band hashes."""

    def __init__(self, settings: MinhashSettings, language: str) -> None:
        """Sign as ``settings`` say."""
        super().__init__("minhash_dedup")
        self._language = language
        self._shape = MinhashShape(settings.ngram, settings.bands, settings.rows, settings.seed)

    def key(self, text: str) -> bytes:
        """Return 16 bytes of digest and 8 bytes a band; digest alone for a text with too few words."""
        signer = shared_signer(self._language, self._shape)
        return xxhash.xxh3_128_digest(text.encode()) + signer.bands(text)


def drop_exact(frame: Any, _settings: ExactSettings) -> Any:
    """Return which rows to drop: all but one of each normalised text."""
    keys = _bytes(frame["key"].to_list(), 2 * DIGEST_BYTES)
    _, labels = np.unique(keys[:, :DIGEST_BYTES].copy().view("V16")[:, 0], return_inverse=True)
    return _dropped(frame, labels.astype(np.int64), keys[:, DIGEST_BYTES:])


def drop_near(frame: Any, settings: MinhashSettings) -> Any:
    """Return which rows to drop: all but one of each cluster of near-duplicates."""
    import polars as pl

    width = DIGEST_BYTES + 8 * settings.bands
    signed = frame.filter(pl.col("key").bin.size() == width)
    keys = _bytes(signed["key"].to_list(), width)
    bands = keys[:, DIGEST_BYTES:].copy().view("<u8")
    labels = components(len(bands), settings.bands, lambda band: np.ascontiguousarray(bands[:, band]))
    return _dropped(signed, labels, keys[:, :DIGEST_BYTES])


def _bytes(keys: list[bytes], width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, width)


def _dropped(frame: Any, labels: Any, digests: Any) -> Any:
    """Return the rows that don't stay, with the cluster's number of documents and the document that does."""
    import polars as pl

    place = pl.DataFrame({"digest": [row.tobytes() for row in digests], "id": frame["id"]})
    order = place.with_row_index("row").sort("digest", "id", "row")["row"].to_numpy()
    preference = np.empty(len(labels), np.int64)
    preference[order] = np.arange(len(order))
    kept = keep_one(labels, preference)
    sizes = np.bincount(labels, minlength=len(labels))[labels] if len(labels) else labels
    out = np.flatnonzero(kept != np.arange(len(kept)))
    ids = frame["id"]
    return frame.select("task", "position")[out].with_columns(
        cluster=pl.Series([digests[row].tobytes().hex() for row in kept[out]], dtype=pl.String),
        cluster_size=pl.Series(sizes[out], dtype=pl.Int64),
        kept_id=ids.gather(kept[out]),
    )
