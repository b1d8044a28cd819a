"""Scores by hand, and a checkpoint that answers: kept, gone on with, never scored twice."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smoldata.errors import InputError, IntegrityError
from smoleval.ruler.build import Spec, build
from smoleval.ruler.score import mean, score_predictions, string_match
from smoleval.ruler.tasks import parse_tasks
from smoleval.scores import save_scores

if TYPE_CHECKING:
    from tests.conftest import SmallHouse


@pytest.mark.parametrize(
    ("prediction", "outputs", "metric", "wanted"),
    [
        ("1234567.", ["1234567"], "all", 1.0),
        ("They are ABCDE, fghij", ["abcde", "FGHIJ", "KLMNO"], "all", 2 / 3),
        ("12345678", ["1234567"], "all", 1.0),  # a text inside another counts, as published
        ("", ["a"], "all", 0.0),
        ("the river Seine", ["seine", "the Seine", "rhine"], "part", 1.0),
        ("no idea", ["seine"], "part", 0.0),
        ("  a\x00b ", ["a\nb"], "part", 1.0),
        ("\x07a\x07", ["\n"], "part", 0.0),
    ],
)
def test_string_match_by_hand(prediction: str, outputs: list[str], metric: str, wanted: float) -> None:
    assert string_match(prediction, outputs, metric) == pytest.approx(wanted)


def test_mean_by_hand() -> None:
    assert mean([1.0]) == (1.0, None)
    value, error = mean([0.0, 1.0, 1.0, 0.5])
    assert value == 0.625
    assert error == pytest.approx(math.sqrt(((0.625**2) + 2 * 0.375**2 + 0.125**2) / 3 / 4))


@pytest.fixture(scope="module")
def prompts(tokenizer: str, prose: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prompts")
    spec = Spec(3000, 3, tokenizer=tokenizer, filler=str(prose))
    build(spec, parse_tasks("niah_single_1,fwe"), out)
    return out / "3000"


@pytest.fixture(scope="module")
def short_prompts(
    tokenizer: str, question_files: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("prompts")
    spec = Spec(1024, 2, tokenizer=tokenizer, questions=(("squad", question_files[0]),))
    build(spec, parse_tasks("qa_1"), out)
    manifest = out / "1k" / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["tasks"]["qa_1"]["answer_tokens"] = 3  # enough for this, and quick
    manifest.write_text(json.dumps(facts))
    return out / "1k"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "trial" / "checkpoints" / "step-0000003"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("weights")
    return folder


def predict(prompts: Path, into: Path, say: Callable[[str, dict[str, Any]], str]) -> Path:
    into.mkdir()
    for name in ("niah_single_1", "fwe"):
        rows = [json.loads(line) for line in (prompts / f"{name}.jsonl").read_text().splitlines()]
        lines = [json.dumps({"index": row["index"], "pred": say(name, row)}) for row in rows]
        (into / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return into


def test_predictions_of_another_program(prompts: Path, checkpoint: Path, tmp_path: Path) -> None:
    def say(name: str, row: dict[str, Any]) -> str:
        right = row["index"] != 0 if name == "fwe" else row["index"] == 0
        return " ".join(row["outputs"]) if right else row["outputs"][0][:2]

    said = predict(prompts, tmp_path / "said", say)
    scores = score_predictions(prompts, said, checkpoint, "other 1", {"chat": False})
    assert [(one.subset, one.value, one.items) for one in scores] == [
        ("niah_single_1", pytest.approx(1 / 3), 3),
        ("fwe", pytest.approx(2 / 3), 3),
        ("(2 of 13)", pytest.approx(0.5), 6),
    ]
    assert {(one.task, one.suite, one.step, one.data_profile) for one in scores} == {
        ("ruler_3000", "ruler", 3, "generated")
    }
    error = math.sqrt(2 / 9 / 2)  # of 1, 0, 0 and of 0, 1, 1: variance 1/3, of the mean 1/9
    assert scores[0].stderr == pytest.approx(1 / 3)
    assert scores[2].stderr == pytest.approx(error / math.sqrt(2))
    assert save_scores(scores, tmp_path / "scores").is_file()
    (said / "fwe.jsonl").write_text('{"index": 1, "pred": ""}\n')
    with pytest.raises(InputError, match="2 of 3 prompts have no prediction, first 0"):
        score_predictions(prompts, said, checkpoint, "other 1", {})
    (said / "fwe.jsonl").write_text('{"index": 1}\n')
    with pytest.raises(InputError, match="not JSON with index and pred"):
        score_predictions(prompts, said, checkpoint, "other 1", {})


def test_changed_prompts_are_refused(tokenizer: str, tmp_path: Path, checkpoint: Path) -> None:
    build(Spec(2000, 1, tokenizer=tokenizer), parse_tasks("niah_single_1"), tmp_path / "p")
    path = tmp_path / "p" / "2000" / "niah_single_1.jsonl"
    path.write_text(path.read_text().replace("magic", "tragic"))
    with pytest.raises(IntegrityError, match="is not what its manifest says"):
        score_predictions(path.parent, tmp_path, checkpoint, "other 1", {})
    with pytest.raises(InputError, match="holds no RULER prompts"):
        score_predictions(tmp_path, tmp_path, checkpoint, "other 1", {})


@pytest.fixture(scope="module")
def model(small_house: "SmallHouse", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small model of the small tokenizer's vocabulary."""
    pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")
    from smoltrain.hyperparameters import SIZES
    from smoltrain.model import build_config, build_model

    shape = {"vocab_size": 500, "eos_id": 0, "sequence_length": 4096, "rope_theta": 50_000.0}
    model: Any = build_model(build_config(SIZES["tiny"], **shape), seed=1)
    folder = tmp_path_factory.mktemp("model") / "trial"
    model.save_pretrained(folder)
    return folder


def test_a_checkpoint_answers_and_goes_on_where_it_was_killed(
    short_prompts: Path, model: Path, tokenizer: str
) -> None:
    """Answers are appended and flushed one by one, so what a kill leaves is any beginning of the file."""
    from smoleval.ruler.generate import Running, run

    running = Running(tokenizer=tokenizer)
    scores, said = run(model, short_prompts, running)
    final = said / "qa_1.jsonl"
    whole = final.read_bytes()
    assert [json.loads(line)["index"] for line in whole.splitlines()] == [0, 1]
    first = whole.index(b"\n") + 1
    for cut in (first // 2, first + 9, len(whole)):
        final.unlink()
        (said / "qa_1.partial.jsonl").write_bytes(whole[:cut])
        assert run(model, short_prompts, running) == (scores, said)
        assert final.read_bytes() == whole
        assert not (said / "qa_1.partial.jsonl").exists()
    before = final.stat().st_mtime_ns
    assert run(model, short_prompts, running) == (scores, said)
    assert final.stat().st_mtime_ns == before
    assert scores[-1].engine.startswith("transformers ")
    (said / "qa_1.of").write_text("other prompts")
    assert run(model, short_prompts, running) == (scores, said)
    assert final.stat().st_mtime_ns > before


def test_another_tokenizer_is_refused(prompts: Path, model: Path) -> None:
    from smoleval.ruler.generate import Running, run

    facts = json.loads((prompts / "manifest.json").read_text())
    assert facts["tokenizer"]["name"] != "llama-3.2"
    with pytest.raises(InputError, match="the prompts were measured with tokenizer"):
        run(model, prompts, replace(Running(), tokenizer="llama-3.2", precision="float64"))


def test_published_parameters_are_lm_evals(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lm-eval's RULER generates offline has our structure: same frames, counts and answers."""
    nltk = pytest.importorskip("nltk", reason="run `make setup-eval`")
    pytest.importorskip("lm_eval", reason="run `make setup-eval`")
    monkeypatch.setattr(nltk.data, "find", lambda *_: None)  # it would download a sentence splitter
    from lm_eval.tasks.ruler import common_utils, cwe_utils, fwe_utils, niah_utils, vt_utils

    from smoleval.ruler.tasks import CWE_COMMON, CWE_LONG, KINDS, NOISE, VT_HOPS

    ours = {name: kind.template for name, kind in KINDS.items()}
    assert niah_utils.TEMPLATE.replace("{type_needle_v}", "{values}") == ours["niah"]
    for name, theirs in (("cwe", cwe_utils.CONFIG), ("fwe", fwe_utils.CONFIG)):
        assert theirs["template"] == ours[name]
        assert theirs["answer_prefix"] == KINDS[name].answer_prefix
        assert theirs["tokens_to_generate"] == KINDS[name].answer_tokens
    chains = vt_utils.CONFIG["variable_tracking"]
    assert chains["template"] == ours["vt"]
    assert chains["tokens_to_generate"] == KINDS["vt"].answer_tokens
    _, context, answer = cwe_utils.generate_input_output(60, 4096)
    counts = {context.count(f". {word} ") for word in answer}
    assert (len(answer), CWE_LONG[0]) == (CWE_COMMON, 30)
    assert max(counts) <= 31
    names, lines = vt_utils.generate_chains(1, VT_HOPS)
    assert (len(names[0]), len(lines[0])) == (VT_HOPS + 1, VT_HOPS + 1)
    text, keys = vt_utils.generate_input_output(20, 1, VT_HOPS)
    assert NOISE in text
    assert len(keys) == VT_HOPS + 1
    for said, outputs in (("a b", ["A", "c"]), (" 12\n", ["12", "1"]), ("x", ["y", "z", "x"])):
        theirs = common_utils.string_match_all(common_utils.postprocess_pred([said]), [outputs])
        assert string_match(said, outputs, "all") == theirs
