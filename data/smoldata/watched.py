"""Steps that are watched: what goes in and does not come out is a counted drop, whoever wrote the step.

datatrove's filters are asked for their reason; any other step is watched from both sides. It may read ahead
(batches), but must yield in the order in which it took: so the first document that comes out says which ones
before it were dropped.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter, get_filter_result

from smoldata.reading import Report
from smoldata.steps import FILTER_REASON


class CountedFilter(PipelineStep):  # type: ignore[misc] # datatrove ships no types
    """Runs a datatrove filter and counts each document that it drops, by the filter's reason."""

    type = "🔻 - FILTER"
    name = "counted"

    def __init__(self, inner: BaseFilter, report: Report) -> None:
        """Wrap ``inner``."""
        super().__init__()
        self.inner, self.report = inner, report
        self.name = inner.name

    def run(self, data: Any, _rank: int = 0, _world_size: int = 1) -> Iterator[Document]:
        """Yield what the filter keeps."""
        for document in data:
            (result,) = self.inner.filter_batch([document])
            keep, reason = get_filter_result(result)
            self.stat_update("kept" if keep else "dropped")
            if keep:
                yield document
            else:
                self.report.drop(reason or type(self.inner).__name__, document)


class CountedStep(PipelineStep):  # type: ignore[misc]
    """Runs any step and counts each document that goes in and does not come out."""

    type = "🔧 - STEP"
    name = "counted"

    def __init__(self, name: str, inner: PipelineStep, report: Report) -> None:
        """Wrap ``inner``; a drop without a reason of its own is counted as ``name``."""
        super().__init__()
        self.inner, self.report = inner, report
        self.name = name
        self._inside: deque[Document] = deque()

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield what the step yields."""
        for document in self.inner.run(self._entering(data), rank, world_size):
            while self._inside and self._inside[0] is not document:
                self._drop(self._inside.popleft())
            assert self._inside, f"step {self.name} yielded a document that it was not given, or out of order"
            self._inside.popleft()
            yield document
        while self._inside:
            self._drop(self._inside.popleft())

    def _entering(self, data: Iterable[Document]) -> Iterator[Document]:
        for document in data:
            self._inside.append(document)
            yield document

    def _drop(self, document: Document) -> None:
        self.stat_update("dropped")
        self.report.drop(str(document.metadata.pop(FILTER_REASON, self.name)), document)


def watched(name: str, step: PipelineStep, report: Report) -> PipelineStep:
    """Return ``step`` such that its drops are counted in ``report``."""
    if isinstance(step, BaseFilter) and type(step).run is BaseFilter.run:
        return CountedFilter(step, report)
    return CountedStep(name, step, report)
