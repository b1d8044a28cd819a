"""Programming tasks in both engines: equal verdicts on honest programs, and where lm-eval is deceived."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smoldata.errors import SmolError
from smoleval.lmeval_code import compare_verdicts
from smoleval.sandbox import Case

ROOT = Path(__file__).parents[2]
TESTS = "def check(candidate):\n    assert candidate(2) == 4\ncheck(double)\n"


def case(program: str) -> Case:
    return Case(program, tests=TESTS, functions=("double",))


def test_the_rules_agree_on_honest_programs(sandbox: None) -> None:
    programs = [
        "def double(x): return 2 * x",
        "def double(x): return x",
        "def double(x): raise KeyError",
        "x =",
    ]
    found = compare_verdicts([case(program) for program in programs])
    assert (found.programs, found.passed, found.passed_lm_eval, found.different) == (4, 1, 1, ())


def test_only_ours_holds_against_dishonest_ones(sandbox: None) -> None:
    programs = [
        "import os\nos._exit(0)",
        "class Any:\n    def __eq__(self, other): return True\ndef double(x): return Any()",
    ]
    found = compare_verdicts([case(program) for program in programs])
    assert (found.passed, found.passed_lm_eval, found.different) == (0, 2, (0, 1))


_COMPARE = """\
import sys
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM
from smoleval.data import load_data
from smoleval.definition import registry
from smoleval.generate import Limits
from smoleval.lightmodel import SmolModel
from smoleval.lmeval_code import compare_answers
from smoleval.loading import load_tokenizer
folder, packages = map(Path, sys.argv[1:])
model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
asked = SmolModel(model, load_tokenizer(folder), Limits(2048, 4096, 32768), "small")
task = registry()["humaneval_plus"]
found = compare_answers(asked, task, load_data(task, "packaged", packages), 3, 24)
print(found.items, found.equal)
"""


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_real_small_model_answers_the_same_in_both_engines(eval_packages: Path, tmp_path: Path) -> None:
    from smoleval.smallmodel import small_model

    try:
        folder = small_model(tmp_path, eval_packages)
    except SmolError as error:
        pytest.skip(f"the small model cannot be fetched here: {error}")
    seen = subprocess.run(
        [sys.executable, "-c", _COMPARE, str(folder), str(eval_packages)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"},
    )
    assert seen.stdout.splitlines()[-1:] == ["3 3"], seen.stderr[-3000:]
