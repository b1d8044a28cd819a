"""Findings: what a plan must say aloud, as data: a code, a severity, a number and a fix."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a reader of the plan should know."""

    code: str
    """Stable name of the kind, such as ``absent-source``."""
    severity: Severity
    source: str | None
    """The source it is about; None for the whole plan."""
    message: str
    """What, where, the number."""
    fix: str
    """What to do about it; ``nothing to do`` where it is for information."""

    def as_json(self) -> dict[str, Any]:
        """Return the finding as ``plan.json`` holds it."""
        return asdict(self)


NOTHING_TO_DO = "nothing to do"
