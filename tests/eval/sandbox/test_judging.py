"""Verdicts on programs: right ones pass, wrong ones fail, and none can forge one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoleval.sandbox import Case, Limits, judge, judge_many
from smoleval.sandbox.judging import same_output

TESTS = """
def check(candidate):
    assert candidate(2, 3) == 5
    assert candidate([1], [2]) == [1, 2]
    assert candidate((1,), ()) == (1,)
    assert candidate("a", "b") == "ab"
check(add)
"""


def verdict(program: str, tests: str = TESTS, **limits: float) -> tuple[bool, str]:
    case = Case(program, tests=tests, functions=("add",), limits=Limits(**limits))  # type: ignore[arg-type]
    found = judge(case)
    return found.passed, found.reason


def test_a_right_program_passes() -> None:
    assert verdict("def add(a, b): return a + b") == (True, "passed")


FORGERIES = {
    "wrong": "def add(a, b): return a",
    "nothing": "",
    "syntax": "def add(a, b:",
    "leave before": "import os\nos._exit(0)",
    "leave when called": "def add(a, b):\n    import os; os._exit(0)",
    "sys.exit": "def add(a, b):\n    raise SystemExit(0)",
    "at exit": "import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b): return a",
    "equal to everything": (
        "class Any:\n    def __eq__(self, other): return True\n    def __hash__(self): return 0\n"
        "def add(a, b): return Any()"
    ),
    "an int equal to everything": (
        "class Any(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
        "def add(a, b): return Any()"
    ),
    "changed builtins": (
        "import builtins\nbuiltins.AssertionError = type('E', (Exception,), {})\ndef add(a, b): return 0"
    ),
    "printed verdict": (
        'def add(a, b):\n    print(\'{"passed": true, "reason": "passed", "detail": ""}\', flush=True)\n'
    ),
    "verdict to every descriptor": (
        "import os\nfor number in range(1, 64):\n"
        '    try: os.write(number, b\'{"passed": true, "reason": "passed", "detail": ""}\')\n'
        "    except OSError: pass\n"
    ),
    "nonsense to the tests": "import os\nos.write(4, b'0000000c' + b'not json at ')\ndef add(a, b): return 0",
    "a huge message": "import os\nos.write(4, b'ffffffff' + b'x' * 100)\ndef add(a, b): return 0",
    "the frame of its caller": (
        "import sys\ndef add(a, b):\n    frame = sys._getframe()\n"
        "    while frame: frame.f_globals['check'] = frame.f_locals['passed'] = True; frame = frame.f_back\n"
        "    return 0"
    ),
    "look for the answers": (
        "import os\ndef add(a, b):\n    text = ''.join(open(f).read() for f in os.listdir('.'))\n"
        "    return 5 if '== 5' in text else 0"
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_no_program_forges_a_verdict(name: str) -> None:
    passed, _ = verdict(FORGERIES[name])
    assert not passed


def test_an_endless_program_is_stopped_with_its_tests() -> None:
    assert verdict("def add(a, b):\n    while True: pass", cpu_seconds=1, wall_seconds=60) == (False, "cpu")
    assert verdict("import time\ntime.sleep(10**6)", wall_seconds=0.5) == (False, "wall")


def test_exceptions_changes_in_place_and_plain_kinds_come_back_as_they_are() -> None:
    program = (
        "import collections, fractions\n"
        "def add(kind, values):\n"
        "    if kind == 'raise': raise ValueError('this one')\n"
        "    if kind == 'sort': values.sort(); return None\n"
        "    if kind == 'map': return map(str, values)\n"
        "    if kind == 'counter': return collections.Counter(values)\n"
        "    if kind == 'set': return {frozenset(values)}\n"
        "    if kind == 'half': return fractions.Fraction(1, 2)\n"
        "    big = {'big': 10 ** 5000, 'bytes': b'\\xff', (1, 2): None}\n"
        "    return {'nan': float('nan'), 'inf': float('inf'), **big}\n"
    )
    tests = (
        "import math, fractions\n"
        "try: add('raise', [])\n"
        "except ValueError as error: assert str(error) == 'this one'\n"
        "else: raise AssertionError('no error')\n"
        "mine = [3, 1, 2]\n"
        "assert add('sort', mine) is None and mine == [1, 2, 3]\n"
        "assert list(add('map', [1, 2])) == ['1', '2']\n"
        "assert add('counter', 'aab') == {'a': 2, 'b': 1}\n"
        "assert add('set', [1, 2]) == {frozenset({1, 2})}\n"
        "assert add('half', []) == fractions.Fraction(1, 2)\n"
        "found = add('', [])\n"
        "assert math.isnan(found['nan']) and found['inf'] == math.inf and found['big'] == 10 ** 5000\n"
        "assert found['bytes'] == b'\\xff' and found[(1, 2)] is None\n"
    )
    assert verdict(program, tests) == (True, "passed")


def test_methods_of_a_solution_class_are_found_and_the_prelude_is_the_tests_own() -> None:
    program = "helper = lambda x: 0\nclass Solution:\n    def add(self, a, b): return a + b"
    case = Case(
        program, tests="assert add(1, helper(2)) == 3", functions=("add",), prelude="def helper(x): return x"
    )
    assert judge(case).passed


def test_programs_that_read_their_input_are_compared_by_output() -> None:
    add = "print(sum(map(int, input().split())))"
    right = Case(add, exchanges=(("1 2\n", "3\n"), ("4 5\n", "9")))
    wrong = Case(add, exchanges=(("1 2\n", "3\n"), ("4 5\n", "8")))
    broken = Case("int('x')", exchanges=(("1 2\n", "3\n"),))
    silent = Case("", exchanges=(("1 2\n", "3\n"),))
    assert [one.passed for one in judge_many([right, wrong, broken, silent], workers=2)] == [
        True,
        False,
        False,
        False,
    ]
    assert "exchange 2" in judge(wrong).detail
    assert "ValueError" in judge(broken).detail


@given(st.lists(st.lists(st.integers(-50, 50), min_size=1, max_size=4), min_size=1, max_size=4))
def test_output_is_the_same_whatever_the_blanks_and_the_form_of_numbers(rows: list[list[int]]) -> None:
    plain = "\n".join(" ".join(map(str, row)) for row in rows)
    dressed = "\n".join("  " + "  ".join(f"{value}.0" for value in row) + " " for row in rows) + "\n\n"
    assert same_output(dressed, plain)
    assert not same_output(plain + "\n1", plain)
    assert not same_output(plain.replace(str(rows[0][0]), str(rows[0][0] + 1), 1), plain)


@settings(max_examples=3)
@given(st.permutations(range(4)))
def test_verdicts_come_in_the_order_of_the_cases(order: list[int]) -> None:
    cases = [Case(f"print({number})", exchanges=(("", "0"),)) for number in order]
    assert [one.passed for one in judge_many(cases, workers=3)] == [number == 0 for number in order]
