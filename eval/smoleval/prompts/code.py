"""Programming benchmarks: rows into Docs that say how a program is tested.

``specific``: ``begin`` (what stands before the answer in the program), ``tests``, ``functions`` and
``prelude``, or ``exchanges`` of input and output, as :class:`smoleval.sandbox.Case` has them. LiveCodeBench's
hidden tests are a pickled text; it is read opcode by opcode, never unpickled.
"""

import ast
import base64
import json
import pickletools
import zlib
from typing import Any

from smoldata.errors import SourceError
from smoleval.definition import TaskDefinition
from smoleval.functions import register
from smoleval.prompts import Row, doc

_STAR = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json", "builtins", "typing"),
)
PREAMBLE = (
    "".join(f"from {name} import *\nimport {name}\n" for name in _STAR) + "sys.setrecursionlimit(50000)\n"
)
"""What LiveCodeBench lets programs take for granted."""
_MOST_UNPACKED_BYTES = 1 << 30


@register(version=1)
def humaneval(row: Row, task: TaskDefinition) -> Any:
    """HumanEval and HumanEval+: the beginning of a function is to be gone on with.

    The tests may call the helpers in the prompt, so the prompt is their prelude.
    """
    specific = {
        "begin": row["prompt"],
        "prelude": row["prompt"],
        "tests": f"{row['test']}\ncheck({row['entry_point']})\n",
        "functions": [row["entry_point"]],
    }
    return doc(row["prompt"], [row["canonical_solution"]], specific=specific)


@register(version=1)
def mbpp(row: Row, task: TaskDefinition) -> Any:
    """MBPP+: the task and one of its tests in a docstring, as EvalPlus asks base models."""
    shown = row["test_list"][0]
    query = f'"""\n{row["prompt"].strip()}\n{shown.strip()}\n"""\n'
    imports = "\n".join(row.get("test_imports") or ())
    tests = row.get("test") or "\n".join(row["test_list"])
    specific = {
        "begin": query,
        "prelude": imports,
        "tests": tests,
        "functions": called(row["test_list"], row["code"]),
    }
    return doc(query, [row["code"]], specific=specific)


def called(tests: list[str], solution: str) -> list[str]:
    """Return the functions of a solution that its tests call by name.

    Raises :class:`SourceError` if there is none: such a row could not be scored.
    """
    names = {
        node.func.id
        for test in tests
        for node in ast.walk(ast.parse(test))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    defined = {
        node.name for node in ast.parse(solution).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    if not names & defined:
        raise SourceError(f"no function of the solution is called by its tests: {tests[:1]}")
    return sorted(names & defined)


@register(version=1)
def livecodebench(row: Row, task: TaskDefinition) -> Any:
    """LiveCodeBench: a statement; the program reads input, or completes a class ``Solution``."""
    from lighteval.tasks.tasks.lcb.main import prepare_prompt

    tests = json.loads(row["public_test_cases"]) + hidden_tests(row["private_test_cases"])
    name = json.loads(row["metadata"] or "{}").get("func_name")
    specific: dict[str, Any] = {"preamble": PREAMBLE}
    if name is None:
        specific["exchanges"] = [[test["input"], test["output"]] for test in tests]
    else:
        pairs = [
            [[json.loads(one) for one in test["input"].split("\n")], json.loads(test["output"])]
            for test in tests
        ]
        specific["functions"] = [name]
        specific["tests"] = _COMPARE.format(pairs=json.dumps(json.dumps(pairs)), name=name)
    return doc(prepare_prompt(dict(row)), [""], specific=specific)


_COMPARE = """\
import json
for arguments, wanted in json.loads({pairs}):
    found = {name}(*arguments)
    assert (list(found) if isinstance(found, tuple) else found) == wanted
"""


def hidden_tests(text: str) -> list[dict[str, str]]:
    """Return the hidden tests of a row: JSON, or base64 of zlib of a pickled JSON text.

    Raises :class:`SourceError` for anything else: a pickle of more than one text is never loaded.
    """
    try:
        return list(json.loads(text))
    except json.JSONDecodeError:
        pass
    try:
        unpacker = zlib.decompressobj()
        packed = unpacker.decompress(base64.b64decode(text, validate=True), _MOST_UNPACKED_BYTES)
        texts = [str(value) for code, value, _ in pickletools.genops(packed) if "UNICODE" in code.name]
        if len(texts) == 1:
            return list(json.loads(texts[0]))
    except (ValueError, zlib.error) as error:
        raise SourceError(f"hidden tests of a LiveCodeBench row cannot be read: {error}") from error
    raise SourceError(f"hidden tests of a LiveCodeBench row hold {len(texts)} texts, wanted one")
