"""Fixtures shared by all tests."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import settings

from tests.cluster import slurm, why_no_slurm

# Tests don't measure time: on a busy machine any example can be slow.
# The same examples each time, so that a suite that passed passes again; ``search`` tries new ones.
settings.register_profile("house", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))

# Beside other work, torch's second thread waits more than it helps: 3 to 30 times slower on two busy cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

RECIPE = """
format_version: 1
name: trial
tokenizer: {name: trial, path: trial/tokenizer.json}
sequence_length: 64
batch_windows: 6
validation: 1/8
seed: 6
sample: {sequence_length: 64, batch_windows: 6, max_passes: 2}
budget: 1M
weights: {prose: {email: 30%, idlelib: 40%}, code: {json: 10%, asyncio: 20%}}
"""
SOURCES = ("asyncio", "email", "idlelib", "json")
EOS = "<|endoftext|>"


@pytest.fixture(scope="module", autouse=True)
def gradients_are_on() -> None:
    """Undo what an import of lighteval's transformers model did: it turns gradients off for the process."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_grad_enabled(True)


@pytest.fixture
def slurm_cluster(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Run a Slurm of our own around a test; without root or its programs the test is skipped."""
    if missing := why_no_slurm():
        pytest.skip(missing)
    with slurm(tmp_path_factory.mktemp("slurm")) as environment:
        monkeypatch.setenv("SLURM_CONF", environment["SLURM_CONF"])
        yield


@dataclass(frozen=True, slots=True)
class SmallHouse:
    """A build folder of real text, made by the house itself: documents, token shards, a plan and a bundle."""

    build: Path
    bundle: Path
    tokenizer: Path


@pytest.fixture(scope="session")
def small_house(tmp_path_factory: pytest.TempPathFactory) -> SmallHouse:
    """Make the standard library's own sources into a bundle, with a small tokenizer trained on them."""
    build = tmp_path_factory.mktemp("house") / "sample"
    texts = {name: _texts(name) for name in SOURCES}
    tokenizer = build / "trial" / "tokenizer.json"
    _train_tokenizer([text for part in texts.values() for text in part], tokenizer)
    for name, part in texts.items():
        _write_documents(build / "documents" / name, name, part)
    bundle = _tokenize_and_plan(build, tokenizer)
    return SmallHouse(build, bundle, tokenizer)


def _texts(package: str) -> list[str]:
    """Return the classes of a package of the standard library, one a document: short real texts."""
    import importlib.util

    # Debian has idlelib in a package of its own; another package's text then stands under its name.
    found = importlib.util.find_spec(package) or importlib.util.find_spec("multiprocessing")
    assert found is not None
    folder = Path(str(found.origin)).parent
    whole = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))]
    pieces = [piece for text in whole for piece in text.replace("\nclass ", "\n\0class ").split("\0")]
    return [piece for piece in pieces if piece.strip()]


def _train_tokenizer(texts: list[str], path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=[EOS], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tokenizer.to_str(), encoding="utf-8")


def _write_documents(folder: Path, source: str, texts: list[str], files: int = 3) -> None:
    """Write documents and their manifest to the contract (docs/formats.md)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from smoldata.documents import DOCUMENT_MANIFEST_SCHEMA, DOCUMENT_SCHEMA
    from smoldata.files import xxh3_128

    folder.mkdir(parents=True)
    manifest = []
    for number in range(files):
        rows = [
            {"id": f"{source}/{at}", "text": text, "source": source, "path": f"{source}.py"}
            for at, text in enumerate(texts)
            if at % files == number
        ]
        path = folder / f"{number:05d}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA), path)
        manifest.append(
            {
                "format_version": 1,
                "source": source,
                "path": path.name,
                "bytes": path.stat().st_size,
                "documents": len(rows),
                "text_bytes": sum(len(str(row["text"]).encode()) for row in rows),
                "text_characters": sum(len(str(row["text"])) for row in rows),
                "read": len(rows),
                "kept": len(rows),
                "dropped": {},
                "xxh3_128": xxh3_128(path),
                "sha256": "",
                "input_hash": "trial",
                "code_version": "trial",
            }
        )
    table = pa.Table.from_pylist(manifest, schema=DOCUMENT_MANIFEST_SCHEMA)
    pq.write_table(table, folder / "manifest.parquet")


def _tokenize_and_plan(build: Path, tokenizer: Path) -> Path:
    """Run the house's own tokenizer, planner and hand-off."""
    from smolmix.bundle import write_bundle
    from smolmix.plan_files import write_plan
    from smolmix.planner import plan_stage
    from smolmix.recipe import load_recipe
    from smolmix.sources import supply_from_manifests
    from smoltok.build import build_all
    from smoltok.tokenizer import resolve

    recipe_path = build / "trial.yaml"
    recipe_path.write_text(RECIPE, encoding="utf-8")
    recipe = load_recipe(recipe_path)
    tokens, plan_folder = build / "tokens" / "trial", build / "plans" / "trial"
    known = resolve(tokenizer, eos=EOS)
    build_all(
        SOURCES,
        documents=build / "documents",
        tokens=tokens,
        tokenizer=known,
        validation_share=Fraction(1, 8),
    )
    supply = supply_from_manifests(recipe, SOURCES, tokens, plan_folder)
    write_plan(plan_stage(recipe, supply)[-1], plan_folder)
    return write_bundle(plan_folder, build / "bundles" / "trial", recipe=recipe_path.read_bytes())
