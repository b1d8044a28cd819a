"""Characters and bytes a token, by source and by language: manifests and documents → a table and a plot.

Totals by source come from the token manifest. By language each document's tokens (from ``.docs.parquet``,
its EOS not counted) are joined with its language and its text's length (from the documents). SmolLM3's
published 3.94 characters a token "for English" stands beside them as :data:`PUBLISHED`; what was measured
here is other text, so the two are shown, not reconciled. Cost: reads the text once for languages; manifests
only for sources.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smoldata.errors import IntegrityError
from smoldata.files import xxh3_128
from smoltok.manifest import ShardRow, read_manifest
from smoltok.shards import read_docs

PUBLISHED = 3.94
"""Characters a token for English, as published with SmolLM3; the text measured there is not published."""

_UNKNOWN = "(none)"


@dataclass(frozen=True, slots=True)
class Compression:
    """How far a group of documents is compressed."""

    group: str
    documents: int
    tokens: int
    """Without the EOS of each document."""
    characters: int
    bytes: int

    @property
    def characters_a_token(self) -> float:
        """Unicode scalars a token."""
        return self.characters / max(self.tokens, 1)

    @property
    def bytes_a_token(self) -> float:
        """UTF-8 bytes a token."""
        return self.bytes / max(self.tokens, 1)


def by_source(tokens: Path, sources: Iterable[str]) -> list[Compression]:
    """Return one row a source, both splits together, from the manifests. Raises IntegrityError."""
    rows = []
    for source in sources:
        shards = read_manifest(tokens / source)
        documents = sum(shard.documents for shard in shards)
        rows.append(
            Compression(
                source,
                documents,
                sum(shard.tokens for shard in shards) - documents,
                sum(shard.text_characters for shard in shards),
                sum(shard.text_bytes for shard in shards),
            )
        )
    return rows


def by_language(tokens: Path, documents: Path, sources: Iterable[str]) -> list[Compression]:
    """Return one row a language of the documents, over all sources, the largest first.

    Raises IntegrityError if documents changed since they were tokenized.
    """
    parts = [
        _shard_languages(tokens / source / row.path, documents / source / row.input_path)
        for source in sources
        for row in read_manifest(tokens / source)
        if _has_documents(row, documents / source)
    ]
    if not parts:
        return []
    sums = pa.concat_tables(parts).group_by("language").aggregate(
        [("tokens", "sum"), ("tokens", "count"), ("characters", "sum"), ("bytes", "sum")]
    )  # fmt: skip
    rows = [
        Compression(
            row["language"], row["tokens_count"], row["tokens_sum"], row["characters_sum"], row["bytes_sum"]
        )
        for row in sums.to_pylist()
    ]
    return sorted(rows, key=lambda row: (-row.tokens, row.group))


def _has_documents(row: ShardRow, folder: Path) -> bool:
    """Return whether a shard's documents are there, unchanged (an imported shard has none)."""
    path = folder / row.input_path
    if not path.is_file() or not row.text_bytes:
        return False
    if xxh3_128(path) != row.input_xxh3_128:
        raise IntegrityError(f"{path} changed since it was tokenized: run `smoltok build` again")
    return True


def _shard_languages(shard: Path, documents: Path) -> Any:
    """Return tokens, characters and bytes of each document of a shard, with its language."""
    docs = read_docs(shard, ["row", "begin", "end"])
    with pq.ParquetFile(documents) as file:
        table = file.read(columns=["text", "language"])
    order, first = np.unique(np.asarray(docs["row"]), return_inverse=True)
    # A document that chunk shuffling cut has several entries: their tokens are added up.
    lengths = np.bincount(first, np.asarray(docs["end"]) - np.asarray(docs["begin"])).astype(np.int64) - 1
    table = table.take(pa.array(order))
    return pa.table(
        {
            "language": pc.fill_null(table["language"], _UNKNOWN),
            "tokens": lengths,
            "characters": pc.cast(pc.utf8_length(table["text"]), pa.int64()),
            "bytes": pc.cast(pc.binary_length(table["text"]), pa.int64()),
        }
    )


def plot(rows: Iterable[Compression], title: str) -> str:
    """Return a bar chart of characters a token as a static SVG."""
    import pygal

    chart = pygal.HorizontalBar(
        show_legend=False, js=[], no_prefix=True, title=title, x_title="characters a token", truncate_label=-1
    )
    ordered = sorted(rows, key=lambda row: row.characters_a_token)
    chart.height = 120 + 22 * len(ordered)
    chart.x_labels = [row.group for row in ordered]
    chart.add("", [round(row.characters_a_token, 3) for row in ordered])
    svg: str = chart.render(is_unicode=True)
    return svg
