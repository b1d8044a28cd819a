"""A phase, its rows and a number of GPUs -> steps, tokens, memory a GPU and GPU-hours, by arithmetic.

Rows and tokens are the built rows' own lengths, or, without them, the published counts. Then:

- steps: packed rows (or pairs) an epoch over the batch, as the trainer counts them
- operations: 6 a weight and token, 12 x layers x hidden a key that a query sees; x 4/3, since the backward
  pass makes the forward pass again; a pair's tokens pass the frozen reference as well: x 5/3
- GPU-hours: operations over the GPU's peak and the share of it that is reached (SmolLM3's pretraining: 31 %)
- memory: 16 bytes a weight (float32 weights, gradients, two moments) over all GPUs; two layers and the
  embeddings gathered in bfloat16; each layer's input kept, and one layer worked on; logits a chunk at a time

Cost: milliseconds; with built rows a column read, and the packing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from smoldata.errors import InputError
from smoltrain.flops import H100_BF16_FLOPS, parameters
from smoltrain.hyperparameters import SIZES, ModelSize
from smoltrain.post.lengths import Lengths, packed_rows
from smoltrain.post.phases import Phase
from smoltrain.post.recipe import RowsRecipe, shares

NODES = {"mid": 8, "sft": 8, "apo": 2}
"""Published: alignment-handbook's recipes/smollm3, 8 GPUs a node."""
VOCABULARY = 128_256
_LOGIT_TOKENS = 256
"""Tokens whose logits exist at once in TRL (float32 logits, their softmax and its gradient)."""
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Machines:
    """What a phase runs on."""

    nodes: int
    gpus_per_node: int = 8
    micro_batch: int = 1
    gpu_gib: float = 80e9 / _GIB
    peak_flops: float = H100_BF16_FLOPS
    utilization: float = 0.30
    """Part of the peak that is reached, by all operations that are counted here."""

    @property
    def gpus(self) -> int:
        """Return all GPUs."""
        return self.nodes * self.gpus_per_node


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a phase trains on, once through."""

    rows: int
    """Conversations, or pairs."""
    tokens: int
    """Both sides of pairs."""
    packed: int
    """Rows that the trainer sees."""
    keys: float
    """Keys that a query sees, on average."""
    source: str
    """``rows`` (counted) or ``published``."""


@dataclass(frozen=True, slots=True)
class Memory:
    """GiB on the fullest GPU."""

    states: float
    gathered: float
    reference: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """Return the sum."""
        return self.states + self.gathered + self.reference + self.activations + self.logits


@dataclass(frozen=True, slots=True)
class Budget:
    """What a phase needs."""

    phase: Phase
    machines: Machines
    corpus: Corpus
    accumulation: int
    """Passes of a step on each GPU."""
    steps: int
    trained_tokens: int
    """Over all epochs."""
    exaflops: float
    gpu_hours: float
    memory: Memory

    @property
    def hours(self) -> float:
        """Return hours by the clock."""
        return self.gpu_hours / self.machines.gpus


def corpus_of(lengths: Lengths, phase: Phase) -> Corpus:
    """Return what a phase trains on, from the lengths of its rows: [rows, 1] or [pairs, 2]."""
    kept = lengths.clip(max=phase.max_length) if phase.packing != "wrapped" else lengths
    tokens = int(kept.sum())
    if phase.packing == "wrapped":
        keys = (phase.max_length + 1) / 2
    else:
        keys = float((kept * (kept + 1) / 2).sum()) / max(tokens, 1)
    packed = len(lengths) if lengths.shape[1] > 1 else packed_rows(lengths, phase)
    return Corpus(len(lengths), tokens, packed, keys, "rows")


def published_corpus(recipe: RowsRecipe, phase: Phase) -> Corpus:
    """Return what the published counts say; rejected answers count as long as the chosen ones."""
    found = shares(recipe)
    if any(one.taken is None or one.tokens is None for one in found):
        raise InputError(f"recipe {recipe.name} has subsets without published rows or tokens; build its rows")
    rows = sum(one.taken or 0 for one in found)
    tokens = sum((one.tokens or Fraction(0) for one in found), Fraction(0))
    sides = 2 if recipe.kind == "pairs" else 1
    mean = tokens / rows
    packed = rows if phase.packing is None else ceil(tokens / phase.max_length)
    keys = (phase.max_length + 1) / 2 if phase.packing == "wrapped" else float(mean + 1) / 2
    return Corpus(rows, int(tokens * sides), packed, keys, "published")


def budget(
    phase: Phase, corpus: Corpus, machines: Machines, size: ModelSize = SIZES["3b"], vocab: int = VOCABULARY
) -> Budget:
    """Return what a phase needs. Raises :class:`InputError` when the batch is no multiple of the GPUs."""
    at_once = machines.gpus * machines.micro_batch
    if phase.batch % at_once:
        fitting = [
            n for n in range(1, machines.nodes + 1) if not phase.batch % (n * at_once // machines.nodes)
        ]
        raise InputError(
            f"{phase.name}: a batch of {phase.batch} is no multiple of {machines.gpus} GPUs x "
            f"{machines.micro_batch}; use {', '.join(map(str, fitting)) or 'fewer'} nodes"
        )
    an_epoch = ceil(corpus.packed / phase.batch)
    steps = phase.steps or ceil(an_epoch * phase.epochs)
    trained = int(corpus.tokens * phase.epochs)
    if phase.steps:
        trained = corpus.tokens * phase.steps * phase.batch // max(corpus.packed, 1)
    forward = 2.0 * parameters(size, vocab) + 4.0 * size.num_layers * size.hidden_size * corpus.keys
    passes = 5 if phase.name == "apo" else 4  # forward, again, and a backward pass of two; the reference's
    operations = forward * passes * trained
    seconds = operations / (machines.peak_flops * machines.utilization)
    return Budget(
        phase,
        machines,
        corpus,
        phase.batch // at_once,
        steps,
        trained,
        operations / 1e18,
        seconds / 3600,
        memory(phase, machines, size, vocab),
    )


def memory(phase: Phase, machines: Machines, size: ModelSize, vocab: int = VOCABULARY) -> Memory:
    """Return what a GPU holds at its fullest: a whole row (or pair at the cap) in the backward pass."""
    weights = parameters(size, vocab)
    layer = (weights - (vocab + 1) * size.hidden_size) / size.num_layers
    gathered = 2 * (2 * layer + vocab * size.hidden_size) if machines.gpus > 1 else 2 * layer
    tokens = phase.max_length * machines.micro_batch * (2 if phase.name == "apo" else 1)
    kept = 2 * size.num_layers * size.hidden_size
    head = size.hidden_size // size.num_heads
    attention = head * (2 * size.num_heads + 2 * size.num_kv_heads)
    worked = 2 * (6 * size.hidden_size + 2 * attention + 5 * size.intermediate_size)
    logits = 12.0 * vocab * min(tokens, _LOGIT_TOKENS)
    return Memory(
        states=16 * weights / machines.gpus / _GIB,
        gathered=gathered / _GIB,
        reference=(4 * weights / machines.gpus if phase.name == "apo" else 0) / _GIB,
        activations=tokens * (kept + worked) / _GIB,
        logits=logits / _GIB,
    )


def fits(budgets: Sequence[Budget]) -> list[str]:
    """Return what does not fit: a line a phase, empty if all do."""
    return [
        f"{one.phase.name}: {one.memory.total:.1f} GiB a GPU, there are {one.machines.gpu_gib:.1f}: "
        f"use more nodes, or rows shorter than {one.phase.max_length:,}"
        for one in budgets
        if one.memory.total > one.machines.gpu_gib
    ]
