"""Answers to the instruct and card tasks against scores worked out by hand, on the fixtures' rows."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from smoleval.definition import registry, tasks_folder
from smoleval.sandbox import SandboxError, probe

ROOT = Path(__file__).parents[2]
BOXED = "Therefore, the final answer is: $\\boxed{%s}$. I hope it is correct"


@cache
def rows(fixture: str) -> list[dict[str, Any]]:
    lines = (tasks_folder() / "fixtures" / fixture).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["row"] for line in lines]


def row_of(fixture: str, **wanted: object) -> dict[str, Any]:
    return next(row for row in rows(fixture) if all(row[name] == value for name, value in wanted.items()))


def one(task: str, fixture: str, number: int, answer: str, **metrics: object) -> tuple[Any, ...]:
    return task, rows(fixture)[number], [answer], metrics


def cases() -> list[tuple[Any, ...]]:
    """Return (task, row, answers, metrics)."""
    programs = code_cases() if isolates() else []
    return [*math_cases(), *letter_cases(), *instruction_cases(), *programs, *call_cases()]


@cache
def isolates() -> bool:
    """Tell whether programs can be run here; tests/eval/sandbox says why not."""
    try:
        probe()
    except SandboxError:
        return False
    return True


def math_cases() -> list[tuple[Any, ...]]:
    name = "math_pass@1:1_samples"
    quarter = "0.25"
    assert rows("gsm_plus.jsonl")[3]["answer"] == quarter
    values = [
        ("0.25", 1),
        ("\\frac{1}{4}", 1),
        ("\\dfrac14", 1),
        ("0.26", 0),
        ("\\frac{1}{5}", 0),
        ("4^{-1}", 1),
    ]
    found = [one("gsm_plus", "gsm_plus.jsonl", 3, BOXED % text, **{name: value}) for text, value in values]
    for text, value in (
        ("<think>It may be $\\boxed{7}$.</think>" + BOXED % "101", 1),
        ("<think>It is $\\boxed{101}$.</think>" + BOXED % "7", 0),
        ("12 boxes of 8 are 96, and 5 more make 101.", 1),
        ("", 0),
    ):
        found.append(one("gsm_plus", "gsm_plus.jsonl", 0, text, **{name: value}))
    found.append(one("gsm_plus", "gsm_plus.jsonl", 2, "None", **{"left out": True}))
    # Right are the samples 0, 4, 8, ...: 1 of 1, 1 of 4, 2 of 8, ... 16 of 64.
    samples = [BOXED % ("47" if number % 4 == 0 else "48") for number in range(64)]
    shares = {f"math_pass@1:{count}_samples": 0.25 for count in (4, 8, 16, 32, 64)}
    found.append(("aime25", rows("aime.jsonl")[0], samples, {name: 1.0} | shares))
    return found


def letter_cases() -> list[tuple[Any, ...]]:
    samples = [
        "Answer: GOLD",
        *["Answer: OTHER"] * 3,
        *["I can't tell."] * 2,
        "so:\n\nAnswer: GOLD",
        "It is E.",
    ]
    gpqa = {"gpqa_pass@1:1_samples": 1.0, "gpqa_pass@1:4_samples": 0.25, "gpqa_pass@1:8_samples": 0.25}
    found: list[tuple[Any, ...]] = [("gpqa:diamond", row, samples, gpqa) for row in rows("gpqa.jsonl")]
    announced = {"deu": "Antwort", "fra": "Réponse", "ita": "Risposta", "por": "Resposta", "spa": "Respuesta"}
    hub = {"deu": "de", "fra": "fr", "ita": "it", "por": "pt", "spa": "es"}
    lines = (tasks_folder() / "fixtures" / "global_mmlu.jsonl").read_text(encoding="utf-8").splitlines()
    for language, word in announced.items():
        row = next(line["row"] for line in map(json.loads, lines) if line["config"] == hub[language])
        for text, value in (
            (f"...\n{word}: GOLD", 1),
            (f"...\n**{word}: GOLD) it is**\n", 1),
            (f"...\n{word}: OTHER", 0),
            ("It is GOLD.", 0),
            ("?", 0),
        ):
            task = f"global_mmlu_instruct_{language}"
            found.append((task, row, [text], {"pass@1:1_samples": value}))
    for text, value in (
        ("Answer: GOLD", 1),
        ("Answer: OTHER", 0),
        ("<think>Answer: OTHER</think>The answer is clear.\nAnswer: GOLD", 1),
    ):
        found.append(one("mmlu_pro", "mmlu_pro.jsonl", 1, text, **{"pass@1:1_samples": value}))
    return found


def instruction_cases() -> list[tuple[Any, ...]]:
    """Each fixture row holds two instructions: the lists say which are followed."""

    def followed(strict: list[bool], loose: list[bool]) -> dict[str, object]:
        return {
            "prompt_level_strict_acc": int(all(strict)),
            "inst_level_strict_acc": strict,
            "prompt_level_loose_acc": int(all(loose)),
            "inst_level_loose_acc": loose,
        }

    rivers = "* the rhine\n* the loire\n* the ebro"
    return [
        one("ifeval", "ifeval.jsonl", 2, rivers, **followed([True, True], [True, True])),
        # Its first line spoils the lower case; without it all is well.
        one("ifeval", "ifeval.jsonl", 2, "Here:\n" + rivers, **followed([True, False], [True, True])),
        one("ifeval", "ifeval.jsonl", 2, rivers + "\n* the po", **followed([False, True], [True, True])),
        one("ifeval", "ifeval.jsonl", 2, "the rhine", **followed([False, True], [False, True])),
        one(
            "ifeval", "ifeval.jsonl", 2, "<think>No, NO.</think>" + rivers, **followed([True] * 2, [True] * 2)
        ),
        one(
            "ifeval", "ifeval.jsonl", 1, "flour, oven. See you on Monday.", **followed([True] * 2, [True] * 2)
        ),
        one("ifeval", "ifeval.jsonl", 1, "flour. See you on Tuesday.", **followed([False] * 2, [False] * 2)),
        one("ifeval", "ifeval.jsonl", 1, "", **followed([False] * 2, [False] * 2)),
    ]


def code_cases() -> list[tuple[Any, ...]]:
    clamp, unshift = (row["canonical_solution"] for row in rows("humaneval.jsonl"))
    common = rows("mbpp.jsonl")[0]["code"]
    squares = "Like this:\n```python\nn = int(input())\nprint(sum(i * i for i in range(n + 1)))\n```\nDone."
    second = (
        "```python\nclass Solution:\n    def secondLargest(self, values: List[int]) -> int:\n        %s\n```"
    )
    half = [second % "return sorted(values)[-2]", *["no program"] * 6, second % "return max(values)"] * 2
    name = "codegen_pass@1:16"
    return [
        one("humaneval_plus", "humaneval.jsonl", 0, clamp, **{"pass@1": 1.0}),
        one("humaneval_plus", "humaneval.jsonl", 0, "    return value\n", **{"pass@1": 0.0}),
        one("humaneval_plus", "humaneval.jsonl", 0, "    import os; os._exit(0)\n", **{"pass@1": 0.0}),
        one("humaneval_plus", "humaneval.jsonl", 1, unshift, **{"pass@1": 1.0}),  # its tests call a helper
        one("mbpp_plus", "mbpp.jsonl", 0, common, **{"pass@1": 1.0}),
        one("mbpp_plus", "mbpp.jsonl", 0, common.replace("&", "|"), **{"pass@1": 0.0}),
        ("lcb:codegeneration", rows("livecodebench.jsonl")[0], [squares], {name: 1.0}),
        ("lcb:codegeneration", rows("livecodebench.jsonl")[0], [squares.replace("n + 1", "n")], {name: 0.0}),
        ("lcb:codegeneration", rows("livecodebench.jsonl")[1], half, {name: 0.125}),
    ]


def call_cases() -> list[tuple[Any, ...]]:
    call = '<tool_call>{"name": "tide.height", "arguments": {"harbour": "Eastport", "hour": %d}}</tool_call>'
    return [
        one("bfcl", "bfcl.jsonl", 0, "<think>Hm.</think>" + call % 6, accuracy=1.0),
        one("bfcl", "bfcl.jsonl", 0, call % 7, accuracy=0.0),
        one("bfcl", "bfcl.jsonl", 2, call % 18 + call % 6, accuracy=1.0),
        one("bfcl", "bfcl.jsonl", 3, "Barber.", accuracy=1.0),
        one("bfcl", "bfcl.jsonl", 3, call % 6, accuracy=0.0),
    ]


@pytest.fixture(scope="module")
def results() -> list[dict[str, Any]]:
    given = [[task, row, answers] for task, row, answers, _ in cases()]
    seen = subprocess.run(
        [sys.executable, "-m", "tests.eval.score_answers"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
    )
    assert seen.returncode == 0, seen.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(seen.stdout.splitlines()[-1])
    return found


def test_every_answer_has_the_score_worked_out_by_hand(results: list[dict[str, Any]]) -> None:
    wrong = [
        (task, answers[:2], expected, {name: seen.get(name) for name in expected})
        for (task, _, answers, expected), seen in zip(cases(), results, strict=True)
        if {name: seen.get(name) for name in expected} != expected
    ]
    assert wrong == []


def test_every_generated_task_of_both_suites_is_among_the_cases() -> None:
    tried = {task for task, *_ in (*cases(), *code_cases())}
    asked = {
        task.name
        for task in registry().values()
        if task.suite in {"instruct", "card_only"} and task.generation and "judge" not in task.needs
    }
    assert asked - tried == {"lcb:codegeneration_release_v4"}  # the same rule on more rows


def test_questions_are_built_as_published(results: list[dict[str, Any]]) -> None:
    asked = {task: seen.get("query", "") for (task, *_), seen in zip(cases(), results, strict=True)}
    assert asked["aime25"].endswith(
        "Think step by step before answering.\n\n" + rows("aime.jsonl")[0]["problem"]
    )
    assert "'Therefore, the final answer is: $\\boxed{ANSWER}$. I hope it is correct'" in asked["aime25"]
    assert "\n\n###\nPregunta:\n" in asked["global_mmlu_instruct_spa"]
    assert "with one of A, B, C, D, E, F, G, H, I, or J in place of X." in asked["mmlu_pro"]
    assert asked["mmlu_pro"].endswith("\nJ) 69\n###\n")
    if isolates():
        assert asked["mbpp_plus"].startswith('"""\nWrite a function')
        assert asked["mbpp_plus"].endswith('\n"""\n')
        starter = rows("livecodebench.jsonl")[1]["starter_code"]
        assert asked["lcb:codegeneration"].endswith(f"```python\n{starter}\n```\n\n")


def test_both_modes_and_the_published_sampling_hold_for_the_whole_suite() -> None:
    for task in registry().values():
        if task.suite == "instruct":
            asked = task.generation
            assert asked is not None
            assert task.chat
            assert task.modes == ("think", "no_think")
            assert (asked.temperature, asked.top_p, asked.max_new_tokens) == (0.6, 0.95, 32768)
            assert task.few_shot.shots == 0
