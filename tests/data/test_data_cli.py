"""The ``smoldata`` command, run as people run it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.data.helpers import own_source, real_texts, write_registry
from typer.testing import CliRunner

from smoldata.cli import app
from smoldata.writing import write_rows


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "smoldata.cli", *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | environment, input=""
    )


def test_build_and_inspect_own_data(tmp_path: Path) -> None:
    texts = real_texts(3)
    write_rows(tmp_path / "raw" / "a.jsonl", [{"text": text} for text in texts], "jsonl")
    registry = str(write_registry(tmp_path / "own.yaml", {"mine": own_source(tmp_path / "raw")}))
    common = ("--registry", registry, "--build", str(tmp_path / "out"))
    built = run("build", "--source", "mine", "--json", *common)
    assert built.returncode == 0, built.stderr
    (entry,) = json.loads(built.stdout)
    assert (entry["source"], entry["read"], entry["kept"], entry["fresh"]) == ("mine", 3, 3, True)
    shown = run("inspect", "mine", "--count", "1", "--json", *common)
    assert json.loads(shown.stdout)["text"] == texts[0]


def test_sources_as_json() -> None:
    listed = json.loads(run("sources", "--stage", "stage2", "--json").stdout)
    assert len(listed) == 46
    assert listed[0]["name"] == "fineweb-edu"
    assert listed[0]["sample"][0]["as"] == "plain"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sources", "--stage", "stage9"), "unknown stage 'stage9'; valid: long_context_32k"),
        (("build", "--source", "wikki"), "did you mean wiki"),
        (("build", "--source", "wiki", "--limit-bytes", "lots"), "--limit-bytes is 'lots'; want a number"),
        (("build", "--source", "wiki", "--workers", "0"), "--workers"),
        (("sources", "--registry", "nowhere.yaml"), "no registry at nowhere.yaml"),
        (("buidl",), "No such command 'buidl'"),
    ],
)
def test_usage_errors_exit_with_two(arguments: tuple[str, ...], message: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_hub_run_is_estimated_and_asked_for(tmp_path: Path) -> None:
    ended = run("build", "--profile", "hub", "--source", "wiki", "--build", str(tmp_path))
    assert "Read from the hub?" in ended.stderr
    assert "14.80" in ended.stdout
    assert ended.returncode == 130
    assert not (tmp_path / "hub").exists()


def test_an_unreachable_hub_is_one_line(tmp_path: Path) -> None:
    ended = run(
        *("build", "--profile", "hub", "--source", "wiki", "--build", str(tmp_path), "--yes"),
        HF_ENDPOINT="http://127.0.0.1:9",
        NO_PROXY="127.0.0.1",
    )
    assert ended.returncode == 2
    assert "cannot list allenai/dolmino-mix-1124 on the hub" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_has_an_example_for_each_command() -> None:
    commands = ("sources", "sample", "build", "estimate", "inspect", "decontaminate", "statistics", "lint")
    for command in (*commands, "train-classifier"):
        shown = CliRunner().invoke(app, [command, "--help"]).stdout
        assert f"Example: smoldata {command}" in shown


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, smoldata, smoldata.cli\n"
        "heavy = {'numpy', 'polars', 'pyarrow', 'datatrove', 'spacy', 'huggingface_hub', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ended.stdout.strip() == "[]"
