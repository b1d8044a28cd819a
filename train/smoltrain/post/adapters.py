"""LoRA and QLoRA for one small GPU: which weights get adapters, and how the base is loaded.

Adapters (peft) sit on every linear layer of attention and MLP; after training they are merged into the
weights, so that what follows reads an ordinary checkpoint. QLoRA loads the base in 4 bits (bitsandbytes: on
CUDA, and slowly on a CPU; in no lock); its adapters are merged into the base as it was before rounding.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from smoldata.errors import InputError

_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Adapter:
    """Size of the adapters."""

    rank: int = 16
    alpha: int = 32
    four_bits: bool = False
    """QLoRA: the frozen base in NF4."""

    def config(self) -> Any:
        """Return peft's configuration."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=0.0,
            target_modules=list(_TARGETS),
            task_type="CAUSAL_LM",
        )

    def quantization(self) -> Any:
        """Return how the base is loaded: None, or 4 bits. Raises :class:`InputError` where that cannot be."""
        if not self.four_bits:
            return None
        import torch
        from transformers import BitsAndBytesConfig

        if find_spec("bitsandbytes") is None:
            raise InputError("QLoRA needs bitsandbytes (pip install bitsandbytes); install it, or use LoRA")
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )


def merged_weights(model: Any, adapter: Adapter, base: Path) -> Any:
    """Return an ordinary model with a trained model's adapters in its weights.

    After QLoRA ``base`` is read again in float32: what was rounded to 4 bits for training is not kept.
    """
    if not adapter.four_bits:
        return model.merge_and_unload()
    import tempfile

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        plain = AutoModelForCausalLM.from_pretrained(
            str(base), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        for ours, trained in (
            (plain.config, model.config),
            (plain.generation_config, model.generation_config),
        ):
            ours.eos_token_id, ours.bos_token_id = trained.eos_token_id, trained.bos_token_id
            ours.pad_token_id = trained.pad_token_id
        plain.config.max_position_embeddings = model.config.max_position_embeddings
        return PeftModel.from_pretrained(plain, scratch).merge_and_unload()
