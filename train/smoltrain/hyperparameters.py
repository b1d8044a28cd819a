"""Published numbers of SmolLM3 as data: the model, its smaller kin, the phases and the optimizer.

Source: huggingface/smollm, ``text/pretraining/smollm3/*.yaml`` at commit a041759 (the released
configuration); the blog gives 1.5M as rotary base of the 32k phase where the configuration says 2M. ``tiny``
and ``debug`` are ours: the same shape, small. Cost: none, this module imports nothing heavy.
"""

from dataclasses import dataclass

from smoldata.errors import InputError


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The shape of a model. All have grouped-query attention, NoPE in every 4th layer and tied embeddings."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    learning_rate: float
    """Peak rate that suits the size."""


SIZES = {
    "tiny": ModelSize(64, 344, 4, 4, 1, learning_rate=1e-2),
    "debug": ModelSize(256, 1376, 8, 4, 2, learning_rate=3e-3),
    "3b": ModelSize(2048, 11008, 36, 16, 4, learning_rate=2e-4),
}

NO_ROPE_LAYER_INTERVAL = 4
RMS_NORM_EPS = 1e-6
INITIALIZER_STD = 0.02


@dataclass(frozen=True, slots=True)
class Optimizer:
    """AdamW as released: embeddings are not decayed, gradients are clipped to a global norm."""

    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip_grad: float = 1.0
    no_decay: str = "embed_tokens"
    """Parameters whose name holds this are not decayed (released: ``.*token_embedding.*``)."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What changes from phase to phase; batch and steps are the plan's business."""

    rope_theta: float
    sequence_length: int
    learning_rate: float
    warmup_steps: int
    decay_steps: int
    """Steps of the decay to 0 at the end of the schedule."""
    decay_style: str
    total_steps: int
    """Steps of the whole schedule, which stages 1 to 3 share."""


_PRETRAINING = Phase(50_000.0, 4096, 2e-4, 2000, 522_000, "linear", 4_720_000)

PHASES = {
    "stage1": _PRETRAINING,
    "stage2": _PRETRAINING,
    "stage3": _PRETRAINING,
    "long_context_32k": Phase(2_000_000.0, 32_768, 2e-5, 1000, 19_000, "cosine", 20_000),
    "long_context_64k": Phase(5_000_000.0, 65_536, 2e-5, 1000, 21_000, "cosine", 22_000),
}

DEFAULT_ROPE_THETA = _PRETRAINING.rope_theta


def size_named(name: str) -> ModelSize:
    """Return the size called ``name``; raises :class:`InputError` that lists the sizes."""
    if name not in SIZES:
        raise InputError(f"unknown model size {name!r}; the sizes are {', '.join(SIZES)}")
    return SIZES[name]


def rope_theta_of(recipe: str) -> float:
    """Return the rotary base of a shipped recipe, and stage 1's for anyone's own."""
    phase = PHASES.get(recipe)
    return DEFAULT_ROPE_THETA if phase is None else phase.rope_theta
