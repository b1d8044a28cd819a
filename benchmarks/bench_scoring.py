"""Encoder scoring: documents a second, and whether a score depends on its neighbours; CPU or GPU.

    python benchmarks/bench_scoring.py                                 a small encoder on this CPU
    python benchmarks/bench_scoring.py --size base --device cuda --batch 256 --documents 8000

The encoder has random weights in the shape of FineWeb-Edu's (``base``: 12 layers of 768, 512 tokens) or of a
small one; the tokenizer is trained here, the texts are parts of the standard library. "One by one" asks for
each text alone, in batches of the same shape.
"""

import argparse
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from smoldata.scoring.encoder import Encoder, load

SIZES = {"small": (4, 128, 2), "base": (12, 768, 12)}
LENGTH = 512
VOCABULARY = 8000


def texts(count: int) -> list[str]:
    """Return parts of source files, of every length up to 6,000 characters."""
    found: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        begin = 0
        while begin < len(text) and len(found) < count:
            size = 200 + 37 * len(found) % 5800
            found.append(text[begin : begin + size])
            begin += size
        if len(found) == count:
            break
    return found


def write_model(folder: Path, size: str, corpus: list[str]) -> None:
    """Write an encoder of random weights with a head, and a tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 - no secret
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(corpus[:500], trainer)
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=LENGTH, **names)
    whole.save_pretrained(folder)
    layers, width, heads = SIZES[size]
    torch.manual_seed(6)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=LENGTH,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)


def timed(scorer: Encoder, corpus: list[str], batch: int) -> tuple[list[float], float]:
    """Return scores and seconds."""
    scorer.scores(corpus[:batch], batch)
    start = time.perf_counter()
    return scorer.scores(corpus, batch), time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--documents", type=int, default=400)
    given = parser.parse_args()
    corpus = texts(given.documents)
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), given.size, corpus)
        scorer = load(folder, None, given.device)
        scores, seconds = timed(scorer, corpus, given.batch)
        plain = load(folder, None, "cpu") if given.device != "cpu" else scorer
    kind = next(scorer.model.parameters()).dtype
    print(f"{given.size} encoder, {given.device}, {kind}, batches of {given.batch} x 64 to {LENGTH} tokens")
    megabytes = sum(map(len, corpus)) / 1e6
    print(f"{len(corpus):,} documents, {megabytes:.1f} MB: {len(corpus) / seconds:,.0f} documents a second")
    some = list(range(0, len(corpus), max(1, len(corpus) // 40)))
    alone = [scorer.scores([corpus[at]], given.batch)[0] for at in some]
    equal = sum(scores[at] == one for at, one in zip(some, alone, strict=True))
    furthest = max(abs(scores[at] - one) for at, one in zip(some, alone, strict=True))
    print(f"one by one: {equal} of {len(some)} scores equal bit for bit, the furthest is {furthest:.2g} away")
    if plain is not scorer:
        exact = plain.scores([corpus[at] for at in some])
        away = max(abs(scores[at] - one) for at, one in zip(some, exact, strict=True))
        print(f"against float32 on the CPU: the furthest is {away:.2g} away")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
