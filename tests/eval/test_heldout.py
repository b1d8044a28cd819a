"""Held-out scores: the plain loss of each document alone, bytes counted from the text, honest names."""

import json
import math
import shutil
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")

from smoldata.errors import InputError  # noqa: E402 - after the check for torch
from smoleval.heldout import (  # noqa: E402
    MIXTURE,
    Settings,
    ratio,
    score_checkpoint,
    unscored,
    validation_splits,
)
from smoleval.scores import SCORE_SCHEMA, Score, checkpoint_sha256, write_scores  # noqa: E402
from smoltok.shards import open_shard  # noqa: E402
from smoltrain import checkpoint as checkpoints  # noqa: E402
from smoltrain.bundle import Bundle, open_bundle  # noqa: E402
from smoltrain.hyperparameters import SIZES  # noqa: E402
from smoltrain.model import build_config, build_model, load_model  # noqa: E402
from smoltrain.pieces import load_pieces, tokenizer_of  # noqa: E402
from smoltrain.train import build_optimizer  # noqa: E402

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

LENGTH = 64


@pytest.fixture(scope="module")
def bundle(small_house: "SmallHouse") -> Bundle:
    return open_bundle(small_house.bundle)


@pytest.fixture(scope="module")
def checkpoint(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a checkpoint of a model that has taken one step, so that it is no uniform guesser."""
    config = build_config(
        SIZES["tiny"],
        vocab_size=bundle.vocab_size,
        eos_id=bundle.eos_id,
        sequence_length=LENGTH,
        rope_theta=50_000.0,
    )
    model = build_model(config, seed=1)
    optimizer = build_optimizer(model, 0.1)
    ids = torch.arange(LENGTH)[None]
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    optimizer.step()
    return checkpoints.save(tmp_path_factory.mktemp("run") / "checkpoints", 1, model, optimizer, {})


@pytest.fixture(scope="module")
def scores(bundle: Bundle, checkpoint: Path, small_house: "SmallHouse") -> list[Score]:
    pieces = load_pieces(tokenizer_of(bundle, small_house.tokenizer))
    return score_checkpoint(checkpoint, bundle, Settings(LENGTH, 2000), pieces)


def by_hand(bundle: Bundle, checkpoint: Path, source: str, max_tokens: int) -> tuple[float, int, int]:
    """Return nats, labels and documents of a source: each document alone, one forward pass a piece."""
    model = load_model(checkpoint).eval()
    split = next(split for split in validation_splits(bundle) if split.source == source)
    nats, labels, documents, taken = 0.0, 0, 0, 0
    for row in split.rows:
        shard = open_shard(split.folder / row.path)
        for number in range(len(shard.ends)):
            if taken >= max_tokens:
                break
            ids = torch.from_numpy(shard.entry(number)[: max_tokens - taken].astype(np.int64))
            taken, documents = taken + len(ids), documents + 1
            for begin in range(0, len(ids) - 1, LENGTH):
                piece = ids[begin : begin + LENGTH + 1]
                with torch.no_grad():
                    logits = model(input_ids=piece[None, :-1], use_cache=False).logits[0]
                nats += torch.nn.functional.cross_entropy(logits, piece[1:], reduction="sum").item()
                labels += len(piece) - 1
    return nats, labels, documents


def test_a_source_scores_as_its_documents_alone(
    bundle: Bundle, checkpoint: Path, scores: list[Score]
) -> None:
    for score in (score for score in scores if score.metric == "loss" and score.subset != MIXTURE):
        nats, labels, documents = by_hand(bundle, checkpoint, score.subset, 2000)
        assert (score.tokens, score.items) == (labels, documents)
        assert score.value == pytest.approx(nats / labels, rel=1e-5)
        assert (score.stderr is None) == (documents == 1)


def test_bytes_are_those_of_the_scored_text(
    bundle: Bundle, scores: list[Score], small_house: "SmallHouse"
) -> None:
    pieces = load_pieces(tokenizer_of(bundle, small_house.tokenizer))
    loss = {score.subset: score for score in scores if score.metric == "loss"}
    for score in (score for score in scores if score.metric == "bits_per_byte"):
        split = next(split for split in validation_splits(bundle) if split.source == score.subset)
        size, taken = 0, 0
        for row in split.rows:
            shard = open_shard(split.folder / row.path)
            for number in range(len(shard.ends)):
                if taken < 2000:
                    entry = shard.entry(number)[: 2000 - taken]
                    taken += len(entry)
                    size += len(pieces.text(entry[1:]).encode())
        assert score.bytes == size
        assert score.tokens is not None
        nats = loss[score.subset].value * score.tokens
        assert score.value == pytest.approx(nats / math.log(2) / size, rel=1e-9)


def test_the_mixture_follows_the_planned_weights(bundle: Bundle, scores: list[Score]) -> None:
    loss = {score.subset: score.value for score in scores if score.metric == "loss"}
    weights = {source.name: float(source.weight) for source in bundle.plan.sources}
    assert loss[MIXTURE] == pytest.approx(sum(weights[name] * loss[name] for name in weights))


def test_what_the_mixture_leaves_out_is_known(small_house: "SmallHouse", tmp_path: Path) -> None:
    """Two sources lose their validation rows: 10 % + 30 % of the planned weight."""
    build = shutil.copytree(small_house.build, tmp_path / "sample")
    bundle = open_bundle(build / small_house.bundle.relative_to(small_house.build))
    assert unscored(bundle) == ([], 0)
    for source in ("email", "json"):
        (manifest,) = build.glob(f"tokens/*/{source}/manifest.parquet")
        table = pq.read_table(manifest)
        pq.write_table(table.filter(pc.field("split") != "validation"), manifest)
    assert unscored(bundle) == (["email", "json"], Fraction(2, 5))


def test_validation_text_is_in_no_training_shard(bundle: Bundle) -> None:
    for split in validation_splits(bundle):
        held_out = {bytes(open_shard(split.folder / row.path).entry(0)) for row in split.rows}
        for path in split.folder.glob("*.ds"):
            training = bytes(open_shard(path).ids)
            assert all(document not in training for document in held_out)


def test_a_score_names_task_data_and_checkpoint(
    checkpoint: Path, scores: list[Score], tmp_path: Path
) -> None:
    write_scores(scores, tmp_path / "scores.parquet")
    table = pq.read_table(tmp_path / "scores.parquet")
    assert table.schema.equals(SCORE_SCHEMA)
    for row in table.to_pylist():
        assert (row["task"], row["task_version"]) == ("heldout", "1")
        assert row["checkpoint_sha256"] == checkpoint_sha256(checkpoint)
        assert (row["suite"], row["data_profile"], row["step"]) == ("heldout", "generated", 1)
        assert json.loads(row["settings"]) == {"length": LENGTH, "max_tokens": 2000}
        assert row["data_sha256"]


def test_without_a_tokenizer_there_is_a_loss_but_no_bytes(bundle: Bundle, checkpoint: Path) -> None:
    scores = score_checkpoint(checkpoint, bundle, Settings(LENGTH, 200), None)
    assert {score.metric for score in scores} == {"loss"}


def test_a_folder_without_weights_is_refused(bundle: Bundle, checkpoint: Path, tmp_path: Path) -> None:
    shutil.copy(checkpoint / "config.json", tmp_path)
    with pytest.raises(InputError, match=r"holds no config\.json with model\.safetensors"):
        score_checkpoint(tmp_path, bundle, Settings(LENGTH, 200), None)


def test_ratio_by_hand() -> None:
    value, error = ratio(np.array([2.0, 4.0, 9.0]), np.array([1.0, 2.0, 3.0]))
    assert value == 2.5
    residuals = [2 - 2.5, 4 - 5.0, 9 - 7.5]
    assert error == pytest.approx(math.sqrt(sum(r * r for r in residuals) * 3 / 2) / 6)
    assert ratio(np.array([2.0]), np.array([4.0])) == (0.5, None)
    assert ratio(np.array([]), np.array([])) == (None, None)
