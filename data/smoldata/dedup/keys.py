"""The datatrove blocks behind ``exact_dedup`` and ``minhash_dedup``, and what their keys decide.

Each block leaves a key in a document as it passes; when all tasks of the source are done, the keys decide
which documents are dropped (:class:`smoldata.merge.Gather`). Of a cluster the document with the least hash of
its text stays, then the least identifier: the same one whatever the files, their order and the tasks.
"""

import re
import unicodedata
from abc import abstractmethod
from collections.abc import Callable, Iterator
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

    @abstractmethod
    def key(self, text: str) -> bytes:
        """Return a text's key."""

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
    keys = key_bytes(frame["key"], 2 * DIGEST_BYTES)
    same = np.ascontiguousarray(keys[:, :DIGEST_BYTES]).view("V16")[:, 0]
    _, labels = np.unique(same, return_inverse=True)
    return _dropped(frame, labels.astype(np.int64), digest_at=DIGEST_BYTES)


def drop_near(frame: Any, settings: MinhashSettings) -> Any:
    """Return which rows to drop: all but one of each cluster of near-duplicates."""
    import polars as pl

    signed = frame.filter(pl.col("key").bin.size() > DIGEST_BYTES)
    labels = components(signed.height, settings.bands, band_columns(signed["key"], settings.bands))
    return _dropped(signed, labels, digest_at=0)


def band_columns(keys: Any, bands: int) -> Callable[[int], Any]:
    """Return a function that gives one band's hash of every key (of signed texts), uint64[keys]."""
    table = key_bytes(keys, DIGEST_BYTES + 8 * bands)

    def column(band: int) -> Any:
        start = DIGEST_BYTES + 8 * band
        return np.ascontiguousarray(table[:, start : start + 8]).view("<u8")[:, 0]

    return column


def key_bytes(keys: Any, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return binary values of one width as uint8[keys, width], without a Python object for each."""
    import pyarrow as pa

    array = keys.rechunk().to_arrow().cast(pa.large_binary())
    starts = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    assert (np.diff(starts) == width).all(), f"keys are {width} bytes"
    if not len(array):
        return np.empty((0, width), np.uint8)
    data = np.frombuffer(array.buffers()[2], np.uint8)[starts[0] : starts[-1]]
    return data.reshape(len(array), width)


def _dropped(frame: Any, labels: Any, *, digest_at: int) -> Any:
    """Return the rows that don't stay: with the cluster, its number of documents, and the one that stays."""
    import polars as pl

    sizes = np.bincount(labels, minlength=len(labels))[labels] if len(labels) else labels
    shared = np.flatnonzero(sizes > 1)
    digest = pl.col("key").bin.slice(digest_at, DIGEST_BYTES)
    columns = frame.select("task", "position", "id", digest=digest)[shared].with_row_index("number")
    order = columns.sort("digest", "id", "number")["number"].to_numpy()
    preference = np.empty(len(shared), np.int64)
    preference[order] = np.arange(len(shared))
    _, cluster = np.unique(labels[shared], return_inverse=True)
    kept = keep_one(cluster.astype(np.int64), preference)
    out = np.flatnonzero(kept != np.arange(len(kept)))
    stays = columns[kept[out]]
    return columns[out].select(
        "task",
        "position",
        cluster=stays["digest"].bin.encode("hex"),
        cluster_size=pl.Series(sizes[shared][out], dtype=pl.Int64),
        kept_id=stays["id"],
    )
