"""Manifests and the registry into a supply: what counts as a shard, and what does not fit together."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smoldata.errors import IntegrityError, RecipeError, SourceError
from smoldata.registry import load_registry
from smolmix.plan import load_plan
from smolmix.plan_files import write_plan
from smolmix.planner import plan_stage
from smolmix.recipe import Recipe, TokenizerModel, read_recipe
from smolmix.sources import supply_from_manifests, supply_from_registry, tokenizer_facts
from smolmix.supply import virtual_shards
from smoltok.manifest import TOKEN_MANIFEST_SCHEMA
from smoltok.tokenizer import LLAMA_3_2

TEXT = """\
format_version: 1
name: two
sequence_length: 9
batch_windows: 2
validation: 1/100
budget: 4 steps
weights: {dclm: 70%, wiki: rest}
"""


@pytest.fixture
def recipe() -> Recipe:
    return read_recipe(TEXT, Path("two.yaml"))


def manifest(folder: Path, source: str, shards: list[tuple[str, str, int]], **changes: Any) -> None:
    """Write a manifest with (split, path, tokens) of each shard."""
    row = {field.name: "" if pa.types.is_string(field.type) else 0 for field in TOKEN_MANIFEST_SCHEMA}
    facts = {
        "format_version": 1,
        "tokenizer": "llama-3.2",
        "tokenizer_sha256": LLAMA_3_2.sha256,
        "eos_id": LLAMA_3_2.eos_id,
        "token_width": LLAMA_3_2.token_width,
        "vocab_size": LLAMA_3_2.vocab_size,
        "validation_share": "1/100",
    }
    rows = [
        {
            **row,
            **facts,
            "source": source,
            "split": split,
            "path": path,
            "tokens": tokens,
            "bytes": 4 * tokens,
            **changes,
        }
        for split, path, tokens in shards
    ]
    (folder / source).mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, TOKEN_MANIFEST_SCHEMA), folder / source / "manifest.parquet")


def test_training_rows_become_shards_with_paths_from_the_plan(tmp_path: Path, recipe: Recipe) -> None:
    tokens, plans = tmp_path / "tokens" / "llama-3.2", tmp_path / "plans" / "two"
    rows = [("train", "00000.ds", 45), ("train", "00001.ds", 100), ("validation", "validation/00000.ds", 70)]
    manifest(tokens, "dclm", rows, xxh3_128="ab")
    supply = supply_from_manifests(recipe, ["dclm", "wiki"], tokens, plans)
    write_plan(plan_stage(recipe, supply, profile="hub")[0], plans)
    shards = pq.read_table(plans / "shards.parquet").to_pylist()
    assert [
        (row["ordinal"], row["path"], row["tokens"], row["windows"], row["xxh3_128"]) for row in shards
    ] == [
        (0, "../../tokens/llama-3.2/dclm/00000.ds", 45, 4, "ab"),
        (1, "../../tokens/llama-3.2/dclm/00001.ds", 100, 10, "ab"),
    ]
    plan = load_plan(plans)
    assert plan.source("wiki").status == "absent"
    assert plan.source("dclm").windows == 8
    assert plan.tokenizer.eos_id == LLAMA_3_2.eos_id


def test_a_source_with_only_validation_is_absent(tmp_path: Path, recipe: Recipe) -> None:
    manifest(tmp_path, "dclm", [("train", "00000.ds", 500)])
    manifest(tmp_path, "wiki", [("validation", "validation/00000.ds", 500)])
    supply = supply_from_manifests(recipe, ["dclm", "wiki"], tmp_path, tmp_path)
    assert set(supply.sources) == {"dclm"}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tokenizer_sha256": "0" * 64}, SourceError, "shards of 'dclm' have tokenizer sha256 000"),
        ({"eos_id": 2}, SourceError, "end-of-document id 2, recipe 'two' wants 128001"),
        ({"validation_share": "1/200"}, SourceError, "validation share 1/200, recipe 'two' wants 1/100"),
        ({"format_version": 9}, IntegrityError, "has format 9"),
    ],
)
def test_manifests_that_do_not_fit(
    tmp_path: Path, recipe: Recipe, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    manifest(tmp_path, "dclm", [("train", "00000.ds", 500)], **changes)
    with pytest.raises(error, match=message):
        supply_from_manifests(recipe, ["dclm"], tmp_path, tmp_path)


def test_a_manifest_of_two_makes_is_refused(tmp_path: Path, recipe: Recipe) -> None:
    manifest(tmp_path / "a", "dclm", [("train", "00000.ds", 500)])
    manifest(tmp_path / "b", "dclm", [("train", "00001.ds", 500)], eos_id=2)
    parts = [pq.read_table(tmp_path / name / "dclm" / "manifest.parquet") for name in "ab"]
    pq.write_table(pa.concat_tables(parts), tmp_path / "a" / "dclm" / "manifest.parquet")
    with pytest.raises(IntegrityError, match="its shards have eos_id 128001 and 2"):
        supply_from_manifests(recipe, ["dclm"], tmp_path / "a", tmp_path)


def test_a_damaged_manifest_is_named(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "dclm").mkdir()
    (tmp_path / "dclm" / "manifest.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(IntegrityError, match=r"dclm/manifest\.parquet"):
        supply_from_manifests(recipe, ["dclm"], tmp_path, tmp_path)


def test_virtual_shards_sum_to_the_published_size() -> None:
    for tokens in (1, 10**9 - 1, 10**9, 10**9 + 1, 4 * 10**12, 20_500_000_000):
        shards = virtual_shards(tokens)
        assert int(shards.sum()) == tokens
        assert (np.diff(shards) <= 0).all()


def test_published_sizes(recipe: Recipe) -> None:
    supply = supply_from_registry(recipe, ["dclm", "wiki", "mwiki"], load_registry())
    assert supply.sources["dclm"].tokens is not None
    assert int(supply.sources["dclm"].tokens.sum()) == 4 * 10**12
    assert supply.sources["mwiki"].tokens is None
    assert [f.code for f in supply.sources["mwiki"].findings] == ["unknown-size"]
    assert supply.tokenizer.token_width == 4


def test_a_pinned_tokenizer_must_be_that_one() -> None:
    with pytest.raises(RecipeError, match="the recipe pins 7"):
        tokenizer_facts(TokenizerModel(name="llama-3.2", sha256="7"), Path())
