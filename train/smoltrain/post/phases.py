"""Published settings of mid-training, SFT and APO as data, in two presets, and their scaling to small models.

``recipe``: huggingface/alignment-handbook at 925acdf, ``recipes/smollm3/``. ``blog``: the same with what the
SmolLM3 blog says otherwise: 4 epochs of mid-training and SFT (recipe: 5), mid-training packed by wrapping
(recipe: unset, which is best fit decreasing in TRL today). The recipe's ``ffd`` is TRL's ``bfd``. The stated
totals (140B and 8B tokens) fit the blog; nothing published settles it. Cost: none, nothing heavy is imported.
"""

from dataclasses import dataclass, replace
from typing import Literal

from smoldata.errors import InputError

Packing = Literal["bfd", "wrapped"]
PRESETS = ("blog", "recipe")


@dataclass(frozen=True, slots=True)
class Phase:
    """How one phase trains; the recipe of rows of the same name says on what."""

    name: str
    epochs: float
    learning_rate: float
    warmup: float
    """Share of the steps."""
    max_length: int
    """Tokens of a packed row, or of one side of a pair."""
    batch: int
    """Rows, or pairs, of one optimizer step over all devices."""
    packing: Packing | None = None
    assistant_only: bool = False
    beta: float = 0.05
    loss: str = "apo_zero"
    min_rate: float = 0.1
    """The cosine ends at this share of the peak rate."""
    max_grad_norm: float = 0.2
    seed: int = 42
    steps: int | None = None
    """Steps instead of epochs."""


_PUBLISHED = {
    "mid": Phase("mid", 5, 2e-5, 0.03, 32_768, 128, packing="bfd"),
    "sft": Phase("sft", 5, 2e-5, 0.03, 65_536, 128, packing="bfd", assistant_only=True),
    "apo": Phase("apo", 1, 1e-6, 0.1, 24_576, 32),
}
_BLOG = {
    "mid": replace(_PUBLISHED["mid"], epochs=4, packing="wrapped"),
    "sft": replace(_PUBLISHED["sft"], epochs=4),
    "apo": _PUBLISHED["apo"],
}
_TINY = {
    "mid": replace(_BLOG["mid"], learning_rate=1e-2, max_length=512, batch=2, steps=8, max_grad_norm=1.0),
    "sft": replace(_BLOG["sft"], learning_rate=1e-2, max_length=512, batch=2, steps=16, max_grad_norm=1.0),
    "apo": replace(_BLOG["apo"], learning_rate=1e-3, max_length=512, batch=2, steps=8, max_grad_norm=1.0),
}
"""Ours: for the tiny model of `make train`, in minutes on two cores."""
_SMALL = {
    "mid": replace(_BLOG["mid"], learning_rate=3e-4, max_length=4096, batch=8, max_grad_norm=1.0),
    "sft": replace(_BLOG["sft"], learning_rate=3e-4, max_length=4096, batch=8, max_grad_norm=1.0),
    "apo": replace(_BLOG["apo"], learning_rate=2e-5, max_length=2048, batch=16, max_grad_norm=1.0),
}
"""Ours: for about 100M weights and the sample on one GPU, in minutes."""


def phase_named(name: str, preset: str = "blog") -> Phase:
    """Return a phase (``mid``, ``sft``, ``apo``) of a preset (``blog``, ``recipe``, ``tiny``, ``small``)."""
    presets = {"blog": _BLOG, "recipe": _PUBLISHED, "tiny": _TINY, "small": _SMALL}
    if preset not in presets or name not in _PUBLISHED:
        raise InputError(
            f"there is no phase {name!r} in a preset {preset!r}; phases are {', '.join(_PUBLISHED)}, "
            f"presets {', '.join(presets)}"
        )
    return presets[preset][name]
