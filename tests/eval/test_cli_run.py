"""`smoleval tasks` and `smoleval run`, as a user meets them; what needs lighteval is in test_engine.py."""

import json
from pathlib import Path

import pytest
from tests.eval.tiny_model import write_checkpoint
from typer.testing import CliRunner

from smoldata.errors import InputError
from smoleval.cli import app


def test_tasks_are_listed_with_their_profiles() -> None:
    seen = CliRunner().invoke(app, ["tasks", "base"])
    assert seen.exit_code == 0
    assert "11 tasks" in seen.output
    assert "hub packaged fixture" in seen.output


def test_definitions_come_as_json() -> None:
    seen = CliRunner().invoke(app, ["tasks", "gsm8k", "--json"])
    (task,) = json.loads(seen.stdout)
    assert task["few_shot"] == {"shots": 5, "split": "train", "select": "random_sampling_from_train"}
    assert len(task["task_version"]) == 16


@pytest.mark.parametrize(("name", "code"), [("boolq_cf", 1), ("piqa_cf", 0)])
def test_findings_are_an_exit_code(name: str, code: int) -> None:
    assert CliRunner().invoke(app, ["tasks", name, "--check"]).exit_code == code


def test_an_unknown_task_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    with pytest.raises(InputError, match="no task or suite 'boolk_cf'; did you mean boolq_cf"):
        CliRunner().invoke(app, ["run", str(folder), "--tasks", "boolk_cf"], catch_exceptions=False)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.json"):
        CliRunner().invoke(
            app, ["run", str(tmp_path), "--tasks", "boolq_cf", "--profile", "fixture"], catch_exceptions=False
        )
