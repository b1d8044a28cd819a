"""Trackers: asked for by name, imported only then, told the log's own rows."""

import sys
from pathlib import Path

import pytest

from smoldata.errors import InputError
from smoltrain.tracking import PROJECT, tracker

MODULE = """
import json
from pathlib import Path

HERE = Path(__file__).with_name("told.jsonl")


def _tell(*what):
    with HERE.open("a") as file:
        file.write(json.dumps(what) + chr(10))


def init(project, name, config, resume):
    _tell("init", project, name, config, resume)


def log(row, step):
    _tell("log", row, step)


def finish():
    _tell("finish")
"""


def test_without_a_name_nothing_is_imported() -> None:
    with tracker(None, "run", {}) as tell:
        tell({"step": 0})
    assert "trackio" not in sys.modules
    assert "wandb" not in sys.modules


def test_an_unknown_or_missing_tracker_is_said() -> None:
    with pytest.raises(InputError, match="there are trackio and wandb"), tracker("tensorboard", "run", {}):
        pass
    with pytest.raises(InputError, match="pip install wandb"), tracker("wandb", "run", {}):
        pass


def test_a_tracker_is_told_every_row_and_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the tracker's name and calls stands on the path; what it is told is in a file."""
    (tmp_path / "trackio.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        with tracker("trackio", "stage2", {"lock": "ab"}) as tell:
            tell({"step": 3, "loss": 2.5})
    finally:
        sys.modules.pop("trackio", None)
    told = (tmp_path / "told.jsonl").read_text().splitlines()
    assert told == [
        f'["init", "{PROJECT}", "stage2", {{"lock": "ab"}}, "allow"]',
        '["log", {"step": 3, "loss": 2.5}, 3]',
        '["finish"]',
    ]
