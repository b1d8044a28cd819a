"""Checkpoints that cannot be scored are refused in one line: no number is better than a wrong one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.eval.tiny_model import tiny_model, write_checkpoint

from smoldata.errors import InputError
from smoleval.engine import Settings, device_of, dtype_of, prepare
from smoleval.loading import load_model, load_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")


def no_configuration(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')


def another_family(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "none_such", "architectures": ["NoneSuch"]}')


def half_the_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def no_number_among_the_weights(folder: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] = float("nan")
    model.save_pretrained(str(folder))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (no_configuration, "cannot be loaded as a causal model"),
        (another_family, "cannot be loaded as a causal model .*none_such"),
        (half_the_weights, "cannot be loaded as a causal model"),
        (no_number_among_the_weights, r"1 of its weights .* first model\.layers\.1\.mlp\.up_proj\.weight"),
    ],
)
def test_a_spoiled_checkpoint_is_refused(spoil: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    assert load_model(folder, "float32", "cpu").training is False
    spoil(folder)
    with pytest.raises(InputError, match=words) as seen:
        load_model(folder, "float32", "cpu")
    assert "\n" not in str(seen.value)


def test_a_configuration_that_is_none_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    no_configuration(folder)
    with pytest.raises(InputError, match=r"config\.json is no configuration of a model"):
        prepare(folder, [], tmp_path, Settings(profile="fixture", device="cpu"))


def test_a_spoiled_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    file = folder / "tokenizer.json"
    file.write_text('{"version": ')
    for path in (folder, file):
        with pytest.raises(InputError, match="holds no tokenizer that transformers reads"):
            load_tokenizer(path)


def test_a_device_and_a_number_format_are_named_or_follow_from_one_another() -> None:
    assert (dtype_of("auto", "cpu"), dtype_of("auto", "cuda:1")) == ("float32", "bfloat16")
    with pytest.raises(InputError, match="--dtype float8: want auto"):
        dtype_of("float8", "cpu")
    if not torch.cuda.is_available():
        assert device_of("auto") == "cpu"
        with pytest.raises(InputError, match=r"--device cuda: torch .* sees no GPU"):
            device_of("cuda")
