"""What a choice of the architecture brings: variants trained on the same windows in the same order.

Each variant changes one thing of the baseline (GQA, NoPE in every 4th layer, documents kept apart, embeddings
not decayed). All start from one seed and read one plan, proved by each run's ledger; held-out losses are
scored with documents kept apart for all. What differs besides the loss is measured too: bytes of KV cache a
token from a real cache, parameters, speed, the embedding's norm. Cost: a training run a variant.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from smoldata.console import say
from smoldata.errors import InputError
from smoldata.files import write_atomic, write_json
from smoltrain.bundle import Bundle
from smoltrain.flops import parameters
from smoltrain.hyperparameters import size_named
from smoltrain.run import RunFolder, Settings
from smoltrain.runlog import Row, read_log

FORMAT_VERSION = 1
BASELINE = "baseline"
TITLES = {
    BASELINE: "GQA, NoPE, documents apart",
    "mha": "multi-head attention",
    "rope": "rotary positions in all layers",
    "unmasked": "documents not kept apart",
    "decayed": "embeddings decayed",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one variant."""

    variant: str
    changed: dict[str, object]
    parameters: int
    final_loss: float
    """Mean over the last tenth of the steps."""
    heldout_loss: float | None
    """Mean over sources at the end."""
    heldout: dict[str, float]
    embedding_norm: float
    tokens_per_second: float
    """Of the median step."""
    kv_cache_bytes_per_token: int
    ledger_windows: int
    losses: list[float]


def variants(settings: Settings) -> dict[str, Settings]:
    """Return the settings of each variant, the baseline first."""
    heads = size_named(settings.size).num_heads
    return {
        BASELINE: settings,
        "mha": replace(settings, kv_heads=heads),
        "rope": replace(settings, no_rope_interval=0),
        "unmasked": replace(settings, document_masks=False),
        "decayed": replace(settings, decay_embeddings=True),
    }


def ablate(bundle: Bundle, settings: Settings, out: Path, names: list[str] | None = None) -> list[Outcome]:
    """Train the variants called ``names`` (None: all) below ``out``; write results.json and losses.svg.

    A variant that is finished there is not trained again. Raises :class:`InputError` for an unknown name.
    """
    known = variants(settings)
    chosen = list(known) if names is None else [BASELINE, *[name for name in names if name != BASELINE]]
    if unknown := [name for name in chosen if name not in known]:
        raise InputError(f"unknown variant {unknown[0]!r}; there are {', '.join(known)}")
    outcomes = []
    for name in chosen:
        say(f"variant {name}: {TITLES[name]}")
        outcomes.append(_train(bundle, name, known[name], settings, out))
    write_json(out / "results.json", results(bundle, settings, outcomes))
    write_atomic(out / "losses.svg", picture(outcomes))
    return outcomes


def _train(bundle: Bundle, name: str, settings: Settings, base: Settings, out: Path) -> Outcome:
    from smoltrain.train import shape_of, train

    done = train(bundle, settings, out / name)
    assert done is not None, "ablations run as one process"
    rows = read_log(RunFolder(out / name).log)
    losses = [float(row["loss"]) for row in rows]
    heldout = last_heldout(rows)
    plain = asdict(base)
    return Outcome(
        variant=name,
        changed={key: value for key, value in asdict(settings).items() if plain[key] != value},
        parameters=parameters(shape_of(settings), bundle.vocab_size),
        final_loss=fmean(losses[-max(1, len(losses) // 10) :]),
        heldout_loss=fmean(heldout.values()) if heldout else None,
        heldout=heldout,
        embedding_norm=float(rows[-1]["embedding_norm"]),
        tokens_per_second=median(float(row["tokens_per_second"]) for row in rows),
        kv_cache_bytes_per_token=kv_cache_bytes(bundle, settings),
        ledger_windows=done.ledger_windows,
        losses=losses,
    )


def last_heldout(rows: list[Row]) -> dict[str, float]:
    """Return the held-out losses of the last step that has any, by source."""
    for row in reversed(rows):
        found = {key.split("/")[1]: float(loss) for key, loss in row.items() if key.startswith("heldout/")}
        if found:
            return found
    return {}


def kv_cache_bytes(bundle: Bundle, settings: Settings, tokens: int = 16) -> int:
    """Return the bytes a token that a real cache of the variant's shape holds in bf16, by making one."""
    import torch

    from smoltrain.model import build_config, build_model
    from smoltrain.train import shape_of

    config = build_config(
        shape_of(settings),
        vocab_size=64,
        eos_id=0,
        sequence_length=bundle.sequence_length,
        rope_theta=settings.rope_theta,
    )
    with torch.device("meta"):
        model: Any = build_model(config, settings.seed).to(torch.bfloat16)
        ids = torch.zeros((1, tokens), dtype=torch.long)
        cache = model.model(input_ids=ids, use_cache=True).past_key_values
    held = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    return int(sum(tensor.numel() * tensor.element_size() for tensor in held) // tokens)


def results(bundle: Bundle, settings: Settings, outcomes: list[Outcome]) -> dict[str, Any]:
    """Return everything as it is written."""
    return {
        "format_version": FORMAT_VERSION,
        "plan": bundle.plan.name,
        "lock": settings.lock,
        "settings": asdict(settings),
        "variants": [asdict(one) for one in outcomes],
    }


def picture(outcomes: list[Outcome]) -> str:
    """Return the losses of all variants over the steps as an SVG; the same numbers give the same bytes."""
    from smolmix.report_figures import curves

    series: Mapping[str, list[tuple[float, float]]] = {
        TITLES[one.variant]: [(float(step), loss) for step, loss in enumerate(smooth(one.losses))]
        for one in outcomes
    }
    return curves(
        "ablation", "Training loss of each variant, on the same windows in the same order", "step", series
    )


def smooth(losses: list[float], share: float = 0.2) -> list[float]:
    """Return the running mean of losses that forgets: each step counts for ``share``."""
    made: list[float] = []
    for loss in losses:
        made.append(loss if not made else (1 - share) * made[-1] + share * loss)
    return made


def load_results(out: Path) -> dict[str, Any]:
    """Return what :func:`ablate` wrote."""
    return dict(json.loads((out / "results.json").read_text(encoding="utf-8")))
