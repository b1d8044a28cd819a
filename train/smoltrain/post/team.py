"""The processes that train a phase together: started by `accelerate launch`, or this one alone.

The first of them holds the folder, clears it and writes every file; the others wait for it where it says so.
All must see the same file system. Cost: a few small messages a phase.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoldata.files import single_writer


@dataclass(frozen=True, slots=True)
class Team:
    """This process among those of a phase."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Tell whether this process writes files."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def share(self, value: Any) -> Any:
        """Return the first process's value in all of them."""
        if self.size == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]


@contextmanager
def assembled(folder: Path) -> Iterator[Team]:
    """Join the processes that a launcher started; the first holds ``folder``.

    Raises BusyError in the first process when another run holds it: the launcher then ends all of them.
    """
    import os

    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        with single_writer(folder):
            yield Team()
        return
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    team = Team(state.process_index, state.num_processes)
    if team.first:
        with single_writer(folder):
            yield team
    else:
        yield team
