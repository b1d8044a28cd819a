"""The note of a finished build: it is believed only while every file is as it was."""

import subprocess
import sys
from pathlib import Path

import pytest

from smolmix import quick


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.ds").write_bytes(b"1234")
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    arguments = ["build", "--stage", "2", "--build", "b"]
    quick.record(arguments, [tmp_path / "out", tmp_path / "recipe.yaml"], "nothing to do")
    return arguments


def test_an_unchanged_build_is_recognised(finished: list[str]) -> None:
    assert quick.up_to_date(finished) == "nothing to do"
    assert quick.up_to_date([*finished, "--quiet"]) == "nothing to do"


@pytest.mark.parametrize("change", ["edit", "remove", "add", "input", "argument"])
def test_any_change_is_noticed(finished: list[str], change: str) -> None:
    if change == "edit":
        Path("out/a.ds").write_bytes(b"12345")
    elif change == "remove":
        Path("out/a.ds").unlink()
    elif change == "add":
        Path("out/b.ds").write_bytes(b"")
    elif change == "input":
        Path("recipe.yaml").write_text("name: y!\n")
    else:
        finished = [*finished, "--budget", "1B"]
    assert quick.up_to_date(finished) is None


def test_a_broken_note_is_not_believed(finished: list[str]) -> None:
    (note,) = Path("b/state").glob("*.json")
    note.write_text(note.read_text()[:-20])
    assert quick.up_to_date(finished) is None


def test_recognising_imports_nothing_heavy(finished: list[str]) -> None:
    heavy = {"numpy", "polars", "duckdb", "pyarrow", "pydantic", "typer", "rich", "xxhash"}
    code = f"import sys; sys.argv[1:] = {finished!r}; from smolmix import quick; quick.main(); "
    code += f"assert not {heavy!r} & set(sys.modules), {heavy!r} & set(sys.modules)"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout == "nothing to do\n"


def test_pyarrow_does_not_load_pandas_in_the_main_job() -> None:
    code = (
        "import sys; from smolmix import quick; quick._keep_pandas_out(); import numpy, pyarrow as pa; "
        "pa.array(numpy.zeros(2)); pa.scalar(1); pa.table({'a': [1]}).to_pylist(); "
        "assert 'pandas' not in sys.modules, 'pandas was loaded'; "
        "assert quick._NoPandas not in sys.meta_path"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
