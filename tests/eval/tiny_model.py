"""A tiny causal model with random weights and a byte-level tokenizer, as a folder: made in half a second."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

_WORDS = "the answer is a house and water where question yes no one two three 0123456789 in of to on it"


def write_tokenizer(folder: Path) -> Path:
    """Write a byte-level tokenizer with a few merges; id 0 ends a text."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_WORDS] * 20, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "pad_token": "<|end|>"}'
    )
    return folder


def tiny_model(*, positions: int = 256, seed: int = 0, layers: int = 2) -> Any:
    """Return a SmolLM3 of 320 tokens; its weights are wide enough for choices to differ clearly."""
    from transformers import SmolLM3Config, SmolLM3ForCausalLM

    torch.manual_seed(seed)
    config = SmolLM3Config(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=0.3,
        tie_word_embeddings=True,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=0,
    )
    return SmolLM3ForCausalLM(config).eval()


def write_checkpoint(folder: Path) -> Path:
    """Write model and tokenizer as a checkpoint in Hugging Face form."""
    write_tokenizer(folder)
    tiny_model().save_pretrained(str(folder))
    return folder
