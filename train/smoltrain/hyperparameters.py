"""SmolLM3's numbers: train/configs/smollm3.yaml into sizes, phases and the optimizer.

The file says where each number comes from; ``published.csv`` beside it lists the published ones, and a test
compares the two. Cost: one small YAML file, this module imports nothing heavy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from smoldata.errors import InputError

PRESETS = ("released", "blog")


def configs_folder() -> Path:
    """Return the folder of the shipped numbers: ``train/configs/``, or in the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "configs"
    return checkout if checkout.is_dir() else package / "configs"


_VALUES: dict[str, Any] = yaml.safe_load((configs_folder() / "smollm3.yaml").read_text(encoding="utf-8"))


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


SIZES = {name: ModelSize(**values) for name, values in _VALUES["sizes"].items()}
NO_ROPE_LAYER_INTERVAL: int = _VALUES["model"]["no_rope_layer_interval"]
RMS_NORM_EPS: float = _VALUES["model"]["rms_norm_eps"]
INITIALIZER_STD: float = _VALUES["model"]["initializer_std"]
YARN: dict[str, Any] = _VALUES["yarn"]
_ADAMW = _VALUES["optimizer"]


@dataclass(frozen=True, slots=True)
class Optimizer:
    """AdamW as released: embeddings are not decayed, gradients are clipped to a global norm."""

    beta1: float = _ADAMW["beta1"]
    beta2: float = _ADAMW["beta2"]
    eps: float = _ADAMW["eps"]
    weight_decay: float = _ADAMW["weight_decay"]
    clip_grad: float = _ADAMW["clip_grad"]
    no_decay: str = _ADAMW["no_decay"]
    """Parameters whose name holds this are not decayed (released: ``.*token_embedding.*``)."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What changes from phase to phase; None where it follows from the data."""

    name: str
    preset: str
    rope_theta: float
    sequence_length: int
    batch_windows: int
    learning_rate: float
    decay_style: str
    steps: int | None = None
    """Steps of the phase alone."""
    total_steps: int | None = None
    """Steps of the whole schedule, which stages 1 to 3 share."""
    warmup_steps: int | None = None
    warmup_ratio: float | None = None
    """Warm-up as part of the steps, where it is not a count."""
    decay_steps: int | None = None
    """Steps of the decay at the end of the schedule."""
    minimum_rate: float = 0.0
    clip_grad: float = _ADAMW["clip_grad"]
    epochs: int | None = None


def phase_named(name: str, preset: str = "released") -> Phase:
    """Return a phase as one of the two presets has it; raises :class:`InputError` that lists them."""
    if name not in _VALUES["phases"]:
        raise InputError(f"unknown phase {name!r}; the phases are {', '.join(_VALUES['phases'])}")
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; the presets are {', '.join(PRESETS)}")
    values: Mapping[str, Any] = _VALUES["phases"][name]
    known = {one.name for one in fields(Phase)}
    chosen = {key: value[preset] if isinstance(value, dict) else value for key, value in values.items()}
    assert chosen.keys() <= known, "smollm3.yaml has a key that Phase has not"
    return Phase(name=name, preset=preset, **chosen)


PHASES = {name: phase_named(name) for name in _VALUES["phases"]}
DEFAULT_ROPE_THETA = PHASES["stage1"].rope_theta


def size_named(name: str) -> ModelSize:
    """Return the size called ``name``; raises :class:`InputError` that lists the sizes."""
    if name not in SIZES:
        raise InputError(f"unknown model size {name!r}; the sizes are {', '.join(SIZES)}")
    return SIZES[name]


def rope_theta_of(recipe: str) -> float:
    """Return the rotary base of a shipped recipe, and stage 1's for anyone's own."""
    phase = PHASES.get(recipe)
    return DEFAULT_ROPE_THETA if phase is None else phase.rope_theta
