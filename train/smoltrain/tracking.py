"""Rows of the log to trackio or wandb as well, if one is asked for: the same keys, the same steps.

Neither is a dependency: each is imported when its name is given. Both keep runs on this machine unless they
are told otherwise (wandb: ``WANDB_MODE=offline``). Cost: none without.

A run that was killed tells the rows since its checkpoint again. That is meant: a tracker sends in the
background, so that nobody knows which rows had arrived; told twice, none is missing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from smoldata.errors import InputError
from smoltrain.runlog import Row

TRACKERS = ("trackio", "wandb")
PROJECT = "smollm3"


class Tracker(Protocol):
    """What takes rows."""

    def __call__(self, row: Row) -> None:
        """Take the row of one step."""


@contextmanager
def tracker(name: str | None, run: str, facts: dict[str, Any]) -> Iterator[Tracker]:
    """Yield what sends rows to the tracker called ``name``; with None it does nothing.

    ``facts`` (settings, lock) are recorded as the run's configuration. Raises :class:`InputError` for another
    name, or a tracker that is not installed.
    """
    if name is None:
        yield _nothing
        return
    if name not in TRACKERS:
        raise InputError(f"unknown tracker {name!r}; there are {' and '.join(TRACKERS)}")
    if find_spec(name) is None:
        raise InputError(f"{name} is not installed; run `pip install {name}`, or train without --track")
    module: Any = import_module(name)
    # Both take a run up again under its name.
    options = {"resume": "allow", "id": run} if name == "wandb" else {"resume": "allow"}
    module.init(project=PROJECT, name=run, config=facts, **options)
    try:
        yield lambda row: module.log(dict(row), step=int(row["step"]))
    finally:
        module.finish()


def _nothing(row: Row) -> None:
    """Take a row and do nothing with it."""
