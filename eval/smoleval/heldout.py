"""A checkpoint and a bundle's validation split into loss and bits per byte, per source and for the mixture.

The validation shards stand beside the training shards; their manifests name them. Documents are scored one by
one (packed, with exact masks): the loss is the mean of -ln p over all tokens but each document's first, the
EOS included; bits per byte divides the same sum, in bits, by the UTF-8 bytes of those tokens. Standard errors
treat documents as the sample (ratio estimator). The mixture's score weights the sources that have a
validation split by their planned weights. Cost: one forward pass.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import smoleval
import smoltrain
from smoldata.errors import InputError
from smoldata.files import code_digest
from smoleval.intervals import stderr_of_ratio
from smoleval.packing import pack
from smoleval.scores import Score, canonical, checkpoint_sha256, label_of, sha256_rows, step_of
from smoltok.manifest import ShardRow, read_manifest
from smoltok.shards import open_shard
from smoltrain.bundle import Bundle
from smoltrain.model import load_model, token_losses
from smoltrain.pieces import Pieces

TASK, TASK_VERSION = "heldout", "1"
ENGINE = "smoleval heldout"
MIXTURE = "(mixture)"
ROWS_AT_ONCE = 4

Tokens = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Settings:
    """What besides data and weights decides a score."""

    length: int
    """Most inputs that a token may depend on."""
    max_tokens: int
    """Documents of a source are taken in order up to this many tokens; the last one may be cut."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Per document of a source: summed -ln p in nats, labels, bytes."""

    nats: Floats
    tokens: Floats
    bytes: Floats
    data_sha256: str


@dataclass(frozen=True, slots=True)
class Split:
    """The validation shards of one source."""

    source: str
    weight: Fraction
    folder: Path
    rows: tuple[ShardRow, ...]


def validation_splits(bundle: Bundle) -> list[Split]:
    """Return the sources of a bundle that have a validation split, found beside their training shards.

    Raises :class:`InputError` if none has.
    """
    found = []
    for number, source in enumerate(bundle.plan.sources):
        if source.status != "present":
            continue
        folder = bundle.path_of(bundle.shards.row(number, 0)).parent
        rows = tuple(row for row in read_manifest(folder) if row.split == "validation")
        if rows:
            found.append(Split(source.name, source.weight, folder, rows))
    if not found:
        raise InputError(
            f"no source of {bundle.folder} has a validation split beside its shards; "
            "tokenize with a validation share in the recipe, or give --root"
        )
    return found


def unscored(bundle: Bundle) -> tuple[list[str], Fraction]:
    """Return the planned sources without validation text, and the weight that they have in the plan."""
    scored = {split.source for split in validation_splits(bundle)}
    left = [one for one in bundle.plan.sources if one.weight and one.name not in scored]
    return [one.name for one in left], sum((one.weight for one in left), Fraction(0))


def score_checkpoint(
    checkpoint: Path,
    bundle: Bundle,
    settings: Settings,
    pieces: Pieces | None,
    advance: Callable[[int, str], None] = lambda _count, _what: None,
) -> list[Score]:
    """Return the scores of a checkpoint folder (Hugging Face form) on a bundle's validation split.

    ``pieces`` None leaves bits per byte away; ``advance`` is told (sources done, name).
    """
    weights_hash = checkpoint_sha256(checkpoint)
    model = load_model(checkpoint).eval()
    _check_vocabulary(model, bundle, checkpoint)
    lengths = None if pieces is None else pieces.lengths()
    results = []
    for split in validation_splits(bundle):
        results.append((split, score_split(model, split, settings, lengths)))
        advance(1, split.source)
    made = partial(
        Score,
        task=TASK,
        suite="heldout",
        task_version=TASK_VERSION,
        data_profile="generated",
        data_revision=bundle.plan.lock.hash,
        checkpoint=label_of(checkpoint),
        checkpoint_sha256=weights_hash,
        step=step_of(checkpoint),
        engine=ENGINE,
        settings=canonical(asdict(settings)),
        code_version=code_version(),
    )
    found = [score for split, sums in results for score in _scores(made, split, sums)]
    return found + _mixture(made, results)


def score_split(model: Any, split: Split, settings: Settings, lengths: Any) -> Sums:
    """Return sums per validation document of a source; ``lengths`` are bytes by token, or None."""
    documents = list(_documents(split, settings.max_tokens))
    nats, tokens, size = (np.zeros(len(documents)) for _ in range(3))
    for rows in pack(documents, settings.length, ROWS_AT_ONCE):
        ids, positions, labels, mask = (
            torch.from_numpy(array) for array in (rows.ids, rows.positions, rows.labels, rows.mask)
        )
        losses = token_losses(model, ids, positions, labels, mask).double().numpy()
        owner = rows.owner[rows.mask]
        np.add.at(nats, owner, losses)
        np.add.at(tokens, owner, 1.0)
        if lengths is not None:
            np.add.at(size, owner, lengths[rows.labels[rows.mask]])
    return Sums(nats, tokens, size, sha256_rows([row.path, row.xxh3_128] for row in split.rows))


def ratio(numerator: Floats, denominator: Floats) -> tuple[float | None, float | None]:
    """Return sum / sum and its standard error over documents (linearised ratio estimator)."""
    total = float(denominator.sum())
    if total == 0:
        return None, None
    return float(numerator.sum()) / total, stderr_of_ratio(numerator.tolist(), denominator.tolist())


def _documents(split: Split, max_tokens: int) -> Iterator[Tokens]:
    """Yield the documents of a split with their EOS; ``max_tokens`` cuts the last one and ends."""
    left = max_tokens
    for row in split.rows:
        shard = open_shard(split.folder / row.path)
        for number in range(len(shard.ends)):
            if left <= 0:
                return
            document = shard.entry(number)[:left]
            left -= len(document)
            yield document


def _scores(made: Callable[..., Score], split: Split, sums: Sums) -> Iterator[Score]:
    """Yield loss (nats a label) and bits per byte of one source, as far as there are labels and bytes."""
    bits = sums.nats / math.log(2)
    for metric, (value, error) in (
        ("loss", ratio(sums.nats, sums.tokens)),
        ("bits_per_byte", ratio(bits, sums.bytes)),
    ):
        if value is not None:
            yield made(
                subset=split.source,
                metric=metric,
                value=value,
                stderr=error,
                items=len(sums.tokens),
                tokens=int(sums.tokens.sum()),
                bytes=int(sums.bytes.sum()),
                data_sha256=sums.data_sha256,
            )


def _mixture(made: Callable[..., Score], results: Sequence[tuple[Split, Sums]]) -> list[Score]:
    """Return the loss by the planned weights of the sources that could be scored; nothing if none could."""
    scored = [
        (float(split.weight), *ratio(sums.nats, sums.tokens)) for split, sums in results if sums.tokens.sum()
    ]
    total = sum(weight for weight, _, _ in scored)
    if not total:
        return []
    known = all(error is not None for _, _, error in scored)
    error = math.sqrt(sum((weight * (error or 0.0)) ** 2 for weight, _, error in scored)) / total
    score = made(
        subset=MIXTURE,
        metric="loss",
        value=sum(weight * (loss or 0.0) for weight, loss, _ in scored) / total,
        stderr=error if known else None,
        items=sum(len(sums.tokens) for _, sums in results),
        tokens=int(sum(sums.tokens.sum() for _, sums in results)),
        bytes=int(sum(sums.bytes.sum() for _, sums in results)),
        data_sha256=sha256_rows(sums.data_sha256 for _, sums in results),
    )
    return [score]


def code_version() -> str:
    """Return the digest of the code that makes a score: this package and the model it calls."""
    return code_digest(Path(str(package.__file__)).parent for package in (smoleval, smoltrain))


def _check_vocabulary(model: Any, bundle: Bundle, checkpoint: Path) -> None:
    if model.config.vocab_size != bundle.vocab_size:
        raise InputError(
            f"{checkpoint} has a vocabulary of {model.config.vocab_size:,}, the bundle's tokenizer "
            f"{bundle.plan.tokenizer.name} has {bundle.vocab_size:,}; give a bundle of the same tokenizer"
        )
