"""A gate on licences as a step: documents of a forbidden class are dropped as ``forbidden_licence``.

The licence is the document's own where the source states one for each (The Stack), else its source's.
"""

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter
from pydantic import Field

from smoldata.licences import LicenceClass, classes_of, read_classes
from smoldata.steps import StepContext, StepSettings

REASON = "forbidden_licence"


class LicenceSettings(StepSettings):
    """What stands in a recipe."""

    forbid: list[str] = Field(min_length=1)
    """Classes of licences: see smoldata.licences."""


class LicenceGate(BaseFilter):  # type: ignore[misc] # datatrove ships no types
    """Drops documents whose licence is of a forbidden class."""

    name = "licence"

    def __init__(self, forbidden: tuple[LicenceClass, ...]) -> None:
        """Forbid these classes."""
        super().__init__()
        self.forbidden = frozenset(forbidden)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep, or drop as ``forbidden_licence``."""
        return not self.forbidden & classes_of(doc.metadata.get("license")) or (False, REASON)


def licence(settings: LicenceSettings, _context: StepContext) -> LicenceGate:
    """Return the gate that a recipe's settings stand for."""
    return LicenceGate(read_classes(settings.forbid))
