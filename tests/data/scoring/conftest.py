"""Small real models, trained in the tests on real text: prose and sources of the standard library."""

import ast
import random
import sysconfig
from pathlib import Path

import pytest

from smoldata.reading import Report
from smoldata.steps import StepContext

LENGTH = 128
"""Tokens that the tiny encoder can read."""
STDLIB = Path(sysconfig.get_path("stdlib"))


def _texts() -> tuple[list[str], list[str]]:
    """Return docstrings, and the code of functions: texts of two kinds from the same files."""
    prose: dict[str, None] = {}
    code: dict[str, None] = {}
    for path in sorted([*STDLIB.glob("*.py"), *(STDLIB / "email").glob("*.py")])[:150]:
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
                prose[text] = None
                body = [ast.unparse(part) for part in node.body[1:]]
                if len("\n".join(body)) > 80:
                    code["\n".join(body)] = None
    return [text for text in prose if len(text) > 80][:400], list(code)[:400]


@pytest.fixture(scope="session")
def labelled() -> list[tuple[str, bool]]:
    """Return texts and whether they are prose."""
    prose, code = _texts()
    assert min(len(prose), len(code)) > 150
    return [(text, True) for text in prose] + [(text, False) for text in code]


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    """Return what a step is told."""
    return StepContext("mine", None, Report(), tmp_path)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, labelled: list[tuple[str, bool]]) -> Path:
    """Return the folder of a tiny BERT that learnt in some steps to score prose 4 and code 1."""
    torch = pytest.importorskip("torch", reason="needs torch: make setup-train")
    pytest.importorskip("transformers", reason="needs transformers: make setup-train")
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("model")
    _write_tokenizer([text for text, _ in labelled], folder)
    torch.manual_seed(6)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=LENGTH,
        num_labels=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.1,
    )
    net = BertForSequenceClassification(config)
    torch.nn.init.constant_(net.classifier.bias, 2.5)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for step in range(40):
        part = random.Random(step).sample(labelled, 16)  # noqa: S311 - which texts, no secret
        inputs = tokenizer(
            [text for text, _ in part], truncation=True, max_length=LENGTH, padding=True, return_tensors="pt"
        )
        wanted = torch.tensor([4.0 if is_prose else 1.0 for _, is_prose in part])
        loss = (net(**inputs).logits.squeeze(-1) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    net.save_pretrained(folder)
    return folder


def _write_tokenizer(texts: list[str], folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 - no secret
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=800, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=LENGTH, **names).save_pretrained(
        folder
    )
