"""The four web heuristics of FineWeb as one datatrove step: each document is split once.

In FineWeb's order: Gopher repetition, Gopher quality, C4 quality (which takes lines out of the text), FineWeb
quality. A dropped document carries the reason of the first rule that it breaks, as datatrove's own blocks
would give it; ``dropped_<reason>`` in the statistics counts them.
"""

from collections.abc import Mapping
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers.disk_base import DiskWriter

from smoldata.heuristics.c4 import C4QualityFilter
from smoldata.heuristics.fineweb import FineWebQualityFilter
from smoldata.heuristics.quality import GopherQualityFilter
from smoldata.heuristics.repetition import GopherRepetitionFilter
from smoldata.heuristics.splitter import WordSplitter

FILTERS: dict[str, type[BaseFilter]] = {
    "gopher_repetition": GopherRepetitionFilter,
    "gopher_quality": GopherQualityFilter,
    "c4_quality": C4QualityFilter,
    "fineweb_quality": FineWebQualityFilter,
}
# FineWeb's one change: C4's rule about end marks takes too much out (Penedo et al. 2024, section 3.6).
FINEWEB: dict[str, dict[str, Any]] = {"c4_quality": {"filter_no_terminal_punct": False}}


class WebHeuristics(BaseFilter):  # type: ignore[misc] # datatrove ships no types
    """Gopher repetition, Gopher quality, C4 quality and FineWeb quality, in this order."""

    name = "🌐 Web heuristics"

    def __init__(
        self,
        language: str = "eng_Latn",
        *,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        exclusion_writer: DiskWriter | None = None,
        splitter: WordSplitter | None = None,
    ) -> None:
        """Run the filters with datatrove's thresholds.

        ``options``: other arguments by filter (``{"c4_quality": {"min_num_sentences": 3}}``). Default is
        datatrove's FineWeb pipeline: :data:`FINEWEB`.
        """
        super().__init__(exclusion_writer)
        chosen = FINEWEB if options is None else options
        unknown = set(chosen) - set(FILTERS)
        assert not unknown, f"no such heuristics: {sorted(unknown)}; there are {sorted(FILTERS)}"
        self.filters = [
            kind(language=language, splitter=splitter, **chosen.get(name, {}))
            for name, kind in FILTERS.items()
        ]

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep, or drop with the reason of the first rule that the document breaks."""
        for inner in self.filters:
            verdict: bool | tuple[bool, str] = inner.filter(doc)
            if verdict is not True:
                return verdict
        return True
