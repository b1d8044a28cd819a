"""Training: masks token by token, packing, the first loss by construction, a stop that changes nothing."""

import math
from collections import Counter as Multiset
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from smoldata.errors import InputError
from smoltrain.model import load_model
from smoltrain.post import trainer as trainer_module
from smoltrain.post.adapters import Adapter
from smoltrain.post.counting import Counter
from smoltrain.post.data import RowsData
from smoltrain.post.phases import phase_named
from smoltrain.post.recipe import load_rows_recipe
from smoltrain.post.schemas import Conversation, Message
from smoltrain.post.trainer import Job, make_trainer, run_phase, whole_checkpoints

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]


def job(name: str, base: Path, rows: dict[str, RowsData], tokenizer: Path, out: Path, **changes: Any) -> Job:
    settings = {"max_length": 256, "batch": 2, "steps": 4} | changes
    return Job(replace(phase_named(name, "tiny"), **settings), base, tokenizer, rows[name], out)


def documents(dataset: Any) -> Multiset[tuple[tuple[int, ...], tuple[bool, ...]]]:
    """Return the documents of packed rows: ids, and which of them have a label."""
    found: Multiset[tuple[tuple[int, ...], tuple[bool, ...]]] = Multiset()
    for row in dataset:
        begin = 0
        for length in row["seq_lengths"]:
            part = slice(begin, begin + length)
            assert all(
                label in {-100, token}
                for token, label in zip(row["input_ids"][part], row["labels"][part], strict=True)
            )
            found[tuple(row["input_ids"][part]), tuple(label != -100 for label in row["labels"][part])] += 1
            begin += length
    return found


def stored(path: Path) -> list[Conversation]:
    found = []
    for row in pq.read_table(path).to_pylist():
        messages = tuple(Message(**message) for message in row["messages"])
        found.append(
            Conversation(row["id"], row["subset"], row["mode"], messages, row["chat_template_kwargs"])
        )
    return found


def test_the_loss_is_on_the_assistant_alone_token_by_token(
    base: Path, rows: dict[str, RowsData], tokenizer: Path, tmp_path: Path
) -> None:
    one = job("sft", base, rows, tokenizer, tmp_path)
    counter = Counter(tokenizer, load_rows_recipe("sft"))
    wanted = Multiset(
        (tuple(ids), tuple(mask.tolist())) for ids, mask in counter.masks(stored(rows["sft"].train))
    )
    packed = make_trainer(one).train_dataset
    assert documents(packed) == wanted
    assert max(sum(row["seq_lengths"]) for row in packed) <= 256
    assert len(packed) < sum(wanted.values()) / 1.3, "documents share rows"
    engine = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    for ids, mask in documents(packed):
        trained = [token for token, is_trained in zip(ids, mask, strict=True) if is_trained]
        text = engine.decode(trained, skip_special_tokens=False)
        assert text.startswith("<|im_start|>assistant\n")
        assert text.endswith("<|im_end|>\n")
        assert "secret" not in text
        assert "user" not in text
    assert any("secret" in engine.decode(list(ids)) for ids, _ in documents(packed))


def test_mid_training_wraps_and_trains_on_every_token(
    base: Path, rows: dict[str, RowsData], tokenizer: Path, tmp_path: Path
) -> None:
    packed = make_trainer(job("mid", base, rows, tokenizer, tmp_path)).train_dataset
    assert all(row["labels"] == row["input_ids"] for row in packed)
    assert [len(row["input_ids"]) for row in packed][:-1] == [256] * (len(packed) - 1)
    assert sum(len(row["input_ids"]) for row in packed) == sum(
        one["tokens"] for one in rows["mid"].facts["subsets"]
    )


@pytest.mark.parametrize(("loss", "first"), [("apo_zero", 1.0), ("apo_down", 1.0), ("sigmoid", math.log(2))])
def test_the_first_preference_loss_is_known(
    base: Path, rows: dict[str, RowsData], tokenizer: Path, tmp_path: Path, loss: str, first: float
) -> None:
    facts = run_phase(
        job("apo", base, rows, tokenizer, tmp_path, loss=loss, steps=2, warmup=0.0, learning_rate=1e-2)
    )
    assert facts["log"][0]["loss"] == pytest.approx(first, abs=1e-6)
    assert facts["log"][1]["loss"] != facts["log"][0]["loss"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_stop_between_two_steps_changes_nothing(
    base: Path, rows: dict[str, RowsData], tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    whole = job("sft", base, rows, tokenizer, tmp_path / "whole")
    run_phase(whole)
    cut = job("sft", base, rows, tokenizer, tmp_path / "cut")
    step = Trainer.training_step
    seen: list[int] = []

    def stopping(self: Any, *arguments: Any, **named: Any) -> Any:
        seen.append(self.state.global_step)
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return step(self, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "training_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            run_phase(cut)
    assert [path.name for path in whole_checkpoints(cut.out / "steps")] == ["checkpoint-2"]
    torn = cut.out / "steps" / "checkpoint-3"
    torn.mkdir()
    (torn / "trainer_state.json").write_text("{", encoding="utf-8")
    facts = run_phase(cut)
    assert not torn.exists()
    assert [line["step"] for line in facts["log"]] == [1, 2, 3, 4]
    left, right = weights(whole.final), weights(cut.final)
    assert all(torch.equal(left[name], right[name]) for name in left)
    before = (cut.final / "model.safetensors").stat().st_mtime_ns
    assert run_phase(cut) == facts
    assert (cut.final / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["sft", "apo"])
def test_a_stop_after_the_last_step_changes_nothing(
    base: Path,
    rows: dict[str, RowsData],
    tokenizer: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    whole = job(name, base, rows, tokenizer, tmp_path / "whole")
    wanted = run_phase(whole)
    cut = job(name, base, rows, tokenizer, tmp_path / "cut")

    def stopping(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(trainer_module, "_save", stopping)
        with pytest.raises(KeyboardInterrupt):
            run_phase(cut)
    assert [path.name for path in whole_checkpoints(cut.out / "steps")] == ["checkpoint-2", "checkpoint-4"]
    assert run_phase(cut) == wanted
    left, right = weights(whole.final), weights(cut.final)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_adapters_end_up_in_the_weights(
    base: Path, rows: dict[str, RowsData], tokenizer: Path, tmp_path: Path
) -> None:
    one = replace(job("sft", base, rows, tokenizer, tmp_path, steps=2), adapter=Adapter(rank=2, alpha=4))
    run_phase(one)
    before, after = weights(base), weights(one.final)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("_proj" in name for name in changed)
    assert load_model(one.final).config.eos_token_id == 258


@pytest.mark.skipif(bool(find_spec("bitsandbytes")), reason="says what is missing without bitsandbytes")
def test_four_bits_without_bitsandbytes_are_refused() -> None:
    with pytest.raises(InputError, match="pip install bitsandbytes"):
        Adapter(four_bits=True).quantization()


@pytest.mark.skipif(not find_spec("bitsandbytes"), reason="needs bitsandbytes (pip install bitsandbytes)")
def test_four_bits_are_merged_into_the_base_as_it_was(
    base: Path, rows: dict[str, RowsData], tokenizer: Path, tmp_path: Path
) -> None:
    adapter = Adapter(rank=2, alpha=4, four_bits=True)
    one = replace(job("sft", base, rows, tokenizer, tmp_path, steps=2), adapter=adapter)
    assert type(make_trainer(one).model.model.model.layers[0].mlp.up_proj.base_layer).__name__ == "Linear4bit"
    run_phase(one)
    before, after = weights(base), weights(one.final)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    for name in changed:  # rounding to 4 bits would change all ranks
        assert "_proj" in name
        assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) <= 2
    assert load_model(one.final).config.eos_token_id == 258
