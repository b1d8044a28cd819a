"""LoRA and QLoRA for one small GPU: which weights get adapters, and how the base is loaded.

Adapters (peft) sit on every linear layer of attention and MLP; after training they are merged into the
weights, so that what follows reads an ordinary checkpoint. QLoRA loads the base in 4 bits (bitsandbytes, CUDA
only; not in our locks).
"""

from dataclasses import dataclass
from importlib.util import find_spec
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

        if find_spec("bitsandbytes") is None or not torch.cuda.is_available():
            raise InputError(
                "QLoRA needs a CUDA device and bitsandbytes (pip install bitsandbytes); use LoRA here"
            )
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
