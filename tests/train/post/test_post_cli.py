"""The command line: plans, what is refused, and how it is said."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smoldata.errors import InputError
from smoltrain.cli import app


def test_a_plan_adds_up_without_data() -> None:
    done = CliRunner().invoke(app, ["post", "plan", "sft", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.output)
    assert len(rows) == 25
    assert sum(row["taken"] for row in rows) == 1_444_084
    table = CliRunner().invoke(app, ["post", "plan", "sft"]).output
    assert "1,006.23" in table
    assert "884.01" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--profile", "full"], "unknown profile 'full'"),
        (["run", "--loss", "ppo"], "unknown loss 'ppo'"),
        (["run"], "no trained run"),
        (["chat"], "no post-trained model"),
        (["serve"], "no post-trained model"),
        (["merge", "a=0.9", "b", "--out", "c"], "give every checkpoint a weight"),
        (["merge", "a", "b", "--out", "c", "--engine", "blender"], "unknown engine 'blender'"),
        (["plan", "stf"], "mid, sft, apo"),
    ],
)
def test_what_cannot_be_done_says_why(arguments: list[str], message: str, tmp_path: Path) -> None:
    where = ["--build", str(tmp_path)] if arguments[0] in {"run", "chat", "serve"} else []
    done = CliRunner().invoke(app, ["post", *arguments, *where])
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)
