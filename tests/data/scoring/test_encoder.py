"""An encoder's scores do not depend on batches, order or tasks, and a build with the step can be stopped."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch: make setup-train")
pytest.importorskip("transformers", reason="needs transformers: make setup-train")

import torch
from tests.data.scoring.builds import builder
from tests.data.scoring.conftest import LENGTH

from smoldata.errors import InputError
from smoldata.scoring import encoder, steps
from smoldata.scoring.curves import Target
from smoldata.scoring.encoder import Encoder, int_score, load
from smoldata.scoring.train import train_classifier
from smoldata.steps import make_steps


@pytest.fixture(scope="module")
def scorer(model: Path) -> Encoder:
    return load(str(model), None, "cpu")


@pytest.fixture(scope="module")
def texts(labelled: list[tuple[str, bool]]) -> list[str]:
    return [text for text, _ in labelled[::11]]


def test_it_learnt_something(scorer: Encoder, labelled: list[tuple[str, bool]]) -> None:
    part = labelled[::9]
    scores = scorer.scores([text for text, _ in part])
    right = sum((score > 2.5) == is_prose for score, (_, is_prose) in zip(scores, part, strict=True))
    assert right / len(part) > 0.85


def test_a_batch_is_one_by_one(scorer: Encoder, texts: list[str]) -> None:
    together = scorer.scores(texts)
    alone = [scorer.scores([text])[0] for text in texts]
    assert together == alone, "bit for bit: batches have one shape"


def test_it_is_the_published_way_of_asking(scorer: Encoder, model: Path, texts: list[str]) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    net = AutoModelForSequenceClassification.from_pretrained(model).eval()
    for text, score in zip(texts, scorer.scores(texts), strict=True):
        inputs = tokenizer(text, return_tensors="pt", padding="longest", truncation=True)
        with torch.inference_mode():
            wanted = net(**inputs).logits.squeeze(-1).float().item()
        assert score == pytest.approx(wanted, abs=1e-5)


def test_order_does_not_matter(scorer: Encoder, texts: list[str]) -> None:
    order = list(range(len(texts)))
    random.Random(6).shuffle(order)  # noqa: S311 - an order, no secret
    shuffled = scorer.scores([texts[at] for at in order])
    straight = scorer.scores(texts)
    assert shuffled == [straight[at] for at in order]


def test_long_texts_are_cut_at_the_models_length(scorer: Encoder, texts: list[str]) -> None:
    long = " ".join(texts)
    assert scorer.max_length == LENGTH
    assert scorer.scores([long]) == scorer.scores([long + " and more of it"])
    assert scorer.scores([]) == []


@pytest.mark.parametrize(("score", "whole"), [(-0.7, 0), (0.4, 0), (2.5, 2), (2.51, 3), (3.5, 4), (9.0, 5)])
def test_the_whole_score_is_the_published_one(score: float, whole: int) -> None:
    assert int_score(score) == whole == int(round(max(0, min(score, 5))))  # noqa: RUF046 - as on the card


def test_what_is_no_scorer_is_an_error(tmp_path: Path, context: Any) -> None:
    with pytest.raises(InputError, match="cannot load the scorer"):
        load(str(tmp_path), None, "cpu")
    with pytest.raises(InputError, match="give the `revision`"):
        make_steps("encoder_score", {"name": "edu", "model": "owner/name"}, context)


RECIPE = """
format_version: 1
name: trial
description: Texts that an encoder scores.
source: a test
steps:
  - step: encoder_score
    settings: {{name: edu, model: {model}, device: cpu}}
    source: a test
  - step: score
    settings: {{name: edu, at_least: 3, rounded: true}}
    source: a test
"""


def test_a_build_gives_the_same_scores_whatever_the_tasks_and_after_a_stop(
    tmp_path: Path, model: Path, labelled: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    part = [text for text, _ in labelled[::6]]
    built = builder(tmp_path, RECIPE.format(model=model), part, files=4)
    whole = built("one", 1)
    assert 0 < len(whole) < len(part)
    assert all(found["edu_int"] == int_score(found["edu"]) >= 3 for found in whole.values())
    asked: list[int] = []
    scores = Encoder.scores

    def stopped(self: Encoder, texts: list[str], batch: int = encoder.BATCH) -> list[float]:
        asked.append(len(texts))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return scores(self, texts, batch)

    monkeypatch.setattr(Encoder, "scores", stopped)
    with pytest.raises(KeyboardInterrupt):
        built("four", 4)
    assert built("four", 4) == whole
    assert len(asked) == 3 + 2, "two of four tasks were done when it was stopped"


def test_blocks_of_documents_come_out_in_order(scorer: Encoder, texts: list[str]) -> None:
    from datatrove.data import Document

    def score(part: Any) -> list[dict[str, float]]:
        return [{"length": float(len(text))} for text in part]

    documents = [Document(text=text, id=str(at), metadata={}) for at, text in enumerate(texts)]
    out = list(steps.ScoreStep("length", score, block=7).run(iter(documents)))
    assert [one.id for one in out] == [str(at) for at in range(len(texts))]
    assert all(dict(one.metadata["scores"])["length"] == len(one.text) for one in out)


def test_a_head_is_fitted_on_an_encoder(
    model: Path, tmp_path: Path, labelled: list[tuple[str, bool]]
) -> None:
    part = labelled[::5]
    lines = [json.dumps({"text": text, "label": good}) + "\n" for text, good in part]
    (tmp_path / "labelled.jsonl").write_text("".join(lines))
    paths, target = [tmp_path / "labelled.jsonl"], Target("recall", 0.8)
    first, second = (
        train_classifier(paths, tmp_path / name, target, held_out=0.4, encoder=str(model)) for name in "ab"
    )
    assert first.chosen.precision > 0.8
    assert first.chosen == second.chosen
    scorer = load(str(tmp_path / "a" / "encoder"), None, "cpu")
    held = [text for text, _ in part[:30]]
    kept = [score >= first.chosen.threshold for score in scorer.scores(held)]
    assert sum(kept) > 20, "they are prose"
    assert "encoder_score" in (tmp_path / "a" / "README.md").read_text()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_a_batch_is_one_by_one_and_near_the_cpu(
    scorer: Encoder, model: Path, texts: list[str]
) -> None:
    there = load(str(model), None, "cuda")
    together = there.scores(texts)
    assert together == [there.scores([text])[0] for text in texts]
    assert together == pytest.approx(scorer.scores(texts), abs=0.1), "bfloat16 has eight bits"
