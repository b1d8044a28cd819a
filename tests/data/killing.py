"""A step for tests that kills its process once, in the middle of a task."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.pipeline.base import PipelineStep

from smoldata.steps import StepContext, StepSettings


class KillSettings(StepSettings):
    """Where the mark stands that it has happened; identifier of the document at which it happens."""

    mark: str
    at: str


def kill_once(settings: KillSettings, _context: StepContext) -> PipelineStep:
    """Return a step that kills its process at the document ``at``, if no mark stands."""
    return Kill(settings)


class Kill(PipelineStep):  # type: ignore[misc] # datatrove ships no types
    """Passes documents on; see above."""

    name, type = "kill", "test"

    def __init__(self, settings: KillSettings) -> None:
        super().__init__()
        self.settings = settings

    def run(self, data: Any, _rank: int = 0, _world_size: int = 1) -> Iterator[Any]:
        """Yield every document, unless this is the moment."""
        for document in data:
            if document.id == self.settings.at and not Path(self.settings.mark).exists():
                Path(self.settings.mark).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield document
