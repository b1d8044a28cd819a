"""Published classifiers by name: where they are, how they are asked, and the threshold that was used.

Only facts with a source. A commit that is null was not found published: the step then asks for one.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Head:
    """An encoder with a regression head that scores 0 to 5."""

    model: str
    """Repository on the hub."""
    revision: str | None
    """Commit that holds the published weights."""
    max_length: int
    """Tokens after which a text is cut."""
    least: int
    """The rounded score from which a document was kept."""
    source: str


_STACK_EDU: Final = (
    "model cards HuggingFaceTB/stack-edu-classifier-*: 1,024 tokens; arXiv:2502.02737 (SmolLM2), section "
    "3.4: threshold 3, for Java 2"
)


def _stack_edu(language: str, revision: str | None = None, least: int = 3) -> Head:
    return Head(f"HuggingFaceTB/stack-edu-classifier-{language}", revision, 1024, least, _STACK_EDU)


HEADS: Final = {
    "fineweb-edu": Head(
        "HuggingFaceFW/fineweb-edu-classifier",
        "606df5fa509bfdd6b8800b7a72bd2c63403dccf1",
        512,
        3,
        "model card HuggingFaceFW/fineweb-edu-classifier; arXiv:2406.17557, section 4",
    ),
    "finemath": Head(
        "HuggingFaceTB/finemath-classifier",
        "bd0b0e330750ccaafb16c47066f875b3fcb707c3",
        512,
        3,
        "model card HuggingFaceTB/finemath-classifier; huggingface/smollm, text/data/finemath/README.md",
    ),
    "stack-edu-Java": _stack_edu("java", "fbc6ac9e88395155338300eef06a1ee79213af68", 2),
    "stack-edu-JavaScript": _stack_edu("javascript", "cb07d8f93b1f82acdd23279f526890d3081b2cde"),
    "stack-edu-Rust": _stack_edu("rust", "83ec03092f89989a199b99d91ec803964d854903"),
    "stack-edu-Python": _stack_edu("python"),
    "stack-edu-C": _stack_edu("c"),
    "stack-edu-Shell": _stack_edu("shell"),
}
"""Encoder heads whose repositories were seen; other languages of Stack-Edu follow the same names."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A fastText classifier of one label against others."""

    model: str
    file: str
    label: str
    least: float
    source: str


DCLM: Final = Linear(
    "mlfoundations/fasttext-oh-eli5",
    "openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train.bin",
    "__label__hq",
    0.018112,
    "mlfoundations/dclm: baselines/baselines_configs/fasttext_filter.yaml (threshold), baselines/mappers/"
    "enrichers/quality_prediction_enrichers_calc_fasttext.py (stripped lines joined by a space)",
)


@dataclass(frozen=True, slots=True)
class Pooled:
    """Heads over the mean of an encoder's tokens, one a language."""

    model: str
    """The encoder's repository on the hub."""
    revision: str
    max_length: int
    heads: str
    """Repository with a file ``<language>.pt`` for each language."""
    kept: float
    """The share of documents that was kept, best first; the score at that rank differs by language."""
    source: str


HQ: Final = Pooled(
    "FacebookAI/xlm-roberta-base",
    "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089",
    512,
    "epfml/FineWeb-HQ-Classifiers",
    0.1,
    "epfml/fineweb2-hq: src/fineweb2_hq/xlmr_embeddings.py (512 tokens, mean of the first window), mlp.py "
    "(two layers, logistic), data/filter_mlp.py (the score at the best tenth of 1,000,000 documents); "
    "arXiv:2502.10361; the encoder's commit is the repository's newest, the paper names none",
)
