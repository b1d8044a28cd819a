"""Conversion: bit for bit there and back, ranks merged chunk by chunk, the same logits, YaRN as published."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")

from smoldata.errors import InputError, IntegrityError  # noqa: E402 - after the check for torch
from smoltrain.convert import (  # noqa: E402
    form_of,
    hf_config,
    hf_to_nanotron,
    hf_weights,
    nanotron_to_hf,
    yarn_parameters,
)
from smoltrain.hyperparameters import ModelSize  # noqa: E402
from smoltrain.model import build_config, build_model, load_model  # noqa: E402
from smoltrain.nanotron_weights import read_weights  # noqa: E402

VOCAB = 96
QKV = "model.decoder.1.pp_block.attn.qkv_proj.weight"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model of 8 layers with 4 heads over 2 in Hugging Face's form, its weights all different."""
    size = ModelSize(64, 48, 8, 4, 2, learning_rate=0.0)
    config = build_config(size, vocab_size=VOCAB, eos_id=0, sequence_length=64, rope_theta=2e6)
    model: Any = build_model(config, seed=1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)) * 0.05)
    folder = tmp_path_factory.mktemp("hf") / "model"
    model.save_pretrained(folder)
    return folder


def logits(folder: Path) -> Any:
    ids = torch.arange(48)[None] % VOCAB
    with torch.no_grad():
        return load_model(folder).double()(input_ids=ids, use_cache=False).logits


@pytest.mark.parametrize("ranks", [1, 2])
def test_there_and_back_is_the_same_model(checkpoint: Path, tmp_path: Path, ranks: int) -> None:
    there = hf_to_nanotron(checkpoint, tmp_path / "nanotron", ranks=ranks)
    back = nanotron_to_hf(there, tmp_path / "hf")
    assert (form_of(checkpoint), form_of(there), form_of(back)) == ("hf", "nanotron", "hf")
    before, after = load_model(checkpoint), load_model(back)
    theirs = dict(after.named_parameters())
    assert all(torch.equal(value, theirs[name]) for name, value in before.named_parameters())
    assert torch.equal(logits(checkpoint), logits(back))
    old, new = before.config.to_dict(), after.config.to_dict()
    differing = {key for key in old if old[key] != new[key]}
    assert differing <= {"_name_or_path", "use_cache", "transformers_version"}
    assert new["no_rope_layers"] == [1, 1, 1, 0] * 2
    assert new["rope_parameters"] == {"rope_type": "default", "rope_theta": 2e6}
    assert after.lm_head.weight is after.model.embed_tokens.weight


def test_ranks_hold_their_heads_of_each_part(checkpoint: Path, tmp_path: Path) -> None:
    """Two ranks one after the other are not the tensor: each has a half of queries, of keys and of values."""
    one = read_weights(hf_to_nanotron(checkpoint, tmp_path / "one", ranks=1))[QKV]
    two = hf_to_nanotron(checkpoint, tmp_path / "two", ranks=2)
    files = sorted((two / "model").glob("model/decoder/1/**/qkv_proj/*.safetensors"))
    assert [file.name for file in files] == [
        f"model_weight_pp-rank-0-of-1_tp-rank-{rank}-of-2.safetensors" for rank in range(2)
    ]
    from safetensors.torch import load_file

    parts = [load_file(file)["data"] for file in files]
    assert torch.equal(parts[1], torch.cat([one[32:64], one[80:96], one[112:128]]))
    assert not torch.equal(torch.cat(parts), one)
    assert torch.equal(read_weights(two)[QKV], one)


def test_interleaved_rotary_pairs_are_taken_apart(checkpoint: Path, tmp_path: Path) -> None:
    there = hf_to_nanotron(checkpoint, tmp_path / "nanotron")
    facts = json.loads((there / "model_config.json").read_text())
    found = read_weights(there)
    # Row 2i of a head of 16 is row i of the halves, row 2i + 1 is row 8 + i.
    order = torch.tensor([half * 8 + pair for pair in range(8) for half in range(2)])
    rows = torch.cat([head * 16 + order for head in range(6)] + [torch.arange(96, 128)])
    for name in [name for name in found if ".qkv_proj." in name]:
        found[name] = found[name][rows]
    wanted = hf_weights(read_weights(there), facts)
    made = hf_weights(found, {**facts, "rope_interleaved": True})
    assert all(torch.equal(made[name], wanted[name]) for name in wanted)


def test_a_rank_or_a_tensor_that_is_missing_is_named(checkpoint: Path, tmp_path: Path) -> None:
    two = hf_to_nanotron(checkpoint, tmp_path / "two", ranks=2)
    next((two / "model").glob("model/decoder/3/**/down_proj/*tp-rank-1*")).unlink()
    with pytest.raises(IntegrityError, match=r"3/pp_block/mlp/down_proj: 1 of 2 tensor-parallel ranks"):
        nanotron_to_hf(two, tmp_path / "hf")
    for rest in (two / "model").glob("model/decoder/3/**/down_proj/*"):
        rest.unlink()
    with pytest.raises(
        IntegrityError, match=r"no tensor model\.decoder\.3\.pp_block\.mlp\.down_proj\.weight"
    ):
        nanotron_to_hf(two, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()
    with pytest.raises(InputError, match="is no checkpoint"):
        form_of(tmp_path)


def test_what_nanotron_cannot_say_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    config = json.loads((checkpoint / "config.json").read_text())
    for change, said in (
        ({"no_rope_layers": [1, 0, 1, 1, 1, 1, 1, 1]}, "no one interval"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 5e6, "factor": 2.0}}, "'yarn'"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(InputError, match=said):
            hf_to_nanotron(folder, tmp_path / "out")
    with pytest.raises(InputError, match="64 rows cannot be split over 3"):
        hf_to_nanotron(checkpoint, tmp_path / "out", ranks=3)


def test_yarn_to_128k_is_configuration_alone(checkpoint: Path, tmp_path: Path) -> None:
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    there = hf_to_nanotron(checkpoint, tmp_path / "nanotron")
    long = load_model(nanotron_to_hf(there, tmp_path / "long", yarn=True))
    assert long.config.max_position_embeddings == 131_072
    assert long.config.rope_parameters["factor"] == 2.0
    frequencies, scaling = ROPE_INIT_FUNCTIONS["yarn"](long.config, "cpu")
    assert scaling == pytest.approx(1.0693, abs=1e-4)
    plain = 5e6 ** (-torch.arange(0, 16, 2) / 16)
    assert torch.allclose(frequencies / plain, torch.tensor([1, 1, 1, 1, 0.75, 0.5, 0.5, 0.5]), atol=1e-5)
    rope, longest = yarn_parameters()
    assert (rope["rope_theta"], rope["original_max_position_embeddings"], longest) == (5e6, 65_536, 131_072)
    facts = json.loads((there / "model_config.json").read_text())
    with pytest.raises(InputError, match="only null can be converted"):
        hf_config({**facts, "rope_scaling": {"type": "dynamic"}})


def test_a_first_token_of_another_vocabulary_is_left_out(checkpoint: Path, tmp_path: Path) -> None:
    """Nanotron's files say 128,000, Llama's, whatever the tokenizer."""
    facts = json.loads((hf_to_nanotron(checkpoint, tmp_path / "there") / "model_config.json").read_text())
    assert hf_config({**facts, "bos_token_id": 128_000})["bos_token_id"] is None
    assert hf_config({**facts, "bos_token_id": 7})["bos_token_id"] == 7


def test_the_command_converts_whichever_way(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from smoltrain.cli import app

    words = Path(tmp_path / "words")
    words.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "notes.txt"):
        (words / name).write_text("{}")
    there, back = tmp_path / "there", tmp_path / "back"
    app(["convert", str(checkpoint), str(there), "--ranks", "2"], standalone_mode=False)
    options = ["--dtype", "bfloat16", "--yarn", "--tokenizer", str(words)]
    app(["convert", str(there), str(back), *options], standalone_mode=False)
    assert {path.name for path in back.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    model = load_model(back)
    assert {one.dtype for one in model.parameters()} == {torch.bfloat16}
    assert model.config.rope_parameters["rope_type"] == "yarn"
    for arguments, said in (
        ([str(checkpoint), str(there)], "exists; give another folder"),
        ([str(checkpoint), str(tmp_path / "x"), "--yarn"], "of Hugging Face's form"),
        ([str(there), str(tmp_path / "x"), "--dtype", "int8"], "there are bfloat16"),
        ([str(there), str(tmp_path / "x"), "--tokenizer", str(tmp_path)], "has no tokenizer.json"),
    ):
        with pytest.raises(InputError, match=said):
            app(["convert", *arguments], standalone_mode=False)
    assert not (tmp_path / "x").exists()
    capsys.readouterr()
    app(["config", "long_context_64k", "--for", "transformers", "--size", "tiny"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["rope_parameters"]["rope_theta"] == 5e6


LOGITS = """
import json, sys
from pathlib import Path
import torch
sys.path.insert(0, str(Path(sys.argv[1]) / "examples" / "smollm3"))
import convert_weights
model = convert_weights.load_nanotron_model(
    device=torch.device("cpu"), dtype=torch.float32, checkpoint_path=Path(sys.argv[2])
)
ids = torch.arange(48)[None] % 96
positions = torch.arange(48)[None].to(torch.int32)
with torch.no_grad():
    logits = model.model(input_ids=ids, position_ids=positions)
torch.save(logits.float().reshape(1, 48, -1), sys.argv[3])
"""


@pytest.mark.nanotron
@pytest.mark.skipif(not os.environ.get("NANOTRON"), reason="needs NANOTRON=<checkout>")
def test_nanotrons_own_model_gives_the_same_logits(checkpoint: Path, tmp_path: Path) -> None:
    """It loads what was written for two ranks, merges them itself; logits agree to 1e-6."""
    there = hf_to_nanotron(checkpoint, tmp_path / "nanotron", ranks=2)
    script, out = tmp_path / "logits.py", tmp_path / "logits.pt"
    script.write_text(LOGITS)
    harness = Path(__file__).parent / "nanotron" / "cpu.py"
    python = os.environ.get("NANOTRON_PYTHON", sys.executable)
    command = [python, "-m", "torch.distributed.run", "--nproc_per_node=1", "--standalone", str(harness)]
    done = subprocess.run(
        [*command, str(script), os.environ["NANOTRON"], str(there), str(out)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([f"{os.environ['NANOTRON']}/src", *sys.path]),
            "OMP_NUM_THREADS": "1",
            "CUDA_DEVICE_MAX_CONNECTIONS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = torch.load(out, weights_only=True).double()
    ours = logits(checkpoint)
    assert float((theirs - ours).norm() / ours.norm()) <= 1e-6
