"""lighteval through our engine: every task runs, scores are the hand-computed ones, a killed run goes on.

lighteval's import takes 15 to 25 s of CPU: what needs it stands in this file, imported once, and one child.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.eval.tiny_model import tiny_model, write_checkpoint, write_tokenizer

from smoldata.errors import InputError
from smoldata.files import sha256
from smoleval.data import load_data
from smoleval.definition import TaskDefinition, registry, select
from smoleval.engine import Settings, chosen, prepare, split_done
from smoleval.functions import find
from smoleval.job import Item, Job
from smoleval.scores import read_scores

# On a busy machine an import of lighteval has taken four minutes.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1800)]
SUITES = ["base", "base_multilingual", "extra", "mmlu_pro_mcf"]
SETTINGS = Settings(profile="fixture", device="cpu", max_new_tokens=8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def job(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    return prepare(checkpoint, chosen(SUITES, SETTINGS), tmp_path_factory.mktemp("build"), SETTINGS)


@pytest.fixture(scope="module")
def files(job: Job, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All base and multilingual tasks and MMLU-Pro MCF on their fixtures, in this process."""
    from smoleval.launcher import _run

    work = tmp_path_factory.mktemp("work")
    return {item.task: path for item, path, _ in _run(job, str(work))}


def read_details(job: Job, path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    details = Path(job.details) / path.relative_to(job.scores)
    rows: list[dict[str, Any]] = pq.read_table(details).to_pylist()
    return rows


def test_every_task_gives_scores_of_every_metric(files: dict[str, Path]) -> None:
    assert list(files) == [task.name for task in select(SUITES)]
    for name, path in files.items():
        scores = read_scores(path)
        whole = {score.metric for score in scores if not score.subset}
        assert len(whole) == len(registry()[name].metrics), name
        assert {score.task_version for score in scores} == {registry()[name].task_version}
        assert all(0 <= score.value <= 100 for score in scores)
        assert all(score.stderr is not None for score in scores if name.startswith("flores200"))


def test_a_task_of_subsets_is_their_plain_mean(files: dict[str, Path]) -> None:
    scores = [score for score in read_scores(files["arc_cf"]) if score.metric == "acc_norm"]
    parts = {score.subset: score for score in scores}
    assert set(parts) == {"", "easy", "challenge"}
    mean = (parts["easy"].value + parts["challenge"].value) / 2
    assert parts[""].value == pytest.approx(mean, abs=1e-12)
    assert parts[""].items == parts["easy"].items + parts["challenge"].items == 4


def test_rows_that_the_task_does_not_ask_are_left_out(files: dict[str, Path]) -> None:
    scores = read_scores(files["global_mmlu_ca_fra_cf"])
    parts = {score.subset: score for score in scores if score.metric == "acc_norm"}
    names = ("astronomy", "elementary_mathematics", "")
    assert {name: part.items for name, part in parts.items()} == dict(zip(names, (1, 1, 2), strict=True))
    one, two, whole = (parts[name] for name in names)  # a single item each: the subjects are the sample
    assert (one.stderr, two.stderr, whole.stderr) == (None, None, abs(one.value - two.value) / 2)


def test_categories_are_scored_by_themselves(files: dict[str, Path]) -> None:
    items = {score.subset: score.items for score in read_scores(files["mmlu_pro_mcf"])}
    assert items == {"": 3, "math": 2, "physics": 1}


def test_few_shot_prompts_hold_the_asked_number_of_examples(job: Job, files: dict[str, Path]) -> None:
    for row in read_details(job, files["gsm8k"]):
        assert row["prompt"].count("Question:") == 6
        assert row["prompt"].count("####") == 5
        assert row["prompt"].endswith("\nAnswer:")
    french = read_details(job, files["flores200:eng_Latn-fra_Latn"])
    assert all(row["prompt"].count("EN:") == row["prompt"].count("FR:") == 6 for row in french)


def test_scores_follow_from_the_log_likelihoods_kept(job: Job, files: dict[str, Path]) -> None:
    rows = read_details(job, files["piqa_cf"])
    right = 0
    for row in rows:
        choices, values = json.loads(row["choices"]), json.loads(row["logprobs"])
        by_character = [value / len(choice) for value, choice in zip(values, choices, strict=True)]
        right += by_character.index(max(by_character)) in json.loads(row["gold"])
    (score,) = [one for one in read_scores(files["piqa_cf"]) if one.metric == "acc_norm"]
    assert score.value == pytest.approx(right / len(rows))
    spread = (score.value * (1 - score.value) / (len(rows) - 1)) ** 0.5
    assert score.stderr == pytest.approx(spread, abs=1e-12)


def test_a_run_killed_after_its_first_task_goes_on_with_the_same_bytes(
    job: Job, files: dict[str, Path], tmp_path: Path
) -> None:
    from smoleval.launcher import _run

    wanted = tuple(Item(name, "", "fixture") for name in ("piqa_cf", "gsm8k", "belebele_zho_Hans_cf"))
    here = replace(job, items=wanted, scores=str(tmp_path / "scores"), details=str(tmp_path / "details"))
    first = _killed_after_one(here)
    done, missing = split_done(here)
    assert first in done.values()
    assert len(missing) < len(wanted)
    done |= {item: path for item, path, _ in _run(replace(here, items=tuple(missing)), str(tmp_path))}
    assert split_done(here)[1] == []
    for item, path in done.items():
        assert path.read_bytes() == files[item.task].read_bytes()
        assert read_details(here, path) == read_details(job, files[item.task])


def _killed_after_one(job: Job) -> Path:
    """Run a job in a real child process; kill -9 when its first answer has come."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "smoleval.launcher"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(job.as_json()))
        process.stdin.close()
        answer = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    return Path(answer["path"])


def test_another_setting_is_another_evaluation(job: Job, files: dict[str, Path]) -> None:
    assert files
    items = tuple(item for item in job.items if item.task in {"piqa_cf", "arc_cf"})
    assert split_done(replace(job, items=items))[1] == []
    for other in (replace(job, limit=1), replace(job, dtype="bfloat16"), replace(job, seed=1)):
        assert split_done(replace(other, items=items))[1] == list(items)


@pytest.fixture(scope="module")
def model(job: Job) -> Any:
    from smoleval.loading import load

    return load(job)


def test_numbers_that_are_none_are_no_scores(model: Any, tmp_path: Path) -> None:
    import torch

    norm = model.model.model.norm.weight.data
    kept = norm.clone()
    norm.fill_(torch.finfo(torch.float32).max)
    with pytest.raises(InputError, match=r"log-likelihoods are no numbers in torch\.float32"):
        model.loglikelihood(docs_of("piqa_cf", tmp_path))
    norm.copy_(kept)


def test_a_model_without_a_chat_template_is_asked_nothing_that_needs_one(model: Any, tmp_path: Path) -> None:
    from smoleval.pipeline import evaluate

    task = registry()["gsm_plus"]
    with pytest.raises(InputError, match=r"gsm_plus is asked through a chat template, .* has none"):
        evaluate(model, task, load_data(task, "fixture", tmp_path), mode="think", limit=1, work="unused")


def docs_of(name: str, tmp: Path) -> list[Any]:
    from smoleval.pipeline import light_tasks

    task = registry()[name]
    return [
        doc
        for light in light_tasks(task, load_data(task, "fixture", tmp)).values()
        for doc in light.get_docs()
    ]


@pytest.mark.parametrize("name", ["hellaswag_cf", "belebele_rus_Cyrl_cf", "mmlu_pro_mcf", "winogrande_cf"])
def test_log_likelihoods_are_those_of_lightevals_own_model(
    name: str, model: Any, checkpoint: Path, tmp_path: Path, theirs: Any
) -> None:
    docs = docs_of(name, tmp_path)
    ours = model.loglikelihood(docs)
    for doc, one in zip(docs, ours, strict=True):
        (other,) = theirs([doc])
        # lighteval adds a choice's ln p in float32.
        assert one.logprobs == pytest.approx(other.logprobs, rel=2e-7, abs=1e-5)
        assert one.argmax_logits_eq_gold == other.argmax_logits_eq_gold


@pytest.fixture(scope="module")
def theirs(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Lighteval's own transformers model, without its cache of answers."""
    from lighteval.models.transformers.transformers_model import TransformersModel, TransformersModelConfig

    config = TransformersModelConfig(
        model_name=str(checkpoint),
        batch_size=1,
        device="cpu",
        cache_dir=str(tmp_path_factory.mktemp("cache")),
    )
    own = TransformersModel(config)
    return lambda docs: TransformersModel.loglikelihood.__wrapped__(own, docs)


@pytest.mark.parametrize("task", select([*SUITES, "ruler"]), ids=lambda task: task.name)
def test_every_definition_is_a_lighteval_configuration(task: TaskDefinition) -> None:
    from smoleval.pipeline import light_config

    for subset in task.subset_names[:2]:
        config = light_config(task, subset)
        assert config.hf_repo == (task.dataset or task.name)
        assert config.num_fewshots == task.few_shot.shots
        assert len(config.metrics) == len(task.metrics)


def test_rulers_definition_on_lighteval_scores_as_ruler_run_does(tmp_path: Path) -> None:
    """Prompts of tasks with answers of different lengths, expecting letters that any babble may hold."""
    from smoleval.generate import Limits
    from smoleval.lightmodel import SmolModel
    from smoleval.loading import load_tokenizer
    from smoleval.pipeline import evaluate
    from smoleval.ruler.build import Spec, build
    from smoleval.ruler.generate import Running, run
    from smoleval.ruler.tasks import parse_tasks

    folder = write_tokenizer(tmp_path / "model")
    model = tiny_model(positions=2048, layers=1)
    model.save_pretrained(str(folder))
    build(Spec(1600, 2, tokenizer=str(folder)), parse_tasks("niah_single_1,fwe"), tmp_path)
    prompts = tmp_path / "1600"
    manifest = json.loads((prompts / "manifest.json").read_text())
    for name, stated in manifest["tasks"].items():
        path = prompts / f"{name}.jsonl"
        rows = [json.loads(line) | {"outputs": ["e", "t", "9#", "q"]} for line in path.open()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        stated["sha256"] = sha256(path)
    (prompts / "manifest.json").write_text(json.dumps(manifest))
    task = registry()["ruler_4k"]
    data = load_data(task, "generated", prompts)
    ours = SmolModel(model, load_tokenizer(folder), Limits(2048, 4096, 8192), "tiny")
    outcome = evaluate(ours, task, data, mode="", limit=None, work=str(tmp_path / "work"))
    theirs, said = run(folder, prompts, Running(tokenizer=str(folder)))
    parts = {one.subset: (one.value, one.stderr, one.items) for one in outcome.measured if one.subset}
    assert parts == {one.subset: (one.value, one.stderr, one.items) for one in theirs[:-1]}
    assert outcome.measured[-1].value == theirs[-1].value
    assert {one.metric for one in outcome.measured} == {one.metric for one in theirs} == {"string_match"}
    for name in parts:
        rows = [json.loads(line) for line in (said / f"{name}.jsonl").open()]
        answers = {one.item: one.answers[0] for one in outcome.details if one.subset == name}
        assert answers == {row["index"]: row["pred"] for row in rows}
    assert outcome.truncated == 0


def test_lm_eval_agrees_on_the_same_prompts_and_rows(job: Job) -> None:
    from smoleval.lmeval import compare_tasks

    (found,) = compare_tasks(replace(job, items=(Item("piqa_cf", "", "fixture"),)))
    assert (found.items, found.choices, found.other_picks) == (3, 6, 0)
    assert found.largest_difference <= 2e-7 * 500
    assert found.lm_eval["acc"] == pytest.approx(found.lighteval["acc"])
    with pytest.raises(InputError, match="gsm8k is generated"):
        next(compare_tasks(replace(job, items=(Item("gsm8k", "", "fixture"),))))


def response(**values: Any) -> Any:
    from lighteval.models.model_output import ModelResponse

    return ModelResponse(**values)


def scored(metric: str, gold: int, choices: list[str], **answer: Any) -> float:
    from smoleval.prompts import doc

    made = find("metrics", metric).call(registry()["gsm8k"])
    values = made.compute_sample(model_response=response(**answer), doc=doc("q", choices, gold))
    return float(next(iter(values.values())))


CHOICES = [" ab", " abcd efgh", " x"]
"""3, 10 and 2 characters; below 1, 4 and 1 tokens."""


@pytest.mark.parametrize(
    ("metric", "best"),
    [("loglikelihood.acc", 2), ("loglikelihood.acc_norm", 1), ("loglikelihood.acc_norm_token", 0)],
)
def test_accuracies_pick_the_choice_worked_out_by_hand(metric: str, best: int) -> None:
    # sums -2.9, -8, -2.8; by characters -0.967, -0.8, -1.4; by tokens -2.9, -4, -2.8 with [1, 2, 1]
    tokens = [[5], [6, 7, 8, 9], [5]]
    logprobs = {"loglikelihood.acc_norm_token": [-1.9, -8.0, -2.8]}.get(metric, [-2.9, -8.0, -2.8])
    for gold in range(3):
        value = scored(metric, gold, CHOICES, logprobs=logprobs, output_tokens=tokens)
        assert value == float(gold == best)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (" 3 * 4 = 12 apples. #### 12", 1.0),
        (" He has 12.", 1.0),
        (" The total is 12.0", 1.0),
        (" 12 at first, then 13", 0.0),
        (" I do not know", 0.0),
    ],
)
def test_gsm8k_compares_the_last_number(answer: str, right: float) -> None:
    gold = [" 3 * 4 = <<3*4=12>>12 apples.\n#### 12"]
    assert scored("text.extractive_match_expression", 0, gold, text=[answer]) == right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (r" So it is $\boxed{\frac{5}{6}}$.", 1.0),
        (r" $\frac{10}{12}$", 1.0),
        (r" The answer is $\boxed{\frac{6}{5}}$", 0.0),
        (" none", 0.0),
    ],
)
def test_math_compares_the_boxed_answer_by_value(answer: str, right: float) -> None:
    gold = [r" A common denominator gives $\boxed{\frac{5}{6}}$."]
    assert scored("text.extractive_match_latex", 0, gold, text=[answer]) == right


def corpus(metric: str, pairs: list[tuple[str, str]]) -> float:
    from smoleval.prompts import doc

    made = find("metrics", metric).call(registry()["gsm8k"])
    values = [
        made.compute_sample(model_response=response(text=[answer]), doc=doc("q", [gold]))
        for gold, answer in pairs
    ]
    name = next(iter(values[0]))
    return float(made.get_corpus_aggregations()[name]([value[name] for value in values]))


PAIRS = [("The house is white.", "The house is white."), ("She reads a long book.", "She reads a book now.")]


def test_translation_scores_are_sacrebleus() -> None:
    import sacrebleu

    answers, golds = [answer for _, answer in PAIRS], [[gold for gold, _ in PAIRS]]
    assert corpus("text.bleu", PAIRS) == pytest.approx(sacrebleu.corpus_bleu(answers, golds).score)
    chrf = sacrebleu.corpus_chrf(answers, golds, word_order=2)
    assert corpus("text.chrf_plus", PAIRS) == pytest.approx(chrf.score)


def test_bleu_of_one_sentence_is_the_one_worked_out_by_hand() -> None:
    # 6 of 7 words, 4 of 6 pairs, 2 of 5 triples and 1 of 4 runs of four are common; both have 7 words.
    pair = ("the old house is white now .", "the old house is green now .")
    precisions = (6 / 7) * (4 / 6) * (2 / 5) * (1 / 4)
    assert corpus("text.bleu", [pair]) == pytest.approx(100 * precisions**0.25)


def test_item_bleu_is_the_share_of_common_runs() -> None:
    # Words of the second pair: she reads a long book . against she reads a book now . : 5 of 6 are common.
    assert corpus("text.bleu_1", PAIRS) == pytest.approx((1 + 5 / 6) / 2)
    assert corpus("text.bleu_4", PAIRS[:1]) == pytest.approx(1.0)


def test_a_task_without_rows_is_refused_and_a_suite_leaves_it_out() -> None:
    with pytest.raises(InputError, match="gsm8k: no rows in the profile packaged"):
        chosen(["gsm8k"], replace(SETTINGS, profile="packaged"))
    names = [item.task for item in chosen(["base"], replace(SETTINGS, profile="packaged"))]
    assert names == ["mmlu_cf", "boolq_cf", "commonsenseqa_cf", "openbookqa_cf", "piqa_cf"]
    offline = {item.task: item.profile for item in chosen(["base"], replace(SETTINGS, profile="offline"))}
    assert offline["piqa_cf"] == "packaged"
    assert offline["gsm8k"] == "fixture"


def test_a_tokenizer_of_another_model_is_refused(job: Job, tmp_path: Path) -> None:
    from smoleval.loading import load

    model = tiny_model()
    model.resize_token_embeddings(100)
    model.save_pretrained(str(tmp_path / "small"))
    write_tokenizer(tmp_path / "tokenizer")
    other = replace(job, checkpoint=str(tmp_path / "small"), tokenizer=str(tmp_path / "tokenizer"))
    with pytest.raises(InputError, match=r"has \d+ tokens, the model .* 100 embeddings"):
        load(other)
