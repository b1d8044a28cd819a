"""Rows of evaluation sets in the schemas of their publishers become items; other rows are errors."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smoldata.decontamination.benchmarks import Item, item_of, read_benchmarks
from smoldata.errors import InputError, SourceError

# Real items lie beside the checkout where there are any (see the README of this room).
REAL = Path(os.environ.get("SMOL_EVAL_DATA", Path(__file__).parents[4] / "shared" / "data" / "eval"))
EIGHT = "one two three four five six seven eight"


@pytest.mark.parametrize(
    ("row", "question", "answers"),
    [
        ({"context": "Q?", "chain_of_thought": "first", "answer": "18"}, "Q?", ("first", "18")),
        ({"query": "Q?", "choices": ["no", "right"], "gold": 1}, "Q?", ("right",)),
        ({"query": "Q?", "choices": ["x", "right", "also"], "gold_index": [1, 2]}, "Q?", ("right", "also")),
        ({"query": "Q?", "choices": ["A", "B"], "gold": 1}, "Q?", ()),
        ({"question": "Q?", "answer": "right"}, "Q?", ("right",)),
        ({"passage": "P.", "question": "Q?", "answer": True}, "P.\nQ?", ()),
        ({"context_options": ["Ann so", "Eve so"], "continuation": "left.", "gold": 1}, "Eve so", ("left.",)),
        ({"problem": "Q?", "solution": "So."}, "Q?", ("So.",)),
        ({"problem": "Q?", "choices": ["x"], "gold": 7}, "Q?", ()),
    ],
)
def test_a_row_becomes_an_item(row: dict[str, Any], question: str, answers: tuple[str, ...]) -> None:
    assert item_of("b", 3, row) == Item("b", "3", question, answers)


def test_a_programming_task_is_told_by_its_columns() -> None:
    row = {"task_id": "HumanEval/0", "prompt": "def f():", "canonical_solution": "  return 1"}
    assert item_of("he", 0, row) == Item("he", "HumanEval/0", "def f():", ("  return 1",), is_code=True)
    assert item_of("he", 0, {"other": 1}) is None


def test_formats_and_repeated_rows(tmp_path: Path) -> None:
    rows = [
        {"question": EIGHT, "answer": "a b"},
        {"question": EIGHT, "answer": "a b"},
        {"question": "other?"},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "plain.jsonl").write_text(lines)
    (tmp_path / "zipped.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "table.parquet")
    (tmp_path / "README.md").write_text("not a set")
    items = read_benchmarks([tmp_path])
    assert [(item.benchmark, item.id) for item in items] == [
        (name, number) for name in ("plain", "table", "zipped") for number in ("0", "2")
    ]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no evaluation set"):
        read_benchmarks([tmp_path])
    (tmp_path / "odd.jsonl").write_text('{"colour": "red"}\n')
    with pytest.raises(InputError, match=r"odd\.jsonl: no question in its columns colour"):
        read_benchmarks([tmp_path])
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"question": "what is this?"}\n' * 99)[:-9])
    with pytest.raises(SourceError, match="cut short"):
        read_benchmarks([tmp_path / "cut.jsonl.gz"])
    (tmp_path / "odd.json").write_text("{}\n")
    with pytest.raises(InputError, match="both called 'odd'"):
        read_benchmarks([tmp_path])


@pytest.mark.skipif(not REAL.is_dir(), reason="no real evaluation sets beside the checkout")
def test_real_sets_give_an_item_a_row() -> None:
    counts: dict[str, int] = {}
    for item in read_benchmarks([REAL / f"{name}.jsonl.gz" for name in ("gsm8k", "human_eval", "piqa")]):
        counts[item.benchmark] = counts.get(item.benchmark, 0) + 1
        assert item.question
        assert item.answers
    assert counts == {"gsm8k": 1319, "human_eval": 164, "piqa": 1838}
