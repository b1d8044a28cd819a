"""Decontamination as a step of a pipeline: contaminated documents are dropped, or marked, as they pass.

Dropped ones are listed whole (text, span, benchmark, item, rule) in ``removed/contaminated.parquet`` beside
the documents that stay; a marked one gets the score ``contamination``, the largest share of an item that it
holds. Documents are searched a megabyte at a time. Other contents of the evaluation sets make a build stale.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from pydantic import Field

from smoldata.decontamination.benchmarks import benchmark_files
from smoldata.decontamination.index import Index, Rules
from smoldata.decontamination.match import find_matches
from smoldata.decontamination.report import Place, listing_rows, token_counter
from smoldata.decontamination.run import index_of
from smoldata.dropped import LISTED
from smoldata.files import xxh3_128
from smoldata.steps import FILTER_REASON, StepContext, StepSettings, find_path

REASON = "contaminated"
SCORE = "contamination"
_BATCH_CHARACTERS = 1 << 20


class DecontaminateSettings(StepSettings):
    """What stands in a recipe."""

    benchmarks: list[str] = Field(min_length=1)
    """Folders or files of evaluation sets, in the recipe's folder or anywhere."""
    words: int = Field(default=13, ge=8, le=32)
    least_share: float = Field(default=0.0, ge=0, le=1)
    action: Literal["drop", "mark"] = "drop"

    def content(self, base: Path) -> list[str]:
        """Return the digests of the evaluation sets' files."""
        return [xxh3_128(file) for path in self.paths(base) for file in benchmark_files(path)]

    def paths(self, base: Path) -> tuple[Path, ...]:
        """Return where the evaluation sets are."""
        return tuple(find_path(base, path) for path in self.benchmarks)


class Decontaminate(PipelineStep):  # type: ignore[misc] # datatrove ships no types
    """Drops or marks documents that hold items of evaluation sets."""

    type = "🦠 - DECONT"
    name = "decontaminate"

    def __init__(self, settings: DecontaminateSettings, context: StepContext) -> None:
        """Prepare; the index is built once a process, when the first document comes."""
        super().__init__()
        self.paths = settings.paths(context.base)
        self.rules = Rules(words=settings.words, least_share=settings.least_share)
        self.drop = settings.action == "drop"
        self.source = context.source
        index_of(self.paths, self.rules)  # a missing evaluation set is an error before any work

    def run(self, data: Any, _rank: int = 0, _world_size: int = 1) -> Iterator[Document]:
        """Yield what is not contaminated; or everything, marked."""
        index = index_of(self.paths, self.rules)
        pending: list[Document] = []
        size = 0
        for document in data:
            pending.append(document)
            size += len(document.text)
            if size >= _BATCH_CHARACTERS:
                yield from self._decided(pending, index)
                pending, size = [], 0
        yield from self._decided(pending, index)

    def _decided(self, documents: list[Document], index: Index) -> Iterator[Document]:
        found = dict(find_matches([document.text for document in documents], index))
        count = token_counter(None)
        for number, document in enumerate(documents):
            matches = found.get(number)
            if matches is None:
                yield document
            elif self.drop:
                place = Place(self.source, document.id, text=document.text)
                document.metadata[LISTED] = listing_rows(place, document.text, matches, count)
                document.metadata[FILTER_REASON] = REASON
            else:
                share = max(match.share for match in matches)
                others = [
                    (name, value) for name, value in document.metadata.get("scores", ()) if name != SCORE
                ]
                document.metadata["scores"] = sorted([*others, (SCORE, share)])
                yield document


def decontaminate(settings: DecontaminateSettings, context: StepContext) -> Decontaminate:
    """Return the step that a recipe's settings stand for."""
    return Decontaminate(settings, context)
