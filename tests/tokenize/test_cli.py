"""The command line: what it prints, how it fails, and how light it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smoldata.errors import InputError
from smoltok.cli import app

COMMANDS = ["encode", "build", "engines", "prove", "verify", "export", "import", "compression"]


def smoltok(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from smoltok.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_command_has_help_with_an_example() -> None:
    listed = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    assert listed == set(COMMANDS)
    for command in COMMANDS:
        result = CliRunner().invoke(app, [command, "--help"])
        assert result.exit_code == 0
        assert f"Example: smoltok {command}" in result.output


def test_import_and_help_load_nothing_heavy() -> None:
    code = (
        "import sys, smoltok, smoltok.cli;"
        "print([m for m in ('numpy', 'pyarrow', 'polars', 'tokenizers', 'tiktoken', 'fastokens',"
        " 'datatrove', 'torch', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_encode_reads_arguments_or_standard_input() -> None:
    both = CliRunner().invoke(app, ["encode", "hi", "Hello world"]).stdout
    assert both.splitlines() == ["[6151]", "[9906, 1917]"]
    assert CliRunner().invoke(app, ["encode"], input="Hello world").stdout == "[9906, 1917]\n"


def test_build_prints_what_it_made_and_why(documents: Path, tmp_path: Path) -> None:
    arguments = ["--documents", str(documents), "--tokens", str(tmp_path), "--workers", "1"]
    first = smoltok("build", *arguments)
    assert first.returncode == 0, first.stderr
    assert "library/00000.parquet: not made yet" in first.stderr
    again = CliRunner().invoke(app, ["build", *arguments, "--json"])
    [report] = json.loads(again.stdout)
    assert (report["source"], report["made"]) == ("library", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "--documents", "nowhere", "--tokens", "t"], "error: no source under nowhere"),
        (["encode", "x", "--tokenizer", "nowhere"], "neither a shipped one"),
        (["verify", "nowhere"], "holds no token shards"),
        (["import", "tfrecord", "x", "--source", "s", "--tokens", "t"], "there are megatron, numpy, mds"),
        (["engines", "--tokenizer", "llama-3.2", "--eos", "5"], "ends documents with 128001"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from smoltok.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_wrong_share_is_refused(documents: Path, tmp_path: Path) -> None:
    for share in ("half", "1/0", "3/2"):
        arguments = ["--tokens", str(tmp_path), "--validation-share", share]
        with pytest.raises(InputError, match="validation share"):
            CliRunner().invoke(
                app, ["build", "--documents", str(documents), *arguments], catch_exceptions=False
            )
