"""The front door: a target's commands are whole shell commands, whatever make's functions made of them."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = re.findall(r"^([a-z][a-z-]*):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
VARIABLES = ("", "STAGE=2", "RECIPE=my.yaml PRESET=blog BUDGET=1M", "STAGE=mid PRESET=tiny BUNDLE=b LIMIT=3")


def test_the_targets_are_found() -> None:
    assert {"mixture", "train", "eval", "posttrain", "test"} <= set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_commands_are_whole(target: str) -> None:
    """A comma inside $(if ...) once cut a command in two, and only running it showed that."""
    for variables in VARIABLES:
        line = [
            "make",
            "--dry-run",
            "--no-print-directory",
            "--directory",
            str(ROOT),
            target,
            *variables.split(),
        ]
        planned = subprocess.run(line, capture_output=True, text=True, check=True).stdout
        shell = subprocess.run(["sh", "-n"], input=planned, capture_output=True, text=True, check=False)
        assert shell.returncode == 0, f"make {target} {variables}: {shell.stderr}"
