"""Score files: strict both ways, the same evaluation gives the same bytes, another one stands beside it."""

from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldata.errors import InputError, IntegrityError
from smoleval.scores import (
    SCORE_SCHEMA,
    Score,
    canonical,
    checkpoint_sha256,
    label_of,
    read_scores,
    recorded,
    save_scores,
    score_path,
    scores_folder,
    sha256_rows,
    step_of,
    write_scores,
)

ONE = Score(
    task="piqa_cf",
    suite="base",
    metric="acc_norm",
    value=0.75,
    stderr=0.1,
    items=20,
    task_version="abc",
    data_profile="fixture",
    data_sha256="0" * 64,
    checkpoint="run/step-0000002",
    checkpoint_sha256="1" * 64,
    step=2,
    engine="trial 1",
)


@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    stderr=st.none() | st.floats(0, 1),
    subset=st.text(st.characters(exclude_categories=["Cs"])),
    settings=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.integers() | st.text("ab")
    ),
)
def test_rows_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    value: float,
    stderr: float | None,
    subset: str,
    settings: dict[str, int | str],
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.parquet"
    score = replace(ONE, value=value, stderr=stderr, subset=subset, settings=canonical(settings))
    write_scores([score, replace(score, metric="other")], path)
    assert read_scores(path) == [score, replace(score, metric="other")]
    assert pq.read_schema(path).equals(SCORE_SCHEMA)


def test_the_same_evaluation_gives_the_same_bytes_and_another_stands_beside_it(tmp_path: Path) -> None:
    first = save_scores([ONE], tmp_path)
    assert first.parent.name == "run_step-0000002-11111111"
    before = first.read_bytes()
    assert save_scores([ONE], tmp_path) == first
    assert first.read_bytes() == before
    others = {save_scores([replace(ONE, **change)], tmp_path) for change in (
        {"task_version": "abd"}, {"data_sha256": "2" * 64}, {"shots": 5}, {"engine": "trial 2"},
        {"settings": '{"a":1}'}, {"mode": "think", "suite": "instruct"}, {"task": "piqa:cf|0"},
        {"checkpoint_sha256": "2" * 64},
    )}  # fmt: skip
    assert len(others | {first}) == 9
    assert sorted(tmp_path.rglob("*.parquet")) == sorted(others | {first})
    assert score_path(tmp_path, [replace(ONE, value=0.1, stderr=None, items=3)]) == first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"suite": "other"}, "suite is 'other', wanted one of"),
        ({"mode": "thinking"}, "mode is"),
        ({"data_profile": ""}, "data_profile is ''"),
        ({"value": float("nan")}, "wanted a finite number"),
        ({"value": float("inf")}, "wanted a finite number"),
        ({"stderr": -1.0}, "stderr is -1.0"),
        ({"items": 0}, "items is 0"),
        ({"data_sha256": "abc"}, "wanted 64 hexadecimal digits"),
        ({"settings": '{"b": 1}'}, "not in canonical form"),
        ({"task": ""}, "task is empty"),
    ],
)
def test_a_row_that_says_nothing_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(ONE, **change)  # type: ignore[arg-type]  # wrong on purpose


def test_rows_that_contradict_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two rows for piqa_cf"):
        save_scores([ONE, replace(ONE, value=0.5)], tmp_path)
    with pytest.raises(InputError, match="no scores"):
        save_scores([], tmp_path)
    with pytest.raises(InputError, match="they differ in shots"):
        save_scores([ONE, replace(ONE, shots=3)], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_recorded_is_found(tmp_path: Path) -> None:
    parts = [replace(ONE, subset="a"), replace(ONE, subset="b", data_sha256="2" * 64)]
    save_scores(parts, tmp_path)
    save_scores([replace(ONE, task="piqa_cf_other")], tmp_path)
    save_scores([replace(ONE, suite="instruct", mode="think")], tmp_path)
    assert recorded(tmp_path, checkpoint_sha256="1" * 64, task="piqa_cf") == [parts]
    assert recorded(tmp_path, checkpoint_sha256="1" * 8 + "0" * 56, task="piqa_cf") == []
    assert recorded(tmp_path / "none", checkpoint_sha256="1" * 64, task="piqa_cf") == []


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = save_scores([ONE], tmp_path)
    half = tmp_path / "half.parquet"
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"task": ["x"]}), other)
    late = tmp_path / "late.parquet"
    row = {"format_version": 3, **asdict(ONE)}
    pq.write_table(pa.Table.from_pylist([row], schema=SCORE_SCHEMA), late)
    for file, words in (
        (half, "is no score file"),
        (other, "wanted those of score format"),
        (late, "format 3"),
    ):
        with pytest.raises(IntegrityError, match=words):
            read_scores(file)


def test_a_checkpoint_is_all_that_decides_what_it_says(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.json with model\.safetensors"):
        checkpoint_sha256(tmp_path)
    for name in ("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        (tmp_path / name).write_text(name)
    first = checkpoint_sha256(tmp_path)
    (tmp_path / "optimizer.safetensors").write_text("not read")
    (tmp_path / "state.json").write_text("not read")
    assert checkpoint_sha256(tmp_path) == first
    seen = {first}
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "model-00002-of-00002.safetensors"):
        (tmp_path / name).write_text("changed")
        seen.add(checkpoint_sha256(tmp_path))
    assert len(seen) == 5


def test_names_and_places() -> None:
    run = Path("b/sample/runs/stage2-tiny-1/checkpoints/step-0000010").absolute()
    post = Path("b/sample/post/runs/tiny-1/sft/final").absolute()
    assert (label_of(run), step_of(run)) == ("stage2-tiny-1/step-0000010", 10)
    assert (label_of(post), step_of(post)) == ("tiny-1/sft/final", None)
    assert label_of(Path("x/SmolLM3-3B")) == "SmolLM3-3B"
    assert (
        scores_folder(run, Path("c")) == scores_folder(post, Path("c")) == Path("b/sample/scores").absolute()
    )
    assert scores_folder(Path("x/SmolLM3-3B"), Path("c")) == Path("c/external/scores")
    assert sha256_rows([{"b": 1, "a": "é"}]) == sha256_rows([{"a": "é", "b": 1}]) != sha256_rows([])
