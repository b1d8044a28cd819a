"""Task definitions: all published lines are there, mistakes are named with their line, versions move."""

import subprocess
import sys

import pytest

from smoldata.errors import InputError, RecipeError
from smoleval.definition import TaskDefinition, read_tasks, registry, select
from smoleval.functions import find

BASE = {
    "hellaswag_cf": (0, "Rowan/hellaswag"),
    "arc_cf": (0, "allenai/ai2_arc"),
    "mmlu_cf": (0, "cais/mmlu"),
    "mmlu_pro_cf": (0, "TIGER-Lab/MMLU-Pro"),
    "boolq_cf": (0, "google/boolq"),
    "commonsenseqa_cf": (0, "tau/commonsense_qa"),
    "winogrande_cf": (0, "allenai/winogrande"),
    "openbookqa_cf": (0, "allenai/openbookqa"),
    "piqa_cf": (0, "ybisk/piqa"),
    "gsm8k": (5, "openai/gsm8k"),
    "math_cot": (4, "DigitalLearningGmbH/MATH-lighteval"),
}
WRITTEN = ("fra_Latn", "spa_Latn", "deu_Latn", "ita_Latn", "por_Latn", "zho_Hans", "rus_Cyrl", "arb_Arab")
CODES = ("ara", "rus", "zho", "deu", "fra", "ita", "por", "spa")
TEXT = """format_version: 1
suite: base
tasks:
  one:
    dataset: some/data
    prompt: base.boolq
    metrics: [loglikelihood.acc]
    normalisation: none
    source: here
"""


def test_the_english_base_list_is_whole() -> None:
    found = {task.name: (task.few_shot.shots, task.dataset) for task in select(["base"])}
    assert found == BASE


def test_the_multilingual_list_is_whole() -> None:
    belebele = {f"belebele_{code}_cf" for code in (*WRITTEN, "eng_Latn")}
    flores = {f"flores200:{one}-eng_Latn" for one in WRITTEN} | {
        f"flores200:eng_Latn-{one}" for one in WRITTEN
    }
    others = {f"{name}_{code}_cf" for name in ("global_mmlu_ca", "mlmm_hellaswag") for code in CODES}
    tasks = select(["base_multilingual"])
    assert {task.name for task in tasks} == belebele | flores | others
    assert {task.name for task in tasks if task.few_shot.shots == 5} == flores
    assert len(tasks) == 41


def test_subsets_are_those_published() -> None:
    known = registry()
    sizes = {name: len(known[name].subsets) for name in ("arc_cf", "mmlu_cf", "math_cot", "mmlu_pro_cf")}
    assert sizes == {"arc_cf": 2, "mmlu_cf": 57, "math_cot": 7, "mmlu_pro_cf": 0}
    assert known["arc_cf"].hub_config("easy") == "ARC-Easy"
    assert known["global_mmlu_ca_fra_cf"].hub_config("anatomy") == "fr"
    assert known["mmlu_pro_mcf"].suite == "card_only"


@pytest.mark.parametrize("name", [*BASE, "mmlu_pro_mcf", "flores200:eng_Latn-zho_Hans"])
def test_every_function_that_a_task_names_is_registered(name: str) -> None:
    task = registry()[name]
    assert find("prompts", task.prompt).version >= 1
    assert all(find("metrics", metric).version >= 1 for metric in task.metrics)
    assert task.source
    assert task.normalisation


def test_an_unknown_key_is_named_with_its_line_and_a_hint() -> None:
    with pytest.raises(RecipeError, match=r"x\.yaml line 8: unknown key 'metrcs'; did you mean metrics"):
        read_tasks(TEXT.replace("    normalisation", "    metrcs: []\n    normalisation"), "x.yaml")
    with pytest.raises(RecipeError, match=r"line 7: unknown key 'max_tokens'; did you mean max_new_tokens"):
        read_tasks(
            TEXT.replace("    metrics", "    generation: {max_tokens: 1, max_new_tokens: 3}\n    metrics"),
            "x.yaml",
        )


def test_an_unknown_function_is_named_with_a_hint() -> None:
    with pytest.raises(RecipeError, match=r"line 6: .*no function 'boolg'; did you mean base\.boolq\?"):
        read_tasks(TEXT.replace("base.boolq", "base.boolg"), "x.yaml")
    with pytest.raises(RecipeError, match=r"no module smoleval\.metrics\.nowhere"):
        read_tasks(TEXT.replace("loglikelihood.acc", "nowhere.acc"), "x.yaml")
    with pytest.raises(RecipeError, match="no function 'Any'"):
        read_tasks(TEXT.replace("base.boolq", "base.Any"), "x.yaml")


def test_a_missing_or_wrong_value_is_named() -> None:
    with pytest.raises(RecipeError, match=r"line 4: source: Field required"):
        read_tasks(TEXT.replace("    source: here\n", ""), "x.yaml")
    with pytest.raises(RecipeError, match=r"line 7: metrics: .*at least 1 item"):
        read_tasks(TEXT.replace("[loglikelihood.acc]", "[]"), "x.yaml")
    with pytest.raises(RecipeError, match="suite"):
        read_tasks(TEXT.replace("suite: base", "suite: bass"), "x.yaml")


def test_each_writes_an_entry_out() -> None:
    text = TEXT.replace("  one:\n", "  one_{x}:\n    each: [{x: a, y: 1}, {x: b, y: 2}]\n").replace(
        "some/data", "some/{y}"
    )
    tasks = read_tasks(text, "x.yaml")
    assert [(task.name, task.dataset) for task in tasks] == [("one_a", "some/1"), ("one_b", "some/2")]


def test_an_unknown_task_has_a_hint_and_patterns_select() -> None:
    with pytest.raises(InputError, match=r"no task or suite 'hellaswg'; did you mean hellaswag_cf"):
        select(["hellaswg"])
    assert [task.name for task in select(["*piqa*", "piqa_cf", "gsm8k"])] == ["piqa_cf", "gsm8k"]


def changed(task: TaskDefinition, **values: object) -> str:
    return task.model_copy(update=values).task_version


def test_the_version_moves_with_what_decides_a_score_and_with_nothing_else() -> None:
    task = registry()["gsm8k"]
    assert task.generation is not None
    moved = [
        changed(task, dataset="another/one"),
        changed(task, revision="0" * 40),
        changed(task, split="train"),
        changed(task, prompt="base.math_cot"),
        changed(task, metrics=("text.extractive_match_latex",)),
        changed(task, few_shot=task.few_shot.model_copy(update={"shots": 4})),
        changed(task, generation=task.generation.model_copy(update={"stop": ("Q:",)})),
    ]
    assert len({task.task_version, *moved}) == len(moved) + 1
    same = [changed(task, packaged=()), changed(task, fixture=None), changed(task, source="x", note="y")]
    assert set(same) == {task.task_version}


def test_the_version_moves_with_the_prompt_functions_own(monkeypatch: pytest.MonkeyPatch) -> None:
    task = registry()["gsm8k"]
    before = task.task_version
    monkeypatch.setattr(find("prompts", "base.gsm8k").call, "__smoleval_version__", 99)
    assert task.task_version != before


def test_an_unpinned_dataset_is_a_finding() -> None:
    known = registry()
    assert any("revision of google/boolq is unverified" in one for one in known["boolq_cf"].findings())
    assert known["piqa_cf"].findings() == []
    assert any("fixtures only" in one for one in known["gsm8k"].findings())


def test_reading_definitions_imports_no_heavy_library() -> None:
    code = (
        "import sys; from smoleval.definition import registry; registry();"
        "print(*{'torch', 'transformers', 'lighteval', 'pyarrow', 'datasets'} & set(sys.modules))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == []
