"""Characters and bytes a token of a profile's shards, by source and language: token manifests into pictures.

The same numbers as the view ``compression``, both splits together: EOS are not counted, imported shards
(without text) are left out, a source's language is the registry's. Cost: four columns of each manifest; no
text is read.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.errors import IntegrityError
from smoldata.registry import Registry
from smolmix.report_figures import paired_bars
from smolmix.report_html import Drawn, as_table
from smoltok.compression import PUBLISHED, Compression

_COLUMNS: Final = ("documents", "tokens", "text_characters", "text_bytes")
_NUMBERS: Final = ("documents", "tokens", "characters", "bytes", "characters a token", "bytes a token")
_NO_LANGUAGE: Final = "several, or not listed"


def available(profile: Path) -> bool:
    """Return whether anything is tokenized in a profile's folder."""
    return any(profile.glob("tokens/*/*/manifest.parquet"))


def draw(profile: Path, registry: Registry, prefix: str) -> list[Drawn]:
    """Return the pictures by source and by language, for each tokenizer. Raises IntegrityError."""
    found = []
    for number, tokenizer in enumerate(sorted(one for one in profile.glob("tokens/*") if one.is_dir())):
        rows = [row for row in map(_source, sorted(tokenizer.glob("*/manifest.parquet"))) if row.tokens]
        languages = {name: source.language for name, source in registry.sources.items()}
        for kind, listed in (("source", rows), ("language", by_language(rows, languages))):
            if listed:
                found.append(_picture(f"{prefix}-{number}-{kind}", kind, tokenizer.name, listed))
    return found


def _source(manifest: Path) -> Compression:
    try:
        table = pq.read_table(manifest, columns=list(_COLUMNS))
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(
            f"{manifest} cannot be read as Parquet ({error}); delete it and run the same command again"
        ) from error
    table = table.filter(pa.compute.greater(table["text_bytes"], 0))
    documents, tokens, characters, size = (int(pa.compute.sum(table[name]).as_py() or 0) for name in _COLUMNS)
    return Compression(manifest.parent.name, documents, tokens - documents, characters, size)


def by_language(rows: list[Compression], languages: Mapping[str, str | None]) -> list[Compression]:
    """Return the sums by the language of the source."""
    groups: dict[str, list[Compression]] = defaultdict(list)
    for row in rows:
        groups[languages.get(row.group) or _NO_LANGUAGE].append(row)
    return [
        Compression(
            language,
            *(
                sum(getattr(row, name) for row in listed)
                for name in ("documents", "tokens", "characters", "bytes")
            ),
        )
        for language, listed in sorted(groups.items())
    ]


def _picture(identifier: str, kind: str, tokenizer: str, rows: list[Compression]) -> Drawn:
    ordered = sorted(rows, key=lambda row: (-row.characters_a_token, row.group))
    title = (
        f"Characters and bytes a token by {kind}, {tokenizer} (published for English: {PUBLISHED} characters)"
    )
    series = {
        "characters a token": {row.group: row.characters_a_token for row in ordered},
        "bytes a token": {row.group: row.bytes_a_token for row in ordered},
    }
    cells = [[row.group, *_cells(row)] for row in ordered]
    table = as_table(f"{title}: the numbers", [kind, *_NUMBERS], cells, set(_NUMBERS))
    return Drawn(f"{tokenizer}-{kind}s", title, paired_bars(identifier, title, "a token", series), table)


def _cells(row: Compression) -> tuple[Any, ...]:
    whole = (row.documents, row.tokens, row.characters, row.bytes)
    return *(f"{one:,}" for one in whole), f"{row.characters_a_token:.3f}", f"{row.bytes_a_token:.3f}"
