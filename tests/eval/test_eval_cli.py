"""The command line: light help, one-line errors, a file of scores and a table."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import SmallHouse


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from smoleval.cli import main; sys.argv[0] = 'smoleval'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_help_is_light_and_has_an_example() -> None:
    seen = run("heldout", "--help")
    assert seen.returncode == 0
    assert "Example: smoleval heldout" in " ".join(seen.stdout.split())
    code = "import sys, smoleval.cli; print(sorted({'torch', 'numpy', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_usage_errors_exit_2(small_house: "SmallHouse") -> None:
    assert run("heldout", "--max-tokens", "0").returncode == 2
    for arguments, words in (
        (["nowhere", "--bundle", str(small_house.build)], "is not a bundle"),
        (["nowhere"], "is no run and no checkpoint of one"),
        (["--build", str(small_house.build)], "there is no trained run in"),
    ):
        seen = run("heldout", *arguments)
        assert seen.returncode == 2
        assert words in " ".join(seen.stderr.split())
        assert "Traceback" not in seen.stderr


def test_a_trained_run_is_scored(
    small_house: "SmallHouse", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")
    import pyarrow.parquet as pq

    import smoleval.cli
    import smoltrain.cli

    bundle, out = str(small_house.bundle), tmp_path / "sample" / "runs" / "trial"
    smoltrain.cli.app(["train", "--bundle", bundle, "--steps", "2", "--out", str(out)], standalone_mode=False)
    said = capsys.readouterr().err
    assert "not nanotron" in said
    assert "proved: the ledger equals the plan" in said
    smoleval.cli.app(["heldout", "--build", str(tmp_path), "--max-tokens", "300"], standalone_mode=False)
    seen = capsys.readouterr()
    assert "(mixture)" in seen.out
    assert "no bits per byte: " in seen.err
    assert "no validation text" not in seen.err
    (path,) = (tmp_path / "sample" / "scores").glob("trial_step-0000002-*/heldout-*.parquet")
    table = pq.read_table(path)
    assert set(table.column("subset").to_pylist()) == {"asyncio", "email", "idlelib", "json", "(mixture)"}
