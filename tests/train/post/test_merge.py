"""Merges against the formula, computed directly, and against mergekit."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from smoldata.errors import InputError
from smoltrain.hyperparameters import ModelSize
from smoltrain.model import build_config, build_model
from smoltrain.post.merge import RECORD, Ingredient, merge, soup

SMALL = ModelSize(16, 32, 2, 2, 1, learning_rate=1e-2)


def checkpoint(folder: Path, seed: int, dtype: torch.dtype = torch.float32) -> Path:
    config = build_config(SMALL, vocab_size=300, eos_id=1, sequence_length=32, rope_theta=1e4)
    build_model(config, seed).to(dtype).save_pretrained(folder)  # type: ignore[operator]
    return folder


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def formula(parts: list[tuple[Path, Fraction]]) -> dict[str, torch.Tensor]:
    loaded = [(tensors(folder), float(weight)) for folder, weight in parts]
    return {name: sum(one[name].double() * weight for one, weight in loaded) for name in loaded[0][0]}  # type: ignore[misc]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_soup_then_linear_is_the_formula(tmp_path: Path, dtype: torch.dtype) -> None:
    apo = [checkpoint(tmp_path / f"apo{n}", n, dtype) for n in range(3)]
    mid = checkpoint(tmp_path / "mid", 9, dtype)
    mixed = merge(soup(apo), tmp_path / "soup")
    parts = [(mixed, Fraction(9, 10)), (mid, Fraction(1, 10))]
    final = merge([Ingredient(*part) for part in parts], tmp_path / "final")
    bound = {torch.float32: 2**-24, torch.bfloat16: 2**-8}[dtype]
    for folder, wanted in ((mixed, formula([(one, Fraction(1, 3)) for one in apo])), (final, formula(parts))):
        seen = tensors(folder)
        assert seen.keys() == wanted.keys()
        for name, tensor in seen.items():
            assert tensor.dtype == dtype
            # One rounding to the type, and float32 sums before it where the type is narrower.
            limit = bound * wanted[name].abs() + 2e-7 * (dtype == torch.bfloat16)
            assert ((tensor.double() - wanted[name]).abs() <= limit).all(), name


def test_a_merge_in_many_shards_holds_the_same_tensors(tmp_path: Path) -> None:
    from smoltrain.model import load_model

    pair = [checkpoint(tmp_path / f"c{n}", n) for n in range(2)]
    whole = merge(soup(pair), tmp_path / "whole")
    cut = merge(soup(pair), tmp_path / "cut", shard_bytes=3000)
    assert len(list(cut.glob("model-*.safetensors"))) > 3
    index = json.loads((cut / "model.safetensors.index.json").read_bytes())
    assert index["metadata"]["total_size"] == sum(one.nbytes for one in tensors(whole).values())
    left, right = tensors(whole), tensors(cut)
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert len(left) == len(right)
    ids = torch.arange(20)[None]
    logits = [load_model(folder)(input_ids=ids, use_cache=False).logits for folder in (whole, cut)]
    assert torch.equal(*logits)
    again = merge(soup([cut, cut]), tmp_path / "again")
    assert torch.equal(tensors(again)["model.norm.weight"], left["model.norm.weight"])


def test_one_whole_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "one", 4, torch.bfloat16)
    same = merge([Ingredient(one, Fraction(1))], tmp_path / "same")
    assert all(torch.equal(tensor, tensors(same)[name]) for name, tensor in tensors(one).items())


def test_the_same_merge_is_not_made_again(tmp_path: Path) -> None:
    pair = [checkpoint(tmp_path / f"c{n}", n) for n in range(2)]
    made = (merge(soup(pair), tmp_path / "out") / "model.safetensors").stat().st_mtime_ns
    assert (merge(soup(pair), tmp_path / "out") / "model.safetensors").stat().st_mtime_ns == made
    merge([Ingredient(pair[0], Fraction(1, 4)), Ingredient(pair[1], Fraction(3, 4))], tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns != made
    record = json.loads((tmp_path / "out" / RECORD).read_bytes())
    assert [one["weight"] for one in record["ingredients"]] == ["1/4", "3/4"]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    one, two = (checkpoint(tmp_path / f"c{n}", n) for n in range(2))
    with pytest.raises(InputError, match="sum to 11/10, not to 1"):
        merge([Ingredient(one, Fraction(1)), Ingredient(two, Fraction(1, 10))], tmp_path / "out")
    weights = tensors(two)
    del weights["model.norm.weight"]
    save_file(weights, two / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"differ in 1 tensors: model\.norm\.weight"):
        merge(soup([one, two]), tmp_path / "out")
    config = json.loads((two / "config.json").read_bytes()) | {"hidden_size": 32}
    (two / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match="hidden_size is 32, wanted 16"):
        merge(soup([one, two]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("out*"))


@pytest.mark.system  # a program that takes half a minute to start on a busy machine
def test_mergekit_gives_the_same(tmp_path: Path) -> None:
    parts = [Ingredient(checkpoint(tmp_path / f"c{n}", n), Fraction(n, 6)) for n in (1, 2, 3)]
    ours = tensors(merge(parts, tmp_path / "ours"))
    theirs = tensors(merge(parts, tmp_path / "theirs", engine="mergekit"))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], rtol=0, atol=1e-7), name
