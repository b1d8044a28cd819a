"""Rows of a recipe: what is taken is kept or counted, the same bytes each time, tokens counted exactly."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from smoldata.errors import SourceError
from smoltrain.post.data import build_rows, read_rows
from smoltrain.post.recipe import RowsRecipe, mixed_order, read_rows_recipe
from smoltrain.post.sources import FolderSource, HubSource
from smoltrain.post.template import render, render_marked

RECIPE = """format_version: 1
name: small
unit: rows
kind: conversations
template: chat
dataset: nobody/nothing
config: SFT
seed: 3
date: 1 May 2026
subsets:
  plain_no_think: {weight: 1/2, mode: no_think}
  missing_no_think: {weight: 1, mode: no_think}
  deep_think: {weight: 75%, mode: think}
"""


def chat(question: str, answer: str, **arguments: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    empty = dict.fromkeys(("custom_instructions", "enable_thinking", "python_tools", "xml_tools"))
    return {"messages": turns, "chat_template_kwargs": empty | arguments, "source": "test"}


PLAIN = [chat(f"Question {n}?", f"Answer {n} 😀", custom_instructions="Be kind.") for n in range(20)]
DEEP = [
    *(chat(f"Why {n}?", f"<think>\nHm {n}.\n</think>\nSo.") for n in range(6)),
    chat("Why 0?", "<think>\nHm 0.\n</think>\nSo."),
    chat("Forge <|im_end|>", "ok"),
]


@pytest.fixture
def recipe() -> RowsRecipe:
    return read_rows_recipe(RECIPE, "small.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "raw"
    schema = pa.schema(
        [
            ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
            (
                "chat_template_kwargs",
                pa.struct(
                    [
                        ("custom_instructions", pa.string()),
                        ("enable_thinking", pa.bool_()),
                        ("python_tools", pa.list_(pa.string())),
                        ("xml_tools", pa.list_(pa.string())),
                    ]
                ),
            ),
            ("source", pa.string()),
        ]
    )
    (root / "SFT").mkdir(parents=True)
    parts = {"plain_no_think-00000-of-00002": PLAIN[:7], "plain_no_think-00001-of-00002": PLAIN[7:]}
    for name, rows in {**parts, "deep_think": DEEP, "deep_think_other": DEEP}.items():
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), root / "SFT" / f"{name}.parquet")
    return root


def test_what_is_taken_is_kept_or_counted(
    recipe: RowsRecipe, folder: Path, tokenizer: Path, tmp_path: Path
) -> None:
    built = build_rows(
        recipe, FolderSource(folder, recipe), tmp_path / "out", tokenizer=tokenizer, validation=Fraction(1, 4)
    )
    plain, missing, deep = built.facts["subsets"]
    assert (plain["rows"], plain["taken"], plain["kept"], plain["emojis_removed"]) == (20, 10, 10, 10)
    assert (missing["rows"], missing["taken"], missing["kept"]) == (0, 0, 0)
    assert (deep["rows"], deep["taken"]) == (8, 6)
    taken = {
        row for number, row in mixed_order([20, 0, 8], [s.weight for s in recipe.subsets], 3) if number == 2
    }
    wanted = {"control-token": 1} if 7 in taken else {}
    wanted |= {"duplicate": 1} if {0, 6} <= taken else {}
    assert deep["dropped"] == wanted
    assert deep["kept"] == 6 - sum(wanted.values())
    train, validation = (pq.read_table(path).to_pylist() for path in (built.train, built.validation))
    assert len(train) == plain["train"] + deep["train"]
    assert len(validation) == plain["validation"] + deep["validation"] > 0
    assert not {row["id"] for row in train} & {row["id"] for row in validation}


def test_rows_stand_in_the_published_order(
    recipe: RowsRecipe, folder: Path, tokenizer: Path, tmp_path: Path
) -> None:
    built = build_rows(recipe, FolderSource(folder, recipe), tmp_path / "out", tokenizer=tokenizer)
    names = [subset.name for subset in recipe.subsets]
    order = [f"{names[n]}/{row}" for n, row in mixed_order([20, 0, 8], [s.weight for s in recipe.subsets], 3)]
    ids = pq.read_table(built.train)["id"].to_pylist()
    assert ids == [one for one in order if one in set(ids)]


def test_tokens_are_counted_as_the_model_reads_them(
    recipe: RowsRecipe, folder: Path, tokenizer: Path, tmp_path: Path
) -> None:
    built = build_rows(recipe, FolderSource(folder, recipe), tmp_path / "out", tokenizer=tokenizer)
    engine = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    tokens = trained = 0
    for row in pq.read_table(built.train).to_pylist():
        text, spans = render_marked(row["messages"], **row["chat_template_kwargs"])
        assert "1 May 2026" in text
        tokens += len(engine.encode(text).ids)
        trained += sum(len(engine.encode(text[begin:end]).ids) for begin, end in spans)
    assert sum(one["tokens"] for one in built.facts["subsets"]) == tokens
    assert sum(one["trained_tokens"] for one in built.facts["subsets"]) == trained


def test_stopped_and_run_again_gives_the_same_bytes(
    recipe: RowsRecipe, folder: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FolderSource(folder, recipe)
    whole = build_rows(recipe, source, tmp_path / "a", tokenizer=tokenizer, validation=Fraction(1, 4))
    with monkeypatch.context() as patched:
        patched.setattr(FolderSource, "read", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build_rows(recipe, source, tmp_path / "b", tokenizer=tokenizer, validation=Fraction(1, 4))
    assert read_rows(tmp_path / "b") is None
    assert not list((tmp_path / "b").glob("*.parquet*"))
    again = build_rows(recipe, source, tmp_path / "b", tokenizer=tokenizer, validation=Fraction(1, 4))
    for name in ("train.parquet", "validation.parquet", "rows.json"):
        assert (whole.folder / name).read_bytes() == (again.folder / name).read_bytes()


def test_the_same_inputs_are_not_built_again(
    recipe: RowsRecipe, folder: Path, tokenizer: Path, tmp_path: Path
) -> None:
    source = FolderSource(folder, recipe)
    first = build_rows(recipe, source, tmp_path / "out", tokenizer=tokenizer)
    before = first.train.stat().st_mtime_ns
    build_rows(recipe, source, tmp_path / "out", tokenizer=tokenizer)
    assert first.train.stat().st_mtime_ns == before
    build_rows(recipe, source, tmp_path / "out", tokenizer=tokenizer, validation=Fraction(1, 2))
    assert first.train.stat().st_mtime_ns != before


def test_rows_with_items_of_evaluation_sets_are_dropped(
    recipe: RowsRecipe, folder: Path, tokenizer: Path, tmp_path: Path
) -> None:
    words = "seventeen green bottles stood on the wall and then three of them fell down at noon"
    planted = [chat(f"{words} {n}", "Fourteen are left.") for n in range(2)]
    table = pq.read_table(folder / "SFT" / "deep_think.parquet")
    more = pa.Table.from_pylist(planted * 4, schema=table.schema)
    pq.write_table(more, folder / "SFT" / "missing_no_think.parquet")
    item = {"question": words, "answer": "Fourteen are left."}
    (tmp_path / "bottles.jsonl").write_text(json.dumps(item), encoding="utf-8")
    source = FolderSource(folder, recipe)
    built = build_rows(
        recipe, source, tmp_path / "out", tokenizer=tokenizer, evaluations=[tmp_path / "bottles.jsonl"]
    )
    dropped = {one["name"]: one["dropped"] for one in built.facts["subsets"]}
    assert dropped["missing_no_think"] == {"contaminated": 2, "duplicate": 6}
    assert dropped["plain_no_think"] == {}


def test_a_folder_without_the_recipes_rows_is_refused(recipe: RowsRecipe, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"plain_no_think\.parquet"):
        FolderSource(tmp_path, recipe)


def test_half_a_file_is_refused_by_name(
    recipe: RowsRecipe, folder: Path, tokenizer: Path, tmp_path: Path
) -> None:
    path = folder / "SFT" / "deep_think.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SourceError, match="deep_think"):
        build_rows(recipe, FolderSource(folder, recipe), tmp_path / "out", tokenizer=tokenizer)
    assert read_rows(tmp_path / "out") is None


def test_the_datasets_library_gives_the_same_rows(recipe: RowsRecipe, folder: Path, tmp_path: Path) -> None:
    """A dataset of the hub's layout on disk, read by the library as it would be from the hub."""
    card = "---\nconfigs:\n- config_name: SFT\n  data_files:\n"
    for name, files in (("plain_no_think", "plain_no_think-*"), ("deep_think", "deep_think")):
        card += f"  - split: {name}\n    path: SFT/{files}.parquet\n"
    (folder / "README.md").write_text(card + "---\n", encoding="utf-8")
    hub = HubSource(recipe, path=str(folder), cache=tmp_path / "cache")
    local = FolderSource(folder, recipe)
    for name in ("plain_no_think", "deep_think"):
        assert hub.rows(name) == local.rows(name)
        assert hub.read(name, [3, 0, 5]) == local.read(name, [3, 0, 5])
    with pytest.raises(SourceError, match="missing_no_think"):
        hub.rows("missing_no_think")


def test_a_stored_row_renders_as_its_arguments_say(
    recipe: RowsRecipe, folder: Path, tokenizer: Path, tmp_path: Path
) -> None:
    built = build_rows(recipe, FolderSource(folder, recipe), tmp_path / "out", tokenizer=tokenizer)
    for row in pq.read_table(built.train).to_pylist():
        text = render(row["messages"], **row["chat_template_kwargs"])
        assert ("Reasoning Mode: /think" in text) == (row["mode"] == "think")
        assert ("Be kind." in text) == (row["mode"] == "no_think")
